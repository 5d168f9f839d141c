"""Holdfast, as a run uses it: kept buffers, the background writer, everything committed and synced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import holdfast
from holdfast import bundle
from holdfast.records import CheckpointRecord, Moment
from holdfast.runtime import ExperimentDirectory
from holdfast.state import Buffers, Plan, capture, capture_lazily

from ..states import State
from ..training import Training
from ._contender import ALL, Loading, Saving

_RUN = "0" * 32


class _Holdfast:
    """`lazy`: what the optimizer writes is copied while training continues; the check of the first two saves is left out.

    `keep`: buffers and plan of one experiment serve in the next; without, each begins with its first save.
    `may_be_infinite`: paths of arrays in which no NaN is looked for, as in the policy.
    """

    def __init__(self, *, lazy: bool = False, keep: bool = True, may_be_infinite: Sequence[str] = ()) -> None:
        self._lazy, self._keep, self._may_be_infinite = lazy, keep, may_be_infinite
        self._buffers, self._plan = Buffers(), Plan()
        self._directory: ExperimentDirectory | None = None

    def begin(self, root: Path) -> None:
        # A new experiment: nothing to share with, so that every byte is written.
        self.close()
        self._directory = ExperimentDirectory(root, _RUN)
        if not self._keep:
            self._buffers, self._plan = Buffers(), Plan()

    def save(self, state: State, name: str) -> None:
        directory = self._directory
        assert directory is not None
        directory.writer.settle()
        needs = None
        if self._lazy:
            snapshot = capture_lazily(state, buffers=self._buffers, check=False)
            needs = snapshot.finish
        else:
            snapshot = capture(state, buffers=self._buffers, plan=self._plan)
        draft = draft_of(directory, name)

        def commit() -> None:
            try:
                directory.save(directory.path, draft, snapshot, may_be_infinite=self._may_be_infinite)
            finally:
                snapshot.release()

        directory.writer.submit(commit, needs=needs)

    def finish(self) -> None:
        assert self._directory is not None
        self._directory.writer.wait()

    def close(self) -> None:
        if self._directory is not None:
            self._directory.close()


def draft_of(directory: ExperimentDirectory, name: str) -> CheckpointRecord:
    moment = Moment(run=_RUN, hook="epoch_end")
    return directory.draft(name, kind="train", moment=moment, metrics={}, reason="benchmark", blocked_s=0.0)


def _place(root: Path, name: str) -> str:
    return bundle.bundle_path(str(root), name)


def _into(root: Path, name: str, live: Any, verify: Literal["first", "streaming"]) -> None:
    with holdfast.open(_place(root, name)) as checkpoint:
        checkpoint.restore(live, verify=verify)


def _new(root: Path, name: str) -> Any:
    with holdfast.open(_place(root, name)) as checkpoint:
        return checkpoint.load()


def _training(root: Path, name: str, training: Training, verify: Literal["first", "streaming"]) -> None:
    _into(root, name, training.objects, verify)


def _one(root: Path, name: str, path: str) -> Any:
    with holdfast.open(_place(root, name)) as checkpoint:
        return checkpoint[path]


SAVINGS = (
    Saving("Holdfast (copy)", _Holdfast, durable=True, scenarios=ALL - {"S7"}, wants_objects=True),
    Saving(
        "Holdfast (copy, first save)",
        lambda: _Holdfast(keep=False),
        durable=True,
        scenarios=frozenset({"S2"}),
    ),
    Saving(
        "Holdfast (copy, no look for NaN)",
        lambda: _Holdfast(may_be_infinite=["**"]),
        durable=True,
        scenarios=frozenset({"S1"}),
    ),
    Saving(
        "Holdfast (lazy)",
        lambda: _Holdfast(lazy=True),
        durable=True,
        scenarios=frozenset({"S5"}),
        wants_objects=True,
    ),
)
LOADINGS = (
    Loading(
        "Holdfast (streaming)",
        "Holdfast (copy)",
        into=lambda root, name, live: _into(root, name, live, "streaming"),
        new=_new,
        one=_one,
        training=lambda root, name, training: _training(root, name, training, "streaming"),
    ),
    Loading(
        "Holdfast (first)",
        "Holdfast (copy)",
        into=lambda root, name, live: _into(root, name, live, "first"),
        training=lambda root, name, training: _training(root, name, training, "first"),
    ),
)
