"""How much memory a piece of code needs at most, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys

# Not `ru_maxrss`: that of a new process begins with the peak of whoever started it.
_PEAK = """
import sys
def peak_bytes():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
"""


def run(code: str, *arguments: object) -> list[int]:
    """The integers that `code` prints; it may call `peak_bytes()`, and finds `arguments` in `sys.argv[1:]`."""
    done = subprocess.run(
        [sys.executable, "-c", _PEAK + code, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return [int(number) for number in done.stdout.split()]
