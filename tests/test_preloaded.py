"""A script that is forked from an interpreter with its framework cannot tell that it is, nor can who started it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.preloaded import Preloaded, preloaded

SEES = """
import json, os, sys
import beside
from holdfast.variables import scopes
main = sys.modules["__main__"]
print(json.dumps({
    "arguments": sys.argv, "name": __name__, "file": __file__, "is_main": vars(main) is globals(),
    "names": sorted(globals()), "first": sys.path[0], "here": os.getcwd(), "told": os.environ.get("TOLD"),
    "added": beside.ADDED, "parent": os.getppid(), "session": os.getsid(0) == os.getpid(), "input": sys.stdin.read(),
    "flags": sys.dont_write_bytecode, "scopes": [each.name for each in scopes()], "files": sorted(os.listdir("/proc/self/fd"))[:3],
}))
"""


@pytest.fixture
def numbers() -> Preloaded:
    return preloaded("numpy")


def script(directory: Path, text: str) -> list[str]:
    (directory / "script.py").write_text(text)
    return [sys.executable, "script.py"]


def both(numbers: Preloaded, command: list[str], **options: Any) -> list[subprocess.CompletedProcess[str]]:
    real = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)
    return [real, numbers.run(command, timeout=60, **options)]


def test_a_script_sees_what_it_sees_in_a_new_interpreter(numbers, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/beside.py").write_text("ADDED = 1\n")
    (tmp_path / "elsewhere/sitecustomize.py").write_text("import os; os.environ['TOLD'] += ' twice'\n")
    environment = os.environ | {"TOLD": "once", "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(tmp_path / "elsewhere"), os.environ.get("PYTHONPATH", "")]
    )
    options = {"cwd": tmp_path, "env": environment, "stdin": subprocess.DEVNULL, "start_new_session": True}
    real, forked = both(numbers, [*script(tmp_path, SEES), "one", "two"], **options)
    assert (real.returncode, forked.returncode) == (0, 0), real.stderr + forked.stderr
    assert json.loads(forked.stdout) == json.loads(real.stdout)
    assert json.loads(real.stdout)["parent"] == os.getpid()
    assert json.loads(real.stdout)["told"] == "once twice"


@pytest.mark.parametrize(
    "text",
    ["print(1)", "import sys; sys.exit(3)", "raise ValueError('no such data')", "import os; os.kill(os.getpid(), 9)",
     "import atexit; atexit.register(print, 'late'); print('early')",
     "import threading, time; threading.Thread(target=lambda: [time.sleep(0.2), print('later')]).start()"],
)  # fmt: skip
def test_it_ends_as_it_does_in_a_new_interpreter(text, numbers, tmp_path):
    real, forked = both(numbers, script(tmp_path, text), cwd=tmp_path)
    assert (forked.returncode, forked.stdout) == (real.returncode, real.stdout)
    assert forked.stderr.splitlines()[-1:] == real.stderr.splitlines()[-1:]


def test_it_is_killed_by_its_number(numbers, tmp_path):
    command = script(tmp_path, "import time; print('here', flush=True); time.sleep(60)")
    with numbers.popen(command, cwd=tmp_path, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout.readline() == b"here\n"
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL


def test_what_a_new_interpreter_draws_is_another_in_each_life(numbers, tmp_path):
    command = script(
        tmp_path,
        "import random, numpy; print(hash('a')); print(random.random()); print(numpy.random.random())",
    )
    lives = [numbers.run(command, cwd=tmp_path, timeout=60).stdout.splitlines() for _ in range(2)]
    assert [len({*drawn}) for drawn in zip(*lives, strict=True)] == [2, 2, 2]


def test_what_cannot_be_forked_is_started(numbers, tmp_path):
    done = numbers.run([sys.executable, "-c", "print(__name__)"], cwd=tmp_path, timeout=60)
    assert done.stdout == "__main__\n"
