"""On a script's PYTHONPATH: runs without a policy save every `SAVE_EVERY` steps, and the process kills itself.

`KILL_AFTER` is the number of saves after which SIGKILL comes; without it the script lives. Training continues
while a save is written, so it dies in the middle of some later step.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from holdfast import Checkpointing, Every


def _killing_after(number: int) -> Callable[[object], None]:
    num_saves = 0  # not a global, which would be named as a variable of the script that changes

    def count(record: object) -> None:
        nonlocal num_saves
        num_saves += 1
        if num_saves == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return count


def _every_few_steps() -> Checkpointing:
    every = Every("batch_end", int(os.environ["SAVE_EVERY"]))
    return Checkpointing(
        when=every | Every("epoch_end"), on_saved=_killing_after(int(os.environ["KILL_AFTER"]))
    )


if "SAVE_EVERY" in os.environ:
    Checkpointing.default = staticmethod(_every_few_steps)  # type: ignore[method-assign]
