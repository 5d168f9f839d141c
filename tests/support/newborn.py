"""A process that has imported everything and started nothing, and lets a newly born process do each job.

So a run in a process of its own costs milliseconds, not the seconds that importing torch takes, and can be
killed at any instant. `Newborns` is the test's end; `serve` is what the script at the other end calls.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CHANGES = {"os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir"}
"""Audit events that change the file system, besides an `open` that creates."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
PATIENCE_S = 120.0

Job = dict[str, Any]
Answer = dict[str, Any]
Beat = Callable[[], None]


@dataclass(frozen=True)
class Kill:
    """When SIGKILL comes: some seconds after birth, or after a beat of that number; or at the n-th change of the file system."""

    after_s: float | None = None
    after_beats: int = 0
    at_change: int | None = None


class Newborns(AbstractContextManager["Newborns"]):
    """What jobs are given to: `script` runs with its arguments in a process of its own, and calls `serve`.

    Args:
        flags: of Python.
        environment: what of it is another one than here.
    """

    def __init__(
        self,
        script: str,
        *arguments: str,
        flags: Sequence[str] = ("-W", "error"),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *flags, script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD | dict(environment or {}),
        )

    def ask(self, job: Mapping[str, Any], kill: Kill | None = None) -> Answer:
        """What became of the job: what `do` answered, if it could, beside `seconds`, `beats` and `was_killed`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"job": job, "kill": asdict(kill or Kill())}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the process that should answer ended with {self._process.wait()}"
        return json.loads(line)

    def __exit__(self, *details: object) -> None:
        self._process.communicate(
            "null\n"
        )  # the end of the pipe alone may never come: forked processes hold it too


# --- the other end --------------------------------------------------------------------------------------


def serve(do: Callable[[Job, Beat], Answer]) -> None:
    """Have each job that comes done by a newborn: `do(job, beat)`, where calling `beat` says that it lives.

    It is forked where that is safe. Where threads run already, a fork would copy locks that nobody holds:
    then the script is run anew for each job.
    """
    if "NEWBORN" in os.environ:
        _live(do, json.loads(os.environ.pop("NEWBORN")), int(os.environ.pop("NEWBORN_ANSWER")))
    names = [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]
    threads = len(names) - names.count("jemalloc_bg_thd")  # of pyarrow; jemalloc itself prepares for forks
    answers = os.dup(1)
    os.dup2(2, 1)  # what a job prints is no answer
    for line in sys.stdin:
        if (asked := json.loads(line)) is None:
            break
        answer = _watch(asked["job"], Kill(**asked["kill"]), do if threads == 1 else None)
        os.write(answers, json.dumps(answer).encode() + b"\n")


def count_changes(last: int | None) -> list[int]:
    """Count what this process changes in the file system; at the change of number `last` it dies before it."""
    count = [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        creates = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
        if creates or event in CHANGES:
            count[0] += 1
            if count[0] == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return count


def _watch(job: Job, kill: Kill, do: Callable[[Job, Beat], Answer] | None) -> Answer:
    """Let a child do the job, kill it when it is time to, and say what it answered."""
    read_end, write_end = os.pipe()
    began_s = time.monotonic()
    asked = job | {"at_change": kill.at_change}
    child = _spawn(asked, write_end) if do is None else _fork(do, asked, write_end)
    os.close(write_end)
    received, due_s, timed_out = b"", None, False
    while not received.endswith(b"\n"):
        now_s = time.monotonic()
        if due_s is None and kill.after_s is not None and _beats(received) >= kill.after_beats:
            due_s = now_s + kill.after_s
        wait_s = began_s + PATIENCE_S - now_s if due_s is None else due_s - now_s
        ready, _, _ = select.select([read_end], [], [], max(wait_s, 0.0))
        chunk = os.read(read_end, 1 << 16) if ready else b""
        if not chunk:
            timed_out = not ready and due_s is None
            break
        received += chunk
    seconds = time.monotonic() - began_s
    os.close(read_end)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # its data loading workers
    beats = _beats(received)
    answer = json.loads(received[beats:]) if received.endswith(b"\n") else {}
    if timed_out:
        answer = {"error": f"it had not ended after {PATIENCE_S:.0f} s"}
    elif not answer and os.WIFEXITED(status):
        answer = {"error": f"it ended with exit status {os.WEXITSTATUS(status)} and no answer"}
    return {"seconds": seconds, "beats": beats, "was_killed": not answer, **answer}


def _beats(received: bytes) -> int:
    return len(received) - len(received.lstrip(b"."))


def _fork(do: Callable[[Job, Beat], Answer], job: Job, write_end: int) -> int:
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        _live(do, job, write_end)
    return child


def _spawn(job: Job, write_end: int) -> int:
    environment = os.environ | {"NEWBORN": json.dumps(job), "NEWBORN_ANSWER": str(write_end)}
    command = [sys.executable, *(f"-W{each}" for each in sys.warnoptions), *sys.argv]
    os.set_inheritable(write_end, True)
    no_input = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    return os.posix_spawn(sys.executable, command, environment, file_actions=no_input, setpgroup=0)


def _live(do: Callable[[Job, Beat], Answer], job: Job, write_end: int) -> None:
    """Do the job, answer, and end this process: at once, or as an interpreter ends, if the job says `ends`."""
    changes = count_changes(job.pop("at_change"))
    ends = job.pop("ends", False)
    try:
        answer = do(job, lambda: os.write(write_end, b"."))
    except BaseException as err:  # also what would end the process that this one was forked from
        answer = {"error": f"{type(err).__name__}: {err}"}

    def send() -> None:
        os.write(write_end, json.dumps({**answer, "changes": changes[0]}).encode() + b"\n")
        os._exit(0)

    if ends:
        atexit.register(send)
        sys.exit(0)
    send()
