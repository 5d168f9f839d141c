"""What an `Accelerator` has prepared and registered: by name, complete at any time, and closed while a run lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, final

from accelerate import Accelerator

from ...data import BATCHES
from ...errors import UsageError
from ...runtime.torch_updates import Updates
from .._common import patching
from . import _loaders as loaders

_ADDS = (
    *("prepare", "prepare_model", "prepare_optimizer", "prepare_scheduler", "prepare_data_loader"),
    "register_for_checkpointing",
)
"""Methods of an accelerator by which it comes to hold more."""


@final
class Prepared:
    """All of it, looked at again after each `prepare`.

    Attributes:
        loaders: the prepared loaders, in order.
        updates: watches its optimizers.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._known: dict[str, Any] = {}
        self._closed: str | None = None
        self.loaders: list[loaders.ReadyLoader] = []
        self.updates = Updates({})
        self._look()
        for name in _ADDS:
            patching.wrap(accelerator, name, self._adding(name))

    def parts(self) -> dict[str, Any]:
        """Models, optimizers, schedules, registered objects and the scaler.

        Raises:
            UsageError: there are none.
        """
        if self._known.keys() <= {"progress", "scaler"}:
            raise UsageError(
                "this accelerator has prepared nothing that could be saved: call accelerator.prepare(model, optimizer, …), "
                "or register_for_checkpointing(…), first."
            )
        return self._known

    def close(self, why: str) -> None:
        """From now on whatever would be added is refused: it would not be saved."""
        self._closed = why

    def reopen(self) -> None:
        """Let more be added again."""
        self._closed = None

    def _adding(self, name: str) -> Callable[..., Any]:
        def add(original: Callable[..., Any], *given: Any, **options: Any) -> Any:
            if self._closed is not None:
                kinds = ", ".join(type(each).__name__ for each in given)
                raise UsageError(
                    f"accelerator.{name}({kinds}) comes too late: {self._closed}, and it would not be saved. "
                    "Prepare and register everything first."
                )
            done = original(*given, **options)
            self._look()
            return done

        return add

    def _look(self) -> None:
        accelerator, new = self._accelerator, _parts(self._accelerator)
        self.loaders = [loaders.hold(each) for each in accelerator._dataloaders]
        for prepared, inside in zip(accelerator._dataloaders, self.loaders, strict=True):
            vars(prepared).setdefault(BATCHES, _Batches(prepared, inside))
        before = {name: id(each) for name, each in self._known.items() if name != "progress"}
        if before != {name: id(each) for name, each in new.items() if name != "progress"}:
            self.updates.close()  # what it knew of used gradients is worth keeping until then
            self._known, self.updates = new, Updates(new)


@final
class _Batches:
    """A prepared loader with a state of its own, as `holdfast.data` understands it."""

    def __init__(self, prepared: Any, inside: loaders.ReadyLoader) -> None:
        self._prepared, self._inside = prepared, inside

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._prepared
        finally:  # a loop that counts its batches does not ask for one more, and the epoch would stay open
            if self._prepared.gradient_state.active_dataloader is self._prepared:
                self._prepared.end()

    def __len__(self) -> int:
        return len(self._prepared)

    @property
    def exactness(self) -> str:
        return self._inside.source.exactness

    @property
    def differences(self) -> Sequence[str]:
        return self._inside.source.differences

    @property
    def facts(self) -> Mapping[str, Any]:
        """What of the loader inside decides which batches come."""
        return self._inside.source.describe()

    def set_epoch(self, epoch: int) -> None:
        self._prepared.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        return self._inside.get_state()

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self._inside.set_state(saved)


@final
class _Progress:
    """How many batches of an accumulation have been."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator

    def state_dict(self) -> dict[str, Any]:
        gradients = self._accelerator.gradient_state
        return {"step": self._accelerator.step, "sync_gradients": gradients.sync_gradients}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self._accelerator.step = saved["step"]
        self._accelerator.gradient_state._set_sync_gradients(saved["sync_gradients"])


def _parts(accelerator: Accelerator) -> dict[str, Any]:
    kinds = {
        "model": accelerator._models,
        "optimizer": [each.optimizer for each in accelerator._optimizers],
        "scheduler": [each.scheduler for each in accelerator._schedulers],
        "registered": accelerator._custom_objects,
        "scaler": [] if accelerator.scaler is None else [accelerator.scaler],
        "progress": [_Progress(accelerator)],
    }
    return {
        kind if len(found) == 1 else f"{kind}_{index}": each
        for kind, found in kinds.items()
        for index, each in enumerate(found)
    }
