"""On a script's PYTHONPATH: runs without a policy save every `SAVE_EVERY` steps, and the process kills itself.

`KILL_AFTER` is the number of saves after which SIGKILL comes; without it the script lives. Training continues
while a save is written, so it dies in the middle of some later step.
"""

from __future__ import annotations

import os
import signal

from holdfast import Checkpointing, Every

_num_saves = 0


def _count(record: object) -> None:
    global _num_saves
    _num_saves += 1
    if _num_saves == int(os.environ.get("KILL_AFTER", "0")):
        os.kill(os.getpid(), signal.SIGKILL)


def _every_few_steps() -> Checkpointing:
    every = Every("batch_end", int(os.environ["SAVE_EVERY"]))
    return Checkpointing(when=every | Every("epoch_end"), on_saved=_count)


if "SAVE_EVERY" in os.environ:
    Checkpointing.default = staticmethod(_every_few_steps)  # type: ignore[method-assign]
