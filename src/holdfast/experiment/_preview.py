"""Trying something out: everything is restored after the block, whatever happens in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .. import rng, state
from ..data import BatchSource
from ._callbacks import Callback

if TYPE_CHECKING:
    from ._graph import ModelGraph


@contextmanager
def kept_as_it_is(
    graph: ModelGraph | None, callbacks: Sequence[Callback], sources: Sequence[BatchSource] = ()
) -> Iterator[None]:
    """Restore graph (optimizer, freezing, modes and gradients included), callbacks and random states.

    Those of `sources` too: loaders may have their own generators.
    """
    parts: dict[str, Any] = {} if graph is None else {"graph": graph}
    parts["callbacks"] = [callback.get_state() for callback in callbacks]
    before = state.capture(parts)
    was_training = graph is not None and graph.is_training
    gradients = [] if graph is None else [(parameter, parameter.grad) for parameter in graph.parameters()]
    if graph is not None:
        graph.zero_grad()  # so that nothing is added to the gradients that we keep
    positions = [source.get_state() for source in sources]
    with rng.preserved():
        try:
            yield
        finally:
            if graph is not None:
                state.restore(before, {"graph": graph})
                for parameter, gradient in gradients:
                    parameter.grad = gradient
                graph.train() if was_training else graph.eval()
            for source, position in zip(sources, positions, strict=True):
                source.resume(position)
            kept = state.rebuild(before, state.find(before.tree, "callbacks"))
            for callback, saved in zip(callbacks, kept, strict=True):
                callback.set_state(saved)
