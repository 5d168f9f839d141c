"""The scripts of `examples/` run as the README says; killed and run again, they end as they would have."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import holdfast
from tests.support.newborn import ONE_THREAD

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]


def run(name: str, *arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        command(name, *arguments),
        cwd=cwd,
        env=os.environ | ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def kill_after_saves(number: int, name: str, *arguments: str, cwd: Path, directory: Path) -> None:
    """Run it, and kill it as soon as so many checkpoints have been committed."""
    process = subprocess.Popen(
        command(name, *arguments), cwd=cwd, env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, text=True
    )
    deadline_s = time.monotonic() + 120
    try:
        while len(holdfast.scan(directory) if directory.exists() else []) < number:
            assert process.poll() is None, "it ended before it was killed"
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def test_five_lines_make_the_character_model_resume():
    marked = [line for line in (EXAMPLES / "char_gpt.py").read_text().splitlines() if line.endswith("# +")]
    assert len(marked) == 5


@pytest.mark.slow
def test_the_character_model_that_was_killed_writes_what_it_would_have_written(tmp_path):
    short = ("--steps", "60", "--save-every", "5", "--directory")
    uninterrupted = run("char_gpt.py", *short, "uninterrupted", cwd=tmp_path)
    kill_after_saves(2, "char_gpt.py", *short, "killed", cwd=tmp_path, directory=tmp_path / "killed")
    resumed = run("char_gpt.py", *short, "killed", cwd=tmp_path)
    assert len(resumed) < len(uninterrupted)  # it did not begin anew
    assert uninterrupted.endswith(resumed)


@pytest.mark.parametrize(
    ("name", "needs"), [("lightning_digits.py", "lightning"), ("transformers_tiny.py", "transformers")]
)
@pytest.mark.slow
def test_an_example_that_was_killed_ends_as_it_would_have(name, needs, tmp_path):
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    uninterrupted = run(name, "--directory", "uninterrupted", cwd=tmp_path)
    kill_after_saves(2, name, "--directory", "killed", cwd=tmp_path, directory=tmp_path / "killed")
    resumed = run(name, "--directory", "killed", cwd=tmp_path)
    assert "resumed from" in resumed
    assert uninterrupted.splitlines()[-1] == resumed.splitlines()[-1]


@pytest.mark.slow
def test_the_decorated_function_that_was_killed_returns_what_it_would_have(tmp_path):
    name = "decorated_spirals.py"
    uninterrupted, killed = tmp_path / "uninterrupted", tmp_path / "killed"
    uninterrupted.mkdir()
    killed.mkdir()
    expected = run(name, cwd=uninterrupted)
    for saves in (2, 5):
        kill_after_saves(saves, name, cwd=killed, directory=killed / "runs")
    resumed = run(name, cwd=killed)
    assert len(resumed) < len(expected)  # it did not begin anew
    assert expected.endswith(resumed)
    assert run(name, cwd=killed) == expected.splitlines(keepends=True)[-1]


@pytest.mark.slow
def test_processes_that_have_a_model_together_end_as_they_would_have(tmp_path):
    def torchrun(directory: str) -> subprocess.Popen[str]:
        begin = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d"]
        begin += ["--rdzv-endpoint=127.0.0.1:0", str(EXAMPLES / "sharded_spirals.py")]
        return subprocess.Popen(
            [sys.executable, *begin, "--epochs", "3", "--directory", directory],
            cwd=tmp_path,
            env=os.environ | ONE_THREAD | {"GLOO_SOCKET_IFNAME": "lo"},
            stdout=subprocess.PIPE,
            text=True,
        )

    uninterrupted, _ = torchrun("uninterrupted").communicate(timeout=400)
    killed = torchrun("killed")
    deadline_s = time.monotonic() + 400
    while len(holdfast.scan(tmp_path / "killed") if (tmp_path / "killed").exists() else []) < 2:
        assert killed.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    holder = (tmp_path / "killed" / ".run.lock").read_text().split()[1]  # rank 0; torchrun ends the other one
    os.kill(int(holder), signal.SIGKILL)
    killed.communicate(timeout=400)
    resumed, _ = torchrun("killed").communicate(timeout=400)
    assert "the resume was exact" in resumed
    assert resumed.splitlines()[-1] == uninterrupted.splitlines()[-1] != ""
