"""Holdfast with `snapshot="lazy"`: the optimizer's arrays are copied while the next forward and backward pass run."""

from __future__ import annotations

from pathlib import Path

from holdfast import Checkpointing
from holdfast.records import Moment
from holdfast.runtime import ExperimentDirectory, Session
from holdfast.state import LazySnapshot as LazySnapshot  # ImportError where there are no lazy snapshots

from ..states import State
from ._contender import Loading, Saving

_RUN = "0" * 32


class _Lazy:
    """A run's own way: its session, its writer. Its first two saves are copies, which the warm-up round takes."""

    def __init__(self) -> None:
        self._directory: ExperimentDirectory | None = None
        self._session: Session | None = None
        self._saves = 0

    def begin(self, root: Path) -> None:
        self.close()
        taking = self._directory.taking if self._directory is not None else None
        directory = self._directory = ExperimentDirectory(root, _RUN)
        if taking is not None:
            directory.taking = taking  # one run continues in a new directory: nothing to share with
        policy = Checkpointing(save_on="epoch_end", directory=root, snapshot="lazy")
        self._session = Session(policy, "train", "phase", directory, root)

    def save(self, state: State, name: str) -> None:
        assert self._session is not None
        self._saves += 1
        moment = Moment(run=_RUN, hook="epoch_end", phase="phase", epoch=self._saves)
        self._session.save(moment, lambda: state, reason="benchmark", metrics={})

    @property
    def blocked_s(self) -> float:
        """Since `begin`, in all: the calls of `save`, and what the optimizer waited for copies to be done."""
        assert self._directory is not None
        return self._directory.accounting.blocked_s

    def finish(self) -> None:
        assert self._directory is not None
        self._directory.writer.wait()

    def close(self) -> None:
        if self._directory is not None:
            self._directory.close()


SAVINGS = (Saving("Holdfast (lazy)", _Lazy, durable=True, scenarios=frozenset({"S5"}), wants_objects=True),)
LOADINGS: tuple[Loading, ...] = ()
