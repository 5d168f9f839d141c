"""Results, losses and callbacks of ModularML as plain data, and back in a new process.

Nothing is pickled. Of ModularML's own result classes the attributes are kept, and they come back by a closed
table: a class of any other module is left out. Node ids are random in every process, so wherever one stands,
its node's label is kept. Live objects (data sets, nodes) are kept as labels, too.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

MODULES = (
    "modularml.core.experiment.results.",
    "modularml.core.experiment.callbacks.",
    "modularml.core.data.",
    "modularml.core.references.",
    "modularml.core.training.loss_record",
    "modularml.callbacks.",
    "modularml.utils.data.",
)
"""Whose classes hold results. None of them does anything when its attributes are set."""

PLAIN = (type(None), bool, int, float, bytes, np.generic)


class LeftOut:
    """Stands where a value was that cannot be kept: code, or an object of a class that is not ours."""

    def __repr__(self) -> str:
        return "<not kept>"


LEFT_OUT = LeftOut()


@final
class Encoder:
    """Takes values apart; an object that is met twice is kept once.

    Args:
        labels: of every node and data set, by its id.
        omit: attributes, as `(class name, attribute)`, that are kept empty.
    """

    def __init__(self, labels: Mapping[str, str], omit: frozenset[tuple[str, str]] = frozenset()) -> None:
        self._labels, self._omit = labels, omit
        self._pool: list[dict[str, Any]] = []
        self._seen: dict[int, int] = {}
        self._alive: list[Any] = []  # so that no id is used twice

    def encode(self, value: Any) -> dict[str, Any]:
        return {"value": self._encode(value), "objects": self._pool}

    def _encode(self, value: Any) -> Any:
        if isinstance(value, Enum):
            return {"enum": _name_of(type(value)), "member": value.name}
        if type(value) is str:
            return {"node": self._labels[value]} if value in self._labels else value
        if isinstance(value, PLAIN):
            return value
        if isinstance(value, torch.Tensor):
            return value.detach()
        if isinstance(value, np.ndarray):
            return value if value.dtype != object else {"objects": [self._encode(each) for each in value]}
        if isinstance(value, datetime):
            return {"time": value.isoformat()}
        if isinstance(value, Path):
            return {"path": str(value)}
        if self._is_node(value):
            return {"live": self._labels[value.node_id]}
        if isinstance(value, list):
            return {"list": [self._encode(each) for each in value]}
        if type(value) is tuple:
            return {"tuple": [self._encode(each) for each in value]}
        if isinstance(value, set | frozenset):
            return {"set": [self._encode(each) for each in sorted(value, key=repr)]}
        if isinstance(value, dict):
            grows = isinstance(value, defaultdict) and value.default_factory is list
            pairs = [[self._encode(key), self._encode(each)] for key, each in value.items()]
            return {"lists" if grows else "dict": pairs}
        return self._object(value)

    def _is_node(self, value: Any) -> bool:
        """Whether it is a node or data set itself; references to one have its id, too, and are kept."""
        is_data = not _is_kept(type(value)) or type(value).__name__ == "FeatureSet"
        return is_data and hasattr(value, "label") and getattr(value, "node_id", None) in self._labels

    def _object(self, value: Any) -> Any:
        if not _is_kept(type(value)) or not hasattr(value, "__dict__"):
            return {"left out": type(value).__name__}
        if id(value) not in self._seen:
            self._seen[id(value)] = len(self._pool)
            self._alive.append(value)
            entry: dict[str, Any] = {"class": _name_of(type(value)), "attributes": {}}
            self._pool.append(entry)
            for name, each in vars(value).items():
                omitted = (type(value).__name__, name) in self._omit
                entry["attributes"][name] = self._encode(type(each)() if omitted else each)
        return {"object": self._seen[id(value)]}


@final
class Decoder:
    """Puts values together again: with the ids and the live objects of this process.

    Args:
        nodes: every node and data set of this process, by label.
    """

    def __init__(self, nodes: Mapping[str, Any]) -> None:
        self._nodes = nodes
        self._pool: list[Any] = []
        self._entries: list[Mapping[str, Any]] = []

    def decode(self, encoded: Mapping[str, Any]) -> Any:
        self._entries = encoded["objects"]
        classes = [_class_named(entry["class"]) for entry in self._entries]
        self._pool = [LEFT_OUT if made is None else object.__new__(made) for made in classes]
        for made, entry in zip(self._pool, self._entries, strict=True):
            for name, each in entry["attributes"].items() if made is not LEFT_OUT else ():
                object.__setattr__(made, name, self._decode(each))
        return self._decode(encoded["value"])

    def _decode(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        match value:
            case {"node": label}:
                return self._nodes[label].node_id if label in self._nodes else label
            case {"live": label}:
                return self._nodes.get(label, LEFT_OUT)
            case {"object": index}:
                return self._pool[index]
            case {"list": each}:
                return [self._decode(one) for one in each]
            case {"tuple": each}:
                return tuple(self._decode(one) for one in each)
            case {"set": each}:
                return {self._decode(one) for one in each}
            case {"dict": pairs}:
                return {self._decode(key): self._decode(one) for key, one in pairs}
            case {"lists": pairs}:
                return defaultdict(list, {self._decode(key): self._decode(one) for key, one in pairs})
            case {"objects": each}:
                made = np.empty(len(each), dtype=object)
                made[:] = [self._decode(one) for one in each]
                return made
            case {"enum": name, "member": member}:
                kind = _class_named(name)
                return LEFT_OUT if kind is None else kind[member]
            case {"time": text}:
                return datetime.fromisoformat(text)
            case {"path": text}:
                return Path(text)
            case _:
                return LEFT_OUT


def holds_all(value: Any) -> bool:
    """Whether nothing in this encoded value was left out or has to be looked up among live objects."""
    if isinstance(value, dict):
        return not value.keys() & {"left out", "live", "object"} and all(map(holds_all, value.values()))
    return all(map(holds_all, value)) if isinstance(value, list) else True


def _is_kept(kind: type) -> bool:
    return f"{kind.__module__}.".startswith(tuple(f"{name.rstrip('.')}." for name in MODULES))


def _name_of(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _class_named(name: str) -> Any:
    """A class of the table, from a module that is loaded already; None for any other name."""
    module, _, qualname = name.partition(":")
    kind = getattr(sys.modules.get(module), qualname, None)
    if not isinstance(kind, type) or kind.__module__ != module:
        return None
    return kind if _is_kept(kind) or (issubclass(kind, Enum) and module.startswith("modularml.")) else None
