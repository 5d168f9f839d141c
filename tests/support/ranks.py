"""Real processes of a job, each with its rank, as a launcher would start them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Job:
    """`size` processes of a module; a context manager that ends those that are left."""

    def __init__(self, module: str, size: int, scratch: Path, *arguments: str, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        scratch.mkdir(exist_ok=True)
        self.results = [scratch / f"{port}-{rank}.jsonl" for rank in range(size)]
        self.errors = [scratch / f"{port}-{rank}.err" for rank in range(size)]
        own = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
        self.processes = []
        for rank in range(size):
            with self.errors[rank].open("w") as errors:
                process = subprocess.Popen(
                    [sys.executable, "-m", module, *arguments],
                    env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
                    | own
                    | {"RANK": str(rank), "LOCAL_RANK": str(rank), "RESULTS": str(self.results[rank])}
                    | environment,
                    cwd=ROOT,
                    stderr=errors,
                    stdout=errors,
                )
            self.processes.append(process)

    def wait(self, timeout_s: float = 400.0) -> list[int]:
        """The exit codes, by rank."""
        return [process.wait(timeout_s) for process in self.processes]

    def said(self, rank: int) -> dict[str, Any]:
        """What the process of this rank has said."""
        found: dict[str, Any] = {}
        if self.results[rank].exists():
            for line in self.results[rank].read_text().splitlines():
                found |= json.loads(line)
        return found

    def told(self) -> str:
        """What all have written to standard error."""
        return "\n".join(f"rank {rank}:\n{each.read_text()}" for rank, each in enumerate(self.errors))

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *details: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()


def run(module: str, size: int, scratch: Path, *arguments: str, **environment: str) -> list[dict[str, Any]]:
    """What each rank says, once all have ended well."""
    with Job(module, size, scratch, *arguments, **environment) as job:
        codes = job.wait()
        assert codes == [0] * size, job.told()
        return [job.said(rank) for rank in range(size)]
