"""`Training`: a training phase at work, or passing over what was done before the checkpoint."""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from modularml.core.experiment.phases.train_phase import TrainPhase

from ...errors import PlanMismatchError
from ._results import Losses, batch_digest, batches_state, fill_metrics, metrics_state, put_batches
from ._values import Decoder, Encoder, holds_all


@final
class Training:
    """A training phase's batches, results, and the losses of each batch.

    Attributes:
        path: of the phase in the plan.
        hook: at which the loop was last: its name, epoch and batch.
    """

    def __init__(self, path: str, phase: TrainPhase, results: Any) -> None:
        self.path, self.phase, self.results = path, phase, results
        self.losses = Losses()
        self.hook: tuple[str, int, int] = ("phase_start", 0, 0)
        self._batches: list[dict[str, Any]] = []
        self._executions: list[Any] = []
        self._behind: Mapping[str, Any] | None = None  # of the checkpoint, until the loop is at its hook
        self._script_callbacks: list[Any] = []

    @property
    def is_replaying(self) -> bool:
        """Whether it passes over what was done before the checkpoint."""
        return self._behind is not None

    def replay(self, saved: Mapping[str, Any], nodes: dict[str, Any]) -> None:
        """Pass over what was done, without callbacks, until the loop is where it was saved.

        Raises:
            PlanMismatchError: the phase had another number of callbacks.
        """
        callbacks = _callbacks(self.phase)
        if len(callbacks) != len(saved["callbacks"]):
            raise PlanMismatchError(
                [f"phase {self.path!r} had {len(saved['callbacks'])} callbacks, and has {len(callbacks)}"]
            )
        self._behind, self.losses = saved, Losses.from_state(saved["losses"])
        for callback, attributes in zip(callbacks, saved["callbacks"], strict=True):
            for name, encoded in attributes.items():
                if name in vars(callback):
                    setattr(callback, name, Decoder(nodes).decode(encoded))
        self._script_callbacks = self.phase.callbacks
        self.phase.callbacks = []

    def is_back(self, at: tuple[str, int, int]) -> bool:
        """Whether this is the hook at which it was saved."""
        return self._behind is not None and list(at) == list(self._behind["hook"])

    def finish_resume(self, nodes: dict[str, Any]) -> None:
        """The loop is where it was saved: from here on it trains."""
        if self._behind is None:
            return
        saved, self._behind = self._behind, None
        self.phase.callbacks = self._script_callbacks
        self.phase._stop_requested = saved["stopping"]
        fill_metrics(self.results._metrics, saved["metrics"])
        self.results._callbacks = Decoder(nodes).decode(saved["results"])
        self.results._series_cache.clear()
        name, epoch, batch = saved["hook"]
        self.hook = (name, epoch, batch)

    def note_batches(self, executions: list[Any]) -> None:
        """The samplers have drawn their batches: those of the checkpoint are put in their place."""
        if self._batches:
            return
        if self._behind is not None:
            put_batches(executions, self._behind["batches"])
        self._batches, self._executions = batches_state(executions), executions

    @property
    def next_batch(self) -> str | None:
        """The digest of the rows that the samplers give next; None at the end of the phase, and before they have drawn."""
        hook, _, batch = self.hook
        if hook == "phase_end" or not self._executions:
            return None
        return batch_digest(self._executions, {"batch_start": batch, "batch_end": batch + 1}.get(hook, 0))

    @property
    def metrics(self) -> dict[str, float]:
        """The latest of each metric, for records."""
        entries = self.results._metrics._entries
        return {name: float(each[-1].value) for name, each in entries.items() if each}

    def get_state(self, labels: dict[str, str]) -> dict[str, Any]:
        """Plain data for a checkpoint; `labels` of all nodes by id."""
        return {
            "path": self.path,
            "hook": list(self.hook),
            "stopping": self.phase._stop_requested,
            "losses": self.losses.get_state(),
            "metrics": metrics_state(self.results._metrics),
            "results": Encoder(labels).encode(self.results._callbacks),
            "callbacks": [_callback_state(each, labels) for each in _callbacks(self.phase)],
            "batches": self._batches,
        }


def sampler_generators(phase: TrainPhase) -> dict[str, Any]:
    """The random generators of a phase's samplers and of what cuts their samples into batches."""
    samplers = [binding.sampler for binding in phase.input_sources if binding.sampler is not None]
    return {
        f"{name} {index}": owner.rng
        for index, sampler in enumerate(samplers)
        for name, owner in (("sampler", sampler), ("batcher", sampler.batcher))
    }


def _callbacks(phase: TrainPhase) -> list[Any]:
    return sorted(phase.callbacks, key=lambda each: each._exec_order)


def _callback_state(callback: Any, labels: dict[str, str]) -> dict[str, Any]:
    """Its attributes, but for those that hold live objects or code: those are the script's."""
    encoded = {name: Encoder(labels).encode(each) for name, each in vars(callback).items()}
    return {name: each for name, each in encoded.items() if holds_all(each)}
