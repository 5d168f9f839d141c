"""One of two processes on the CPU, joined by gloo, that give what they hold to Holdfast: `several_processes.py accelerate|transformers`."""

from __future__ import annotations

import sys
from pathlib import Path

from holdfast import Checkpointing
from holdfast.errors import UsageError


def hold_accelerator() -> None:
    from accelerate_case import prepared

    from holdfast.integrations.accelerate import hold

    hold(prepared()[0])


def hold_trainer() -> None:
    from transformers_case import trainer

    from holdfast.integrations.transformers import hold

    made = trainer(Path("held"), ddp_backend="gloo")
    hold(made, checkpointing=Checkpointing(mode="disk", save_on="epoch_end"))


if __name__ == "__main__":
    try:
        {"accelerate": hold_accelerator, "transformers": hold_trainer}[sys.argv[1]]()
    except UsageError as err:
        print(err)
        sys.exit(3)
