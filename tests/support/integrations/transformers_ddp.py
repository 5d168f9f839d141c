"""One of two processes that train with a Trainer, in one directory after the other: `transformers_ddp.py DIRECTORY[:UPDATE:SIGNAL] …`.

In that update of this process, counted from 1, each of the two gets the signal.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
import transformers
from transformers import TrainerCallback

from holdfast import Checkpointing, rng
from holdfast.integrations.transformers import hold
from tests.support.integrations.cases.transformers_case import trainer


class Apart(TrainerCallback):
    """Each process draws numbers of its own; one may get a signal."""

    def __init__(self, fatal: int | None, name: str) -> None:
        self._count, self._fatal, self._name = 0, fatal, name

    def on_train_begin(self, args, state, control, **more) -> None:
        torch.manual_seed(100 + args.process_index)

    def on_step_begin(self, args, state, control, **more) -> None:
        self._count += 1
        if self._count == self._fatal:
            os.kill(os.getpid(), signal.Signals[self._name])


def train(directory: Path, fatal: int | None = None, name: str = "") -> None:
    made = trainer(directory, Apart(fatal, name), ddp_backend="gloo")
    made.remove_callback(transformers.trainer_callback.PrinterCallback)
    saving = {"save_on": ["batch_end", "epoch_end"], "every_n": 3, "max_to_keep": 3}
    policy = Checkpointing(mode="disk", **saving, save_on_preemption=True, save_on_exception=True)
    held = hold(made, checkpointing=policy)
    made.train(resume_from_checkpoint=True)
    weights = [round(float(value.detach().double().sum()), 12) for value in made.model.parameters()]
    digest = held.state_digest() if made.is_world_process_zero() else ""
    (directory / f"rank{made.args.process_index}.txt").write_text(f"{weights} {rng.draws()} {digest}")


if __name__ == "__main__":
    for each in sys.argv[1:]:
        where, _, when = each.partition(":")
        update, _, name = when.partition(":")
        train(Path(where), int(update) if update else None, name)
