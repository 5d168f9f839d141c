"""Scripts in processes that are forked from one that has imported what they import, which takes most of their time.

Such a process is a child of this one, like any other: it has its own id, is waited for, and can be killed. Its script is
`__main__`, with the arguments, the environment, the directory and the files that it was given; no frame of these tests is
below it. What a new interpreter draws anew is drawn anew; only the seed of hashes was drawn before, so there are two
interpreters to fork from, and one life of a script is not of the same seed as the next.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from holdfast.cli import app
from holdfast.harness import _script
from tests.support.newborn import ONE_THREAD

FRAMEWORKS = {
    "accelerate": ("accelerate", "torch._dynamo"),
    "keras": ("keras", "torch._dynamo"),
    "lightgbm": ("lightgbm", "sklearn.datasets"),
    "lightning": ("lightning", "torch._dynamo"),
    "modularml": ("modularml", "torch._dynamo"),
    "numpy": ("numpy",),
    "sklearn": ("sklearn.datasets", "sklearn.neural_network"),
    "stable_baselines3": ("stable_baselines3", "gymnasium", "torch._dynamo"),
    "torch": ("torch.utils.data", "torch.distributions", "torch._dynamo"),
    "transformers": ("transformers.trainer", "transformers.models.gpt2", "datasets", "torch._dynamo"),
    "xgboost": ("xgboost", "sklearn.datasets"),
}
"""What their scripts import, and they themselves in the first steps."""
_ENVIRONMENT = ONE_THREAD | {"KERAS_BACKEND": "torch"}
_START = Path(__file__).with_name("_start.py")
_MOST = 4  # interpreters with a framework in memory, each with a twin
_ORPHANS_COME_HERE = 36  # PR_SET_CHILD_SUBREAPER
_OURS = "holdfast.runtime", "holdfast.harness.check"
_PIPES = "p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite"
_one_at_a_time = threading.Lock()
_libc = ctypes.CDLL(None, use_errno=True)


class _Interpreter:
    """One that has imported `modules`, and forks itself for each script."""

    def __init__(self, modules: Sequence[str], flags: Sequence[str]) -> None:
        self._directory = tempfile.TemporaryDirectory()
        # What is in such a folder is nobody's own script.
        start = Path(self._directory.name, "site-packages", _START.name)
        start.parent.mkdir()
        start.symlink_to(_START)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *flags, str(start), str(theirs.fileno()), *modules, *_OURS],
                env=os.environ | _ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def fork(self, job: dict[str, Any], files: Sequence[int]) -> int:
        """The id of a new child of this process, which does the job with these three files."""
        with _one_at_a_time:
            _libc.prctl(_ORPHANS_COME_HERE, 1)
            try:
                socket.send_fds(self._socket, [json.dumps(job).encode()], files)
                answer = self._socket.recv(100)
            except BrokenPipeError:
                answer = b""
            finally:
                _libc.prctl(_ORPHANS_COME_HERE, 0)
        if not answer:
            raise RuntimeError(f"the interpreter to fork from ended with {self._process.wait()}")
        return int(answer)

    def close(self) -> None:
        self._socket.close()
        self._process.wait()
        self._directory.cleanup()


class Preloaded:
    """Starts scripts as `subprocess` does, if the command is this interpreter's, with these flags and a file."""

    def __init__(self, *modules: str, flags: Sequence[str] = ()) -> None:
        self._flags = list(flags)
        self._modules = modules
        self._interpreters: list[_Interpreter] = []

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        if not self._can_start(command, options):
            return subprocess.Popen(command, **options)
        return _Forked(self._next(), command[1 + len(self._flags) :], command, **options)

    def run(
        self, command: Sequence[str], *, timeout: float, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """With its output captured, as text."""
        pipe = subprocess.PIPE
        with self.popen(command, stdout=pipe, stderr=pipe, text=True, **options) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    @contextlib.contextmanager
    def of_check(self) -> Iterator[None]:
        """Within it, `holdfast check` and its likes start their scripts here."""
        real = _script.subprocess
        kept = {name: getattr(real, name) for name in ("DEVNULL", "PIPE", "STDOUT", "TimeoutExpired")}
        _script.subprocess = SimpleNamespace(Popen=self.popen, **kept)  # type: ignore[assignment]
        try:
            yield
        finally:
            _script.subprocess = real

    def check(self, *script: str, directory: Path) -> Result:
        """What `holdfast check --json` says of a script that is started in that directory."""
        arguments = ["check", "--seed", "1", "--json", "--", sys.executable, *self._flags, *script]
        with contextlib.chdir(directory), self.of_check():
            return CliRunner().invoke(app, arguments)

    def close(self) -> None:
        for each in self._interpreters:
            each.close()

    def _next(self) -> _Interpreter:
        """In turns one of the two, which are started when they are needed."""
        twins = self._interpreters
        twins.append(twins.pop(0) if len(twins) == 2 else _Interpreter(self._modules, self._flags))
        return twins[-1]

    def _can_start(self, command: Sequence[str], options: dict[str, Any]) -> bool:
        python, flags, script = command[0], command[1 : 1 + len(self._flags)], command[1 + len(self._flags) :]
        return (
            (python, list(flags)) == (sys.executable, self._flags)
            and script[:1] != []
            and not script[0].startswith("-")
            and options.get("preexec_fn") is None
            and (options.get("env") or os.environ).get("PYTHONHASHSEED") == os.environ.get("PYTHONHASHSEED")
        )


class _Forked(subprocess.Popen[Any]):
    """A `Popen` in all, but for how its process comes into being."""

    def __init__(
        self, interpreter: _Interpreter, arguments: Sequence[str], command: Sequence[str], **options: Any
    ) -> None:
        self._interpreter, self._arguments = interpreter, list(arguments)
        super().__init__(command, **options)

    def _execute_child(self, *given: Any) -> None:
        """In place of fork and exec."""
        names = subprocess.Popen._execute_child.__code__.co_varnames[1:]  # type: ignore[attr-defined]
        told = dict(zip(names, given, strict=False))
        job = {
            "arguments": self._arguments,
            "command": list(self.args),  # type: ignore[arg-type]
            "directory": os.fspath(told["cwd"] or os.getcwd()),
            "environment": dict(told["env"] or os.environ),
            "is_leader": told["start_new_session"],
            "parent": os.getpid(),
        }
        files = [told["p2cread"], told["c2pwrite"], told["errwrite"]]
        self.pid = self._interpreter.fork(job, [own if own >= 0 else n for n, own in enumerate(files)])
        self._child_created = True
        self._close_pipe_fds(*(told[name] for name in _PIPES))  # type: ignore[attr-defined]


@cache
def _kept() -> dict[str, Preloaded]:
    kept: dict[str, Preloaded] = {}
    atexit.register(lambda: [each.close() for each in kept.values()])
    return kept


def preloaded(framework: str) -> Preloaded:
    """That of a framework, one of `FRAMEWORKS`; those that were asked for last are kept for others."""
    kept = _kept()
    kept[framework] = kept.pop(framework, None) or Preloaded(*FRAMEWORKS[framework])
    while len(kept) > _MOST:
        kept.pop(next(iter(kept))).close()
    return kept[framework]


def with_its_framework(name: str) -> pytest.MarkDecorator:
    """Run a test in the process of the others with that framework, so that few import it."""
    return pytest.mark.xdist_group(f"scripts with {name}")
