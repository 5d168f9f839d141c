"""Two processes of one script that find each other, as a launcher would start them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import holdfast

HERE = Path(__file__).parent


def run_pair(script: str, *arguments: str, cwd: Path) -> list[tuple[int, str]]:
    """The exit status of each, by rank, and what it has printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
    }
    pair = [
        subprocess.Popen(
            [sys.executable, str(HERE / script), *arguments],
            cwd=cwd,
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank), "NODE_RANK": "0"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        printed = [process.communicate(timeout=200)[0] for process in pair]
    finally:
        for process in pair:
            process.kill()
    return [(process.returncode, text) for process, text in zip(pair, printed, strict=True)]


def check_a_pair_resumes(script: str, crash_at: int, cwd: Path) -> None:
    """Killed in the batch or update of this number, or told to leave in the fourth of the next life, both end as two uninterrupted ones."""

    def run(*arguments: str) -> list[int]:
        return [status for status, _ in run_pair(script, *arguments, cwd=cwd)]

    assert run("uninterrupted", f"killed:{crash_at}:SIGKILL") == [-signal.SIGKILL, -signal.SIGKILL]
    assert run("killed:4:SIGTERM") == [75, 75]
    newest = holdfast.scan(cwd / "killed")[-1].record
    assert newest
    assert newest.reason == "told to leave (SIGTERM)"
    assert run("killed") == [0, 0]
    for rank in range(2):
        ends = [
            (cwd / directory / f"rank{rank}.txt").read_text() for directory in ("uninterrupted", "killed")
        ]
        assert ends[0] == ends[1]
        assert ends[0]
