"""The one order of callbacks and saves at the hooks of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast import Callback, EarlyStopping, EvalPhase, PhaseGroup, Write
from holdfast.policy import EXPERIMENT_HOOKS, TRAINING_HOOKS
from tests.support.small_runs import At, experiment, files_below, on_disk, rows, train

HOOKS = (*sorted(TRAINING_HOOKS), "experiment_start", "experiment_end", "exception")


class Log(Callback):
    """Writes down its hooks and, in between, the checkpoints that have appeared since."""

    def __init__(self, name: str, lines: list[str], directory: Path, *, runs_last: bool = False) -> None:
        self._lines, self._directory, self._known = lines, directory, set()
        self.runs_last = runs_last
        for hook in HOOKS:
            setattr(self, f"on_{hook}", lambda context, hook=hook: self._write(f"{name} {hook}"))

    def _write(self, line: str) -> None:
        self.look()
        self._lines.append(line)

    def look(self) -> None:
        """Write down new checkpoints; by the time at which their records were made, should there be two."""
        records = self._directory.rglob("checkpoint.json")
        for record in sorted(records, key=lambda path: path.stat().st_mtime_ns):
            name = record.parent.name.removesuffix(".ckpt.mml")
            if f"save {name}" not in self._lines:
                self._lines.append(f"save {name}")


def test_callbacks_then_the_phases_save_then_the_experiments(tmp_path):
    lines: list[str] = []
    outer = Log("experiment's", lines, tmp_path)
    inner, last = Log("phase's", lines, tmp_path), Log("last", lines, tmp_path, runs_last=True)
    phase = train(
        "fit",
        n_epochs=1,
        batch_size=20,  # two batches
        callbacks=[last, inner],
        checkpointing=on_disk(*TRAINING_HOOKS, write=Write(durability="process", background=False)),
    )
    policy = on_disk(*EXPERIMENT_HOOKS, write=Write(durability="process", background=False))
    experiment(tmp_path, PhaseGroup("all", [phase]), checkpointing=policy, callbacks=[outer]).run()
    outer.look()

    def around(hook: str, *saves: str) -> list[str]:
        return [f"{who} {hook}" for who in ("experiment's", "phase's", "last")] + [
            f"save {name}" for name in saves
        ]

    assert lines == [
        *("experiment's experiment_start", "save START"),
        "save all_start",
        *around("phase_start", "fit_start"),  # both policies give this name, in two folders
        *around("epoch_start", "fit_epoch0_start"),
        *around("batch_start", "fit_epoch0_batch0_start"),
        *around("batch_end", "fit_epoch0_batch0"),
        *around("batch_start", "fit_epoch0_batch1_start"),
        *around("batch_end", "fit_epoch0_batch1"),
        *around("epoch_end", "fit_epoch0"),
        *around("phase_end", "fit_end", "fit"),
        "save all",
        *("experiment's experiment_end", "save END"),
    ]
    assert (
        len([each for each in files_below(tmp_path) if "fit_start" in each and "checkpoint.json" in each])
        == 2
    )


def test_a_phase_that_measures_has_the_phase_hooks_of_the_experiment(tmp_path):
    lines: list[str] = []
    log = Log("experiment's", lines, tmp_path)
    phase = EvalPhase("test", data=rows(), predictions="head")
    policy = on_disk("phase_start", "phase_end", write=Write(durability="process", background=False))
    experiment(tmp_path, phase, checkpointing=policy, callbacks=[log]).run()
    log.look()
    assert lines[1:-1] == [
        *("experiment's phase_start", "save test_start"),
        *("experiment's phase_end", "save test"),
    ]


def test_a_checkpoint_at_the_end_of_an_epoch_holds_what_callbacks_have_done_by_then(tmp_path):
    early = EarlyStopping("loss", patience=1, direction="max")  # the loss falls, so it stops after epoch 1
    run = experiment(tmp_path, train(n_epochs=5, callbacks=[early], checkpointing=on_disk()))
    run.run()
    assert len(run.results["train"]) == 2
    again = experiment(
        tmp_path,
        train(n_epochs=5, callbacks=[EarlyStopping("loss", 1, direction="max")], checkpointing=on_disk()),
    )
    again.run(resume="train_epoch1")
    assert len(again.results["train"]) == 2
    assert again.state_digest() == run.state_digest()


def test_what_a_callback_raises_ends_the_run_and_all_are_told_once(tmp_path):
    told: list[str] = []

    class Told(Callback):
        def __init__(self, name: str) -> None:
            self.name = name

        def on_exception(self, context) -> None:
            told.append(f"{self.name}: {context.exception} in {context.phase}, epoch {context.moment.epoch}")

    phase = train(callbacks=[Told("inner"), At("epoch_end", 1, do=RuntimeError("boom"))])
    run = experiment(
        tmp_path, train("before", n_epochs=1, callbacks=[Told("not me")]), phase, callbacks=[Told("outer")]
    )
    with pytest.raises(RuntimeError, match="boom"):
        run.run()
    assert told == ["outer: boom in train, epoch 1", "inner: boom in train, epoch 1"]
