"""Whether tensors learn, and in which mode models are: neither values nor a `state_dict` say so."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from ... import paths
from .._kinds import CONTAINERS, SCALARS, has_protocol, is_array, is_module, is_tensor, torch
from .._shared.places import parts_of

_MOST_ITEMS: Final = 1_000  # a longer container holds data
_MOST_PARTS: Final = 10_000


def flags_of(value: Any) -> str:
    """Of a model, or of data: a text that stays the same as long as they do; empty if there is nothing to say."""
    if torch() is None or type(value) in SCALARS or (has_protocol(value) and not is_module(value)):
        return ""
    if is_module(value):
        from ...state.adapters.torch_nn import flags

        return json.dumps(flags(value))
    learning = [path for path, each in _leaves(value) if each.requires_grad]
    return json.dumps(learning) if learning else ""


def set_flags(value: Any, text: str) -> None:
    """Let them be as this text of `flags_of` says.

    Raises:
        ValueError: the text is not one of such a value.
    """
    saved = json.loads(text) if text else []
    if isinstance(saved, dict) and is_module(value):
        from ...state.adapters.torch_nn import set_flags

        set_flags(value, saved)
        return
    if not isinstance(saved, list) or is_module(value):
        raise ValueError("something else is there")
    leaves = dict(_leaves(value))
    if lost := set(saved) - leaves.keys():
        raise ValueError(f"there is no tensor that can learn at {lost.pop() or 'it'!r}")
    for path, each in leaves.items():
        if each.requires_grad != (path in saved):
            each.requires_grad_(path in saved)


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """The tensors in data that may learn, by their paths in it; of what a graph leads to nothing is said."""
    seen: dict[int, Any] = {}  # kept alive, so that ids stay their own
    waiting = deque([("", value)])
    while waiting and len(seen) < _MOST_PARTS:
        path, each = waiting.popleft()
        if id(each) in seen:
            continue
        seen[id(each)] = each
        if is_tensor(each):
            from ...state.adapters.torch_nn import can_learn

            if can_learn(each):
                yield path, each
        elif not (is_array(each) or is_module(each)):
            for key, part in _parts(each):
                try:
                    waiting.append((paths.child(path, key), part))
                except TypeError:  # a key that is not plain
                    continue


def _parts(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, CONTAINERS) and len(value) > _MOST_ITEMS:
        return []
    return [(key, each) for key, each in parts_of(value) if type(each) not in SCALARS]
