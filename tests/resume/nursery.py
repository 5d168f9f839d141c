"""A process that has imported everything and started nothing, and forks a newly born process for each run.

So a run in a process of its own costs milliseconds, not the seconds that importing torch takes, and can be
killed at any instant. `Nursery` is the test's end; as a script this file is the other one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SAVING_EVENTS = {"os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir"}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Kill:
    """When SIGKILL comes: some seconds after the fork, or at the n-th change of the file system."""

    after_s: float | None = None
    at_change: int | None = None


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
        warnings = [
            "-W",
            "error",
            "-W",
            "ignore:'set_vital' is deprecated",
        ]  # torchdata 0.11 under torch 2.13
        command = [sys.executable, *warnings, __file__]
        environment = os.environ | ONE_THREAD
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

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
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({**job, "kill": asdict(kill or Kill())}) + "\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))

    def __exit__(self, *details: object) -> None:
        self._process.communicate()


# --- the other end --------------------------------------------------------------------------------------


def serve() -> None:
    import plans  # noqa: F401
    import torch._dynamo  # noqa: F401  which the first optimizer imports, for seconds

    import holdfast

    holdfast.capture({})  # imports what takes apart the objects of all that is imported
    threads = int(Path("/proc/self/status").read_text().partition("Threads:")[2].split()[0])
    assert threads == 1, f"{threads} threads: a fork would copy locks that nobody holds"
    answers = os.dup(1)
    os.dup2(2, 1)  # what a run prints is no answer
    for line in sys.stdin:
        os.write(answers, json.dumps(_fork(json.loads(line))).encode() + b"\n")


def _fork(job: dict[str, Any]) -> dict[str, Any]:
    read_end, write_end = os.pipe()
    began_s = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.write(write_end, json.dumps(_run(job)).encode() + b"\n")
        os._exit(0)
    os.close(write_end)
    after_s = job["kill"]["after_s"]
    ready, _, _ = select.select([read_end], [], [], 60.0 if after_s is None else after_s)
    seconds = time.monotonic() - began_s
    answer = os.read(read_end, 1 << 16) if ready else b""
    os.close(read_end)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # its data loading workers
    was_killed = not answer
    return {"seconds": seconds, "was_killed": was_killed, **(json.loads(answer) if answer else {})}


def _run(job: dict[str, Any]) -> dict[str, Any]:
    import plans

    changes = _count_changes(job["kill"]["at_change"])
    try:
        made = plans.build(job["plan"], plans.Saving(**job["saving"]))
        if job["log"] is not None:
            _keep_log(job["log"], made)
        made.run(progress=False, **job["options"])
    except Exception as err:
        return {"error": f"{type(err).__name__}: {err}"}
    resumed = made.last_resume
    return {
        "digest": made.state_digest(),
        "verdict": resumed.verdict if resumed else None,
        "resumed_from": made.history[0].resumed_from,
        "batches": plans.batches_trained(made),
        "changes": changes[0],
    }


def _keep_log(path: str, made: Any) -> None:
    import plans

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


def _count_changes(last: int | None) -> list[int]:
    """Count what this process changes in the file system; at the change of number `last` it dies before it."""
    count = [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        creates = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
        if creates or event in SAVING_EVENTS:
            count[0] += 1
            if count[0] == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return count


if __name__ == "__main__":
    serve()
