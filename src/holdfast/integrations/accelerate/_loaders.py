"""The loaders that accelerate prepares: they always have the next batch ready before they give one.

That batch was drawn with the random states of a moment that is gone, so it is kept with the position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

from accelerate.data_loader import DataLoaderShard

from ...data import BatchSource, batches_of
from ...errors import UsageError
from .._common.loader_proxy import Disguised


def hold(
    prepared: Any, *, on_resumed: Callable[[], None] = lambda: None, allow_reread: bool = False
) -> ReadyLoader:
    """Put a `ReadyLoader` inside of a loader that `Accelerator.prepare` gave; the same one, if it is there already.

    Raises:
        UsageError: it is no `DataLoaderShard` around a plain `DataLoader`.
    """
    if type(prepared) is not DataLoaderShard or prepared.use_stateful_dataloader:
        raise UsageError(
            f"a {type(prepared).__name__} cannot resume exactly here: give Accelerator.prepare() a DataLoader over a "
            "dataset with indices, without dispatch_batches and use_stateful_dataloader."
        )
    inside: Any = prepared.base_dataloader
    if type(inside) is not ReadyLoader:
        inside = ReadyLoader(prepared, inside, allow_reread=allow_reread)
        vars(prepared)["base_dataloader"] = inside
    vars(inside)["_on_resumed"] = on_resumed
    return inside


@final
class ReadyLoader(Disguised):
    """A transparent proxy for the plain loader whose iterators can be resumed, including the batch that was ready."""

    def __init__(self, prepared: DataLoaderShard, loader: Any, *, allow_reread: bool = False) -> None:
        source = batches_of(loader, raw=True, allow_reread=allow_reread)
        vars(self).update(_prepared=prepared, _loader=loader, _source=source)
        vars(self).update(_ready=[], _rest=None, _on_resumed=lambda: None)
        vars(self)["on_begin"] = lambda: None  # called when an iteration begins

    @property
    def source(self) -> BatchSource:
        return self._source

    def __iter__(self) -> Iterator[Any]:
        vars(self)["on_begin"]()
        rest, vars(self)["_rest"] = self._rest, None
        return self._give([], self.source.begin(self._prepared.iteration), None) if rest is None else rest

    def _give(
        self, ready: list[Any], rest: Iterator[Any], finish_resume: Callable[[], None] | None
    ) -> Iterator[Any]:
        for batch in ready:
            yield batch
        if finish_resume is not None:
            finish_resume()  # whoever sets the random states does so before anything is drawn for the batch after
        for batch in rest:
            vars(self)["_ready"] = [batch]
            yield batch
        vars(self)["_ready"] = []

    def get_state(self) -> dict[str, Any]:
        """Where the prepared loader is, between two batches that it gave."""
        ready = [dict(batch) if isinstance(batch, Mapping) else batch for batch in self._ready]
        source, epoch = self.source.get_state(), self._prepared.iteration
        # The prepared loader counts an epoch only when a batch after the last is requested.
        is_over = source["finished"] and source["epoch"] == epoch and not ready
        return {"source": source, "ready": ready, "epoch": epoch + is_over}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Resume from `state` with the next iterator. It may leave the random states scrambled."""
        self._prepared.set_epoch(state["epoch"])
        rest = self.source.resume(state["source"])
        vars(self)["_ready"] = list(state["ready"])
        if state["ready"] or not state["source"]["finished"]:
            vars(self)["_rest"] = self._give(list(state["ready"]), rest, self._on_resumed)

    @property
    def __class__(self) -> Any:  # type: ignore[override]  # a prepared loader says that it is what is inside
        return type(vars(self)["_loader"])
