"""Runs of the plans in newly born processes (`newborn`), each of which can be killed at any instant.

`Nursery` is the test's end; as a script this file is the other one.
"""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.newborn import Beat, Kill, Newborns, serve


@dataclass(frozen=True)
class Outcome:
    """What became of a run; `digest` is None if it was killed or failed, `error` says how it failed."""

    seconds: float
    was_killed: bool = False
    digest: str | None = None
    verdict: str | None = None
    resumed_from: tuple[str, ...] = ()
    batches: int = 0
    changes: int = 0
    error: str | None = None


class Nursery(AbstractContextManager["Nursery"]):
    def __init__(self) -> None:
        torchdata = "ignore:'set_vital' is deprecated"  # torchdata 0.11 under torch 2.13
        self._newborns = Newborns(__file__, flags=["-W", "error", "-W", torchdata])

    def run(
        self,
        plan: str,
        directory: Path | None,
        kill: Kill | None = None,
        *,
        saving: dict[str, Any] | None = None,
        log: Path | None = None,
        **options: Any,
    ) -> Outcome:
        """`Experiment.run(resume=True, **options)` of a plan in a new process; `saving`: see `plans.Saving`.

        Without a directory it runs from the beginning and is not saved. To `log` it adds a line at once when it
        knows where it goes on from (`from SEQ`, 0 if from the beginning), and one for each save that is
        acknowledged (`saved`).
        """
        place = {} if directory is None else {"directory": str(directory)}
        options = {"resume": directory is not None, **options}
        job = {"plan": plan, "saving": {**place, **(saving or {})}, "options": options}
        job["log"] = None if log is None else str(log)
        answer = self._newborns.ask(job, kill)
        answer.pop("beats")
        return Outcome(**answer)

    def __exit__(self, *details: object) -> None:
        self._newborns.__exit__(*details)


# --- the other end --------------------------------------------------------------------------------------


def prepare() -> None:
    import torch._dynamo  # noqa: F401  which the first optimizer imports, for seconds

    import holdfast
    from tests.support import plans  # noqa: F401

    holdfast.capture({})  # imports what takes apart the objects of all that is imported


def _run(job: dict[str, Any], beat: Beat) -> dict[str, Any]:
    from tests.support import plans

    made = plans.build(job["plan"], plans.Saving(**job["saving"]))
    if job["log"] is not None:
        _keep_log(job["log"], made)
    made.run(progress=False, **job["options"])
    resumed = made.last_resume
    return {
        "digest": made.state_digest(),
        "verdict": resumed.verdict if resumed else None,
        "resumed_from": made.history[0].resumed_from,
        "batches": plans.batches_trained(made),
    }


def _keep_log(path: str, made: Any) -> None:
    from tests.support import plans

    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    class Saved(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.msg.startswith("saved "):
                os.write(descriptor, b"saved\n")

    def begins() -> None:
        os.write(descriptor, b"from %d\n" % (made.last_resume.record.seq if made.last_resume else 0))

    logger = logging.getLogger("holdfast")
    logger.setLevel(logging.INFO)
    logger.addHandler(Saved())
    plans.watch(made).at_first = begins


if __name__ == "__main__":
    prepare()
    serve(_run)
