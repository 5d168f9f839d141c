"""Trying something out: whatever happens in the block, everything is as before after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .. import rng, state
from ._callbacks import Callback

if TYPE_CHECKING:
    from ._graph import ModelGraph


@contextmanager
def kept_as_it_is(graph: ModelGraph | None, callbacks: Sequence[Callback]) -> Iterator[None]:
    """Put graph (optimizer, freezing, modes and gradients included), callbacks and random streams back."""
    parts: dict[str, Any] = {} if graph is None else {"graph": graph}
    parts["callbacks"] = [callback.get_state() for callback in callbacks]
    before = state.capture(parts)
    was_training = graph is not None and graph.is_training
    with rng.preserved():
        try:
            yield
        finally:
            if graph is not None:
                state.restore(before, {"graph": graph})
                graph.zero_grad()
                graph.train() if was_training else graph.eval()
            kept = state.rebuild(before, state.find(before.tree, "callbacks"))
            for callback, saved in zip(callbacks, kept, strict=True):
                callback.set_state(saved)
