"""A script: does to a bundle all that can be done, under watch, and tells what happened. `hostile_reader.py PRACTICE`.

Reads paths of bundles from its input, and answers each with a line of JSON. Every bundle is read in a process
of its own (a fork), which has an audit hook, its peak of memory measured, and little time for each question.
`PRACTICE` is read first, unwatched, so that everything that is imported late has been.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import random
import re
import signal
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer.testing
from rich.cells import cell_len
from typer.main import get_command
from typer.testing import CliRunner

import holdfast
from holdfast.cli import app
from holdfast.errors import HoldfastError

CPU_S, WAITING_S = 5, 60  # for each thing asked: what computes without end ends, and what waits without end
MAX_BYTES = 32 << 20  # of new arrays
FORBIDDEN = (
    *("import", "exec", "compile", "code.", "marshal.", "pickle.", "ctypes.", "cpython.run", "subprocess."),
    *(
        "os.system",
        "os.exec",
        "os.fork",
        "os.spawn",
        "os.posix_spawn",
        "os.kill",
        "socket.",
        "urllib.",
        "http.",
    ),
    *("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"),
    *(
        "os.chown",
        "os.utime",
        "os.setxattr",
        "os.removexattr",
        "shutil.",
        "tempfile.",
        "webbrowser.",
        "mmap.",
    ),
)
typer.testing._get_command = cache(get_command)  # built once: Typer evaluates its own annotations
OURS = re.compile("\x1b\\[[0-9;]*m")  # the colours of the command, on a terminal


class Watch:
    """An audit hook (they cannot be removed) that notes forbidden events while `bundle` is set."""

    def __init__(self) -> None:
        self.bundle = ""
        self.seen: list[str] = []

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if self.bundle and (event.startswith(FORBIDDEN) or (event == "open" and not self._is_inside(args))):
            self.seen.append(f"{event} {args!r:.200}")

    def _is_inside(self, args: tuple[Any, ...]) -> bool:
        """Whether a directory on the way to the bundle, or a bare name relative to it, is opened for reading."""
        path, _, flags = args
        to_read = not (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        return to_read and (
            path in (self.bundle, os.path.dirname(self.bundle)) or os.path.basename(path) == path
        )


def live() -> dict[str, Any]:
    """What the state of `hostile_cases` fits into."""
    return {
        "weight": np.zeros((3, 4), "float32"),
        "bias": np.zeros(5),
        "flags": np.zeros(3, bool),
        "tensor": torch.zeros(2, 3),
        "step": 0,
        "note": "",
        "numbers": np.random.Generator(np.random.MT19937(5)),
        "philox": np.random.Generator(np.random.Philox(5)),
        "python": random.Random(5),
        "torch": torch.Generator(),
        "buffer": bytearray(),
        "range": range(1),
    }


def asked(path: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Everything that can be asked of a bundle, by name."""
    yield "scan", lambda: [str(each.problem) for each in holdfast.scan(os.path.dirname(path))]
    with contextlib.ExitStack() as stack:
        opened: list[holdfast.Checkpoint] = []
        yield "open", lambda: opened.append(stack.enter_context(holdfast.open(path, max_bytes=MAX_BYTES)))
        if opened:
            yield from asked_of(opened[0])
    for command in (["ls", "--wide"], ["show", "--all"], ["show", "--json"], ["verify", "--deep"]):
        yield (
            " ".join(["holdfast", *command]),
            lambda command=command: shown(CliRunner().invoke(app, [*command, path])),
        )


def asked_of(checkpoint: holdfast.Checkpoint) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Everything that can be asked of an opened checkpoint."""
    yield "tree", lambda: (checkpoint.tree(), list(checkpoint.leaves()), repr(checkpoint))
    yield "[path]", lambda: some_arrays(checkpoint)
    yield "verify", lambda: raised(checkpoint.verify())
    yield "verify deep", lambda: raised(checkpoint.verify(deep=True))
    yield "load", lambda: used(checkpoint.load())
    yield "restore", lambda: used(checkpoint.restore(live()).value)
    yield "restore streaming", lambda: used(checkpoint.restore(live(), verify="streaming").value)
    yield "restore what fits", lambda: used(checkpoint.restore(live(), strict=False).value)


def some_arrays(checkpoint: holdfast.Checkpoint) -> None:
    for leaf in list(checkpoint.leaves())[:20]:
        checkpoint[leaf.path]


def used(value: Any) -> None:
    """Draw from every generator: one that was set wrongly would read beyond its words."""
    for each in value.values() if isinstance(value, dict) else ():
        match each:
            case np.random.Generator():
                each.integers(1 << 32, size=2000)
            case random.Random():
                [each.random() for _ in range(2000)]
            case torch.Generator():
                torch.rand(2000, generator=each)


def raised(problems: list[Any]) -> None:
    for problem in problems:
        raise problem


def shown(result: Any) -> None:
    """The command's output must be harmless in a terminal."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    for line in OURS.sub("", result.stdout + result.stderr).split("\n"):
        assert line.isprintable(), f"a terminal would obey {line!r}"
    if result.exit_code not in (0, 1, 2, 3, 6):
        raise AssertionError(f"exit code {result.exit_code}")


def answer(path: str, watch: Watch) -> dict[str, Any]:
    """What became of each thing asked: "ok", the name of the library's own error, or what must not be."""
    outcomes, foreign = {}, []
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = status("VmRSS")
    watch.bundle = path
    for name, ask in asked(path):
        faulthandler.dump_traceback_later(WAITING_S, exit=True)
        signal.setitimer(signal.ITIMER_PROF, CPU_S)  # by default its signal ends the process
        try:
            ask()
            outcomes[name] = "ok"
        except HoldfastError as err:
            outcomes[name] = type(err).__name__
            str(err)
        except BaseException as err:
            outcomes[name] = "foreign"
            foreign.append(f"{name}: {type(err).__name__}: {err!s:.300}")
    watch.bundle = ""
    return {"outcomes": outcomes, "foreign": foreign, "events": watch.seen, "peak": status("VmHWM") - before}


def status(field: str) -> int:
    """A figure of this process, in bytes."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def in_a_process(path: str, watch: Watch) -> str:
    """The line of JSON that a fork of this process gave before it ended, or how it ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        with open(writing, "w") as out:
            out.write(json.dumps(answer(path, watch)))
        os._exit(0)
    os.close(writing)
    with open(reading) as found:
        line = found.read()
    _, code = os.waitpid(child, 0)
    return line or json.dumps({"died": os.waitstatus_to_exitcode(code)})


def main(practice: str) -> None:
    faulthandler.enable()
    torch.set_num_threads(1)
    cell_len("ｂ\u200d")  # rich looks up its tables when it first needs them, Python its codecs
    "\x1b".encode("unicode_escape")
    watch = Watch()
    sys.addaudithook(watch)
    for path in (practice, f"{practice}/nowhere"):  # errors import things too
        for _, ask in asked(path):
            with contextlib.suppress(HoldfastError):
                ask()
    watch.bundle = "/"
    import wave  # noqa: F401 - nothing else needs it, so the hook must see it

    control, watch.seen, watch.bundle = watch.seen, [], ""
    print(json.dumps({"control": control, "practice": json.loads(in_a_process(practice, watch))}), flush=True)
    for line in io.TextIOWrapper(sys.stdin.buffer):
        print(in_a_process(line.rstrip("\n"), watch), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
