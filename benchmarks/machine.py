"""The machine that measured: what it is, and how much of it others used meanwhile."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    *("holdfast", "numpy", "torch", "blake3", "xxhash", "safetensors", "orbax-checkpoint", "jax"),
    *("torch_checkpointing", "joblib", "modularml"),
)
_TICKS = os.sysconf("SC_CLK_TCK")


def describe(folder: Path) -> dict[str, str]:
    """One line for each fact; `folder` is where the files go."""
    return {
        "CPU": f"{_first('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores",
        "memory": f"{int(_first('/proc/meminfo', 'MemTotal').split()[0]) >> 20} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": _file_system(folder),
        "Python": platform.python_version(),
        "packages": ", ".join(f"{name} {found}" for name in _PACKAGES if (found := _version(name))),
    }


class Neighbours:
    """How much of the processors other processes have used since this was made."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._busy_s, self._own_s = _busy_s(), _own_s()

    def share(self) -> float:
        """Of all cores' time, 0 to 1; ours is left out, and that of our processes that have ended."""
        others_s = (_busy_s() - self._busy_s) - (_own_s() - self._own_s)
        return max(0.0, others_s / ((time.monotonic() - self._began_s) * (os.cpu_count() or 1)))


def delay_s() -> float:
    """How long this thread has waited for a processor, since it began, while it could have run; 0 where Linux does not tell."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


def _busy_s() -> float:
    user, nice, system, _idle, _wait, irq, soft, steal, *_ = (
        int(ticks) for ticks in _first("/proc/stat", "cpu ", "").split()
    )
    return (user + nice + system + irq + soft + steal) / _TICKS


def _own_s() -> float:
    return sum(os.times()[:4])


def _first(file: str, key: str, separator: str = ":") -> str:
    for line in Path(file).read_text().splitlines():
        if line.startswith(key):
            return line.partition(separator)[2].strip() if separator else line.removeprefix(key).strip()
    return "unknown"


def _file_system(folder: Path) -> str:
    best, found = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if str(folder.resolve()).startswith(where) and len(where) >= len(best):
            best, found = where, f"{kind} ({options.split(',')[0]})"
    return found


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
