"""One of two processes on the CPU, joined by gloo, that give what they cannot go on with to Holdfast, and say what it says."""

from __future__ import annotations

import sys
from pathlib import Path

from holdfast import Checkpointing
from holdfast.errors import UsageError
from holdfast.integrations import accelerate as accelerate
from holdfast.integrations import transformers as transformers
from tests.support.integrations.cases.accelerate_case import prepared
from tests.support.integrations.cases.transformers_case import trainer


def hold_accelerator() -> None:
    accelerate.hold(prepared()[0])


def hold_trainer() -> None:
    policy = Checkpointing(mode="disk", save_on="epoch_end", on_divergence="rollback")
    transformers.hold(trainer(Path("held"), ddp_backend="gloo"), checkpointing=policy)


if __name__ == "__main__":
    for hold in (hold_trainer, hold_accelerator):
        try:
            hold()
        except UsageError as err:
            print(err)
        else:
            sys.exit(f"{hold.__name__} has refused nothing")
