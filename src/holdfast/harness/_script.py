"""A user's script in processes of its own: run, killed, cut short, and examined each time."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ..bundle import Listed
from ..checkpoint import open as open_checkpoint
from ..checkpoint import scan_if_there
from ..errors import HoldfastError, UsageError
from ._progress import STEP_FILE, Seen, seen
from ._replay import DIRECTORY

PLACEHOLDER = "{dir}"
_POLL_S = 0.005
_TAIL_LINES = 20


@dataclass(slots=True)
class Injury:
    """One interruption, and what it cost.

    Attributes:
        what: "killed" or "disk full".
        at_s: seconds of training before it, or until the script ended on a full disk.
        resumes_from: the newest complete checkpoint then; None if there was none.
        lost_steps: updates that are not in that checkpoint; None if the script reported no step.
        lost_s: seconds since that checkpoint was taken, or since training began in this process.
        damaged: checkpoints that do not verify.
        limit_bytes: on a full disk, the size at which every file was cut.
        exit_code: on a full disk, the script's exit code.
    """

    what: str
    at_s: float
    resumes_from: str | None
    lost_steps: int | None
    lost_s: float
    damaged: list[str] = field(default_factory=list)
    limit_bytes: int | None = None
    exit_code: int | None = None


class Script:
    """The user's command, saving below `directory`, run again and again."""

    def __init__(self, command: Sequence[str], directory: str) -> None:
        self.directory = directory
        self.trained_s = 0.0
        self._command = [word.replace(PLACEHOLDER, directory) for word in command]
        self._step_file = f"{directory}.steps"
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._seen: Seen | None = None
        self._began_s = 0.0

    @property
    def last_words(self) -> str:
        return "".join(self._tail).strip() or "it printed nothing"

    def run(
        self,
        *,
        kill_after_s: float | None = None,
        largest_file_bytes: int | None = None,
        told: Mapping[str, str] | None = None,
    ) -> int:
        """Run it; returns its exit code, negative if it was killed, `kill_after_s` seconds after training had begun.

        `told`: further variables of its environment.
        """
        self._tail.clear()
        self._seen = None
        environment = os.environ | {DIRECTORY: self.directory, STEP_FILE: self._step_file}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", **(told or {})}  # a cut .pyc would outlive us
        before = seen(self._step_file)
        try:
            # A session of its own, so that its children die with it.
            process = subprocess.Popen(
                self._command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
                preexec_fn=None if largest_file_bytes is None else lambda: _cut_files(largest_file_bytes),
            )
        except OSError as err:
            raise UsageError(f"the script {self._command[0]!r} cannot be run: {err.strerror}.") from err
        reader = threading.Thread(target=self._listen, args=(process,), daemon=True)
        reader.start()
        try:
            self._await_training(process, before)
            left_s = None if kill_after_s is None else max(0.0, self._began_s + kill_after_s - time.time())
            try:
                process.wait(left_s)
            except subprocess.TimeoutExpired:
                _kill(process)
        except BaseException:
            _kill(process)
            raise
        self.trained_s = time.time() - self._began_s
        reader.join(timeout=5.0)
        self._seen = seen(self._step_file)
        return process.returncode

    def _await_training(self, process: subprocess.Popen[str], before: Seen | None) -> None:
        """Return at its first hook, so that time counts from training, not from imports."""
        started_s = time.time()
        while process.poll() is None and seen(self._step_file) in (None, before):
            time.sleep(_POLL_S)
        now = seen(self._step_file)
        self._began_s = started_s if now is None or now == before else now.at_s

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            self._tail.extend(lines)

    def examine(self, what: str) -> Injury:
        """What an interruption left, examined before the script resumes."""
        ended_s = self._began_s + self.trained_s
        newest = self.newest()
        lost_s, lost_steps = self.trained_s, None if self._seen is None else self._seen.step
        if newest is not None and newest.record is not None:
            lost_s = min(lost_s, max(0.0, ended_s - _seconds(newest.record.created)))
            if lost_steps is not None:
                lost_steps = max(0, lost_steps - newest.record.moment.step)
        return Injury(
            what,
            self.trained_s,
            None if newest is None else self.name_of(newest),
            lost_steps,
            lost_s,
            damaged=[self.name_of(each) for each in scan_if_there(self.directory) if not _verifies(each)],
        )

    def checkpoints(self) -> list[Listed]:
        """The checkpoints with a record, oldest first by the clock: a script may run several experiments."""
        found = [listed for listed in scan_if_there(self.directory) if listed.record]
        return sorted(found, key=lambda listed: listed.record.created if listed.record else "")

    def newest(self) -> Listed | None:
        return next(reversed(self.checkpoints()), None)

    def name_of(self, listed: Listed) -> str:
        return listed.path.removeprefix(f"{self.directory}/").removesuffix(".ckpt.mml")

    def largest_file_bytes(self) -> int:
        files = [path for path in Path(self.directory).rglob("*") if path.is_file()]
        return max((path.stat().st_size for path in files), default=2)


def _verifies(listed: Listed) -> bool:
    try:
        with open_checkpoint(listed) as checkpoint:
            return not checkpoint.verify()
    except HoldfastError:
        return False


def _seconds(created: str) -> float:
    return datetime.fromisoformat(created).timestamp()


def _cut_files(size: int) -> None:
    """In the child: the kernel cuts a write at this file size, and refuses the next, as a full disk does."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
