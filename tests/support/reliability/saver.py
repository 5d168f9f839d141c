"""A process that has imported all that a save needs and started nothing, and forks one that saves for each job.

A job is a line of JSON; what the child has begun and what it was told to be done come back as lines, so that
the test can kill it, or cut the power, at any instant, and knows what had been promised by then.
`Savers` is the test's end; as a script this file is the other one. (`tests/support/nursery.py` is the same for
whole trainings.)
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

NEVER = 1 << 30


@dataclass(frozen=True)
class Job:
    """What a child does in `directory`: sweep, then save and delete at random, numbering from `first` on.

    Attributes:
        operations: so many, then it ends.
        cut: the mount point whose power it cuts itself, right after the last operation has returned.
        forget: which syncs it only pretends to do, by their kind in `holdfast.testing.Operation`.
        pause_at: it stops before this change of the disk until it gets SIGUSR1.
        large: one state in so many is written around the page cache; 0: none.
    """

    directory: str
    first: int
    seed: int = 0
    operations: int = NEVER
    cut: str | None = None
    forget: tuple[str, ...] = ()
    pause_at: int | None = None
    large: int = 0
    sweep: bool = True


@dataclass
class Told:
    """What a child said: by name, the numbers that it may hold now (None: nothing).

    Once something is done there is only one; while it is under way, or failed, what was before may be there too.
    """

    allowed: dict[str, set[int | None]] = field(default_factory=dict)
    last: int = 0
    done: int = 0
    refused: int = 0

    def hear(self, what: str, name: str, number: int | None) -> None:
        if number is not None:
            self.last = max(self.last, number)
        allowed = self.allowed.setdefault(name, {None})
        if what == "begun":
            allowed.add(number)
        elif what == "done":
            self.allowed[name] = {number}
            self.done += 1
        else:
            self.refused += 1

    def check(self, found: dict[str, int]) -> None:
        """What was acknowledged is there, and nothing is there that was never saved."""
        for name, allowed in self.allowed.items():
            assert found.get(name) in allowed, f"{name} holds {found.get(name)}, and may hold {allowed}"
        assert found.keys() <= self.allowed.keys()
        self.allowed = {name: {found.get(name)} for name in self.allowed}


class Savers(AbstractContextManager["Savers"]):
    """Forks children that save; one at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.child = 0

    def start(self, job: Job, told: Told) -> Callable[[], bool]:
        """Fork a child; the function that comes back hears its next line, and is False once it has ended."""
        assert self._process.stdout is not None
        self._tell(json.dumps(asdict(job)))
        said = (json.loads(line) for line in self._process.stdout)
        self.child = next(said)

        def hear() -> bool:
            line = next(said)
            if isinstance(line, int):  # its exit status
                self.child = 0
                self._tell("")  # until it hears this, the child is a zombie, and its id nobody else's
                assert line in (0, -signal.SIGKILL), f"a saving process ended with {line}: see its traceback"
                return False
            if line[0] != "paused":
                told.hear(*line)
            return True

        return hear

    def run(self, job: Job, told: Told) -> None:
        """To its end."""
        hear = self.start(job, told)
        while hear():
            pass

    def run_for(self, job: Job, told: Told, after_s: float, then: Callable[[], None] | None = None) -> None:
        """Let a child save for so long after its first word, do `then`, and kill it."""
        hear = self.start(job, told)
        is_alive = hear()
        if is_alive:
            time.sleep(after_s)
            if then is not None:
                then()
            self.signal(signal.SIGKILL)
        while is_alive:
            is_alive = hear()

    def signal(self, number: int) -> None:
        """To the child; also if it has just ended by itself."""
        os.kill(self.child, number)

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def __exit__(self, *details: object) -> None:
        if self.child:
            self.signal(signal.SIGKILL)
        self._process.communicate()


# --- the other end --------------------------------------------------------------------------------------


def serve() -> None:
    import holdfast.bundle
    import holdfast.testing
    from tests.support.reliability import numbered  # noqa: F401

    assert holdfast.bundle
    assert holdfast.testing
    for line in sys.stdin:
        job = Job(**json.loads(line))
        child = os.fork()
        if child == 0:
            _say(os.getpid())
            status = 1
            try:
                if job.pause_at is not None:  # before there are threads, which would not block it
                    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
                _work(job)
                status = 0
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                os._exit(status)
        ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        _say(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status)
        sys.stdin.readline()
        os.waitpid(child, 0)


def _say(what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")  # at once, and whole: lines this short are never torn


def _work(job: Job) -> None:
    from holdfast import bundle
    from holdfast.errors import SaveError
    from holdfast.storage import LocalDisk
    from tests.support.reliability.numbered import LARGE, Saver

    saver = Saver(Path(job.directory), _disk(job))
    if Path(job.directory).exists():
        if job.sweep:
            bundle.sweep(LocalDisk(), job.directory, now_s=1e12)  # nobody else is alive: all has become old
        saver.learn_all()
    draw = random.Random(job.seed)
    for what, name, number in _operations(job, saver.names, draw):
        _say(("begun", name, number))
        try:
            if what == "delete":
                saver.delete(name)
            else:
                large = job.large and draw.randrange(job.large) == 0
                saver.save(number, name, **({"size_bytes": LARGE} if large else {}))
        except SaveError:
            _say(("refused", name, number))
            return  # the power is off, or the disk is full
        _say(("done", name, number))
    if job.cut is not None:
        from tests.support.reliability.volumes import power_cut

        power_cut(job.cut)


def _operations(job: Job, names: list[str], draw: random.Random) -> Iterator[tuple[str, str, int | None]]:
    """A rolling name, new names, and the deletion of the oldest of those once there are three."""
    others = sorted((name for name in names if name != "rolling"), key=lambda name: int(name[5:]))
    for number in range(job.first, job.first + job.operations):
        if len(others) >= 3:
            yield "delete", others.pop(0), None
        elif draw.random() < 0.5:
            yield "save", "rolling", number
        else:
            others.append(f"other{number}")
            yield "save", others[-1], number


def _disk(job: Job) -> Any:
    from holdfast.storage import LocalDisk
    from holdfast.testing import Operation, TappedDisk

    class Disk(TappedDisk):
        changes = 0

        def around(self, operation: Operation, do: Callable[[], Any]) -> Any:
            self.changes += operation.changes
            if operation.changes and self.changes == job.pause_at:
                _say(("paused", "", None))
                signal.sigwait({signal.SIGUSR1})
            return None if operation.kind in job.forget else do()

    return Disk(LocalDisk()) if job.forget or job.pause_at is not None else LocalDisk()


if __name__ == "__main__":
    serve()
