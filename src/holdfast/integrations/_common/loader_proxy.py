"""A loader that a framework iterates: it starts and resumes through `holdfast.data`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, final

from ...data import BatchSource, HeldValues, TorchLoaderBatches, batches_of, dataset_of


class Disguised:
    """A proxy that looks like the loader in its `_loader`. Its own attributes are set in `vars`, past `__setattr__`."""

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        if "_loader" not in vars(self):  # as it is unpickled
            raise AttributeError(name)
        return getattr(vars(self)["_loader"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._loader, name, value)


class HeldLoader(Disguised):
    """A transparent proxy for a loader whose iterators can be resumed in another process.

    Args:
        loader: what the trainer would iterate.
        epoch: asked at the start of an iterator which epoch it is of.
        allow_reread: as `holdfast.data.batches_of`.
        state: of this loader in a checkpoint; its first iterator resumes from there.
        num_ready: how many batches the trainer had read ahead, and keeps: in place of each the first iterator gives
            None, and reads nothing.
    """

    def __init__(
        self,
        loader: Any,
        epoch: Callable[[], int],
        *,
        allow_reread: bool = False,
        state: Mapping[str, Any] | None = None,
        num_ready: int = 0,
    ) -> None:
        vars(self).update(
            _loader=loader,
            _epoch=epoch,
            _allow_reread=allow_reread,
            _state=state,
            _num_ready=num_ready,
            _source=None,
        )
        HeldValues(dataset_of(loader))  # before a callback writes into it

    def __iter__(self) -> Iterator[Any]:
        state, vars(self)["_state"] = self._state, None
        if state is not None:
            return chain([None] * self._num_ready, self.source.resume(state))
        return self.source.begin(self._epoch())

    @property
    def source(self) -> BatchSource:
        """Made when first needed, for trainers keep equipping a loader until they iterate it."""
        own = vars(self)
        if own["_source"] is None:
            own["_source"] = batches_of(self._loader, raw=True, allow_reread=self._allow_reread)
        return own["_source"]

    def __getstate__(self) -> dict[str, Any]:
        """For a trainer that is pickled or copied within its fit: the copy starts anew."""
        return vars(self) | {"_source": None}

    def end_workers(self) -> None:
        """End persistent workers, which are not the loader's own: a trainer would find none to end."""
        if isinstance(self._source, TorchLoaderBatches):
            self._source.end_workers()


@final
class HeldStatefulLoader(HeldLoader):
    """The same for a loader that has a state of its own, which a trainer finds by these methods and saves in its own files."""

    def state_dict(self) -> dict[str, Any]:
        """What the loader itself says, for the framework's own files; its position in a run is kept with the run."""
        iterated = getattr(self.source, "iterated", self._loader)
        return {} if iterated is None else iterated.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state:
            self._loader.load_state_dict(state)


def held_class(loader: Any) -> type[HeldLoader]:
    """What `loader` is held by: a trainer that looks for a state finds one exactly where the loader has it."""
    is_stateful = hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")
    return HeldStatefulLoader if is_stateful else HeldLoader


def let_go(loader: Any) -> Any:
    """After a fit: the loader itself, of which no worker is left; `loader`, if it is not held."""
    if not isinstance(loader, HeldLoader):
        return loader
    loader.end_workers()
    return vars(loader)["_loader"]
