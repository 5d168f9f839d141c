"""What loaders of `torchdata.nodes` need, beside giving and taking a state, to begin where that state says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ._generators import reached
from ._parts import parts_of
from ._values.contents import are_alike

_READ_AHEAD = ("Prefetcher", "PinMemory")


@contextmanager
def beginning(loader: Any, *, is_inside: bool) -> Iterator[None]:
    """Within it the next iterator begins where the state says that was loaded.

    A loader whose state has been read before gives the iterator that was made for that: it is given now, and dropped.
    Inside an epoch none reads a batch to see whether the epoch is over: what is drawn for it is drawn later.
    """
    own: dict[str, Any] = getattr(loader, "__dict__", {})
    looks_ahead = is_inside and own.get("restart_on_stop_iteration")
    if own.get("_iter_for_state_dict"):
        iter(loader)
    if looks_ahead:
        own["restart_on_stop_iteration"] = False
    try:
        yield
    finally:
        if looks_ahead:
            own["restart_on_stop_iteration"] = looks_ahead


def reads_ahead(loader: Any) -> bool:
    """Whether threads or processes of it read more than was handed out, so that generators are ahead of the batches."""
    return any(
        type(each).__name__ in _READ_AHEAD or getattr(each, "num_workers", 0) > 0 for each in nodes_in(loader)
    )


def nodes_in(loader: Any) -> list[Any]:
    """Those that a loader is made of, of other libraries and scripts too; none of a loader of another kind."""
    return [each for _, each in reached(parts_of(loader)) if any(map(_is_base_node, type(each).__mro__))]


def _is_base_node(kind: type) -> bool:
    return kind.__name__ == "BaseNode" and kind.__module__.startswith("torchdata.nodes")


def drawn_from(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names of generators, other than those of samplers, from which was drawn since."""
    return sorted(
        name for name in now if ".sampler" not in name and not are_alike(now[name], before.get(name))
    )
