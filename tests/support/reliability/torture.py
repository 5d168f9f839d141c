"""The long campaigns: kills, power cuts, damage and races, for as many minutes as you give them.

`python -m tests.support.reliability.torture --minutes 10` shares the time out among all `CAMPAIGNS` of the modules
`campaigns_*` beside this file, runs each in a process of its own, and prints a line of figures for each. A
broken promise is shown with the command that repeats it; the others go on, and the exit code is 1.

A campaign is a function of its time in seconds and a seed. It returns a line of figures, which begins with
"skipped" if this machine cannot do it; an AssertionError says that a promise is broken.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support import ROOT

HERE = Path(__file__).resolve().parent
PACKAGE = "tests.support.reliability"
Campaign = Callable[[float, int], str]

_LEAST_S = 2.0
_PATIENCE_S = (
    180.0  # beyond its time, before a campaign counts as hanging: it may have to finish what it began
)


@dataclass
class Result:
    status: str  # "ok", "skipped", "BROKEN"
    line: str
    details: str = ""


def campaigns(folder: Path = HERE) -> dict[str, Campaign]:
    """All campaigns by name, whichever module they are in."""
    prefix = f"{PACKAGE}." if folder == HERE else ""
    if not prefix:
        sys.path.insert(0, str(folder))
    found: dict[str, Campaign] = {}
    for file in sorted(folder.glob("campaigns_*.py")):
        module = importlib.import_module(prefix + file.stem)
        for name, campaign in module.CAMPAIGNS.items():
            assert name not in found, f"two campaigns are called {name!r}"
            found[name] = campaign
    return found


def run_apart(name: str, budget_s: float, seed: int, folder: Path = HERE) -> Result:
    """Run a campaign in a process of its own, so that whatever becomes of it the others go on."""
    command = [sys.executable, "-m", f"{PACKAGE}.torture", "--campaigns", str(folder), "--run", name]
    process = subprocess.Popen(
        [*command, "--seconds", f"{budget_s:.1f}", "--seed", str(seed)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=budget_s + _PATIENCE_S)
    except BaseException as err:
        os.killpg(process.pid, signal.SIGKILL)  # with the children that it may have
        output, _ = process.communicate()
        if not isinstance(err, subprocess.TimeoutExpired):
            raise
        return Result("BROKEN", f"it hangs: it had {budget_s:.0f} s", output)
    lines = output.splitlines() or [""]
    if process.returncode:
        return Result("BROKEN", lines[-1][:200] or f"exit code {process.returncode}", output)
    return Result("skipped" if lines[-1].startswith("skipped") else "ok", lines[-1])


def torture(names: Sequence[str], minutes: float, seed: int, folder: Path = HERE) -> int:
    """Run these campaigns one after the other; the number of those that found a promise broken."""
    until_s, broken = time.monotonic() + 60 * minutes, 0
    print(f"{len(names)} campaigns in {minutes:g} minutes, seed {seed}", flush=True)
    for done, name in enumerate(names):
        # What one does not use, the others get.
        budget_s = max(_LEAST_S, (until_s - time.monotonic()) / (len(names) - done))
        began_s = time.monotonic()
        result = run_apart(name, budget_s, seed, folder)
        print(f"{result.status:<8} {name:<32} {time.monotonic() - began_s:5.0f} s  {result.line}", flush=True)
        if result.status == "BROKEN":
            broken += 1
            again = ["--only", name, "--minutes", f"{budget_s / 60:.2f}", "--seed", str(seed)]
            print(result.details)
            print(f"Again: python -m tests.support.reliability.torture {shlex.join(again)}", flush=True)
    print(f"{broken} of {len(names)} campaigns found a promise broken.")
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the long campaigns of the reliability tests.")
    parser.add_argument("--minutes", type=float, default=10.0, help="for all campaigns together")
    parser.add_argument("--seed", type=int, help="drawn and printed by default")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="only campaigns whose name holds this"
    )
    parser.add_argument("--list", action="store_true", help="print the names of the campaigns")
    parser.add_argument("--campaigns", type=Path, default=HERE, help=argparse.SUPPRESS)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    found = campaigns(given.campaigns)
    if given.run:
        print(found[given.run](given.seconds, given.seed))
        return 0
    names = [name for name in found if not given.only or any(part in name for part in given.only)]
    if given.list:
        print(*names, sep="\n")
        return 0
    if not names:
        parser.error(f"no campaign is called anything like {' or '.join(given.only)}")
    seed = random.SystemRandom().randrange(1 << 31) if given.seed is None else given.seed
    return 1 if torture(names, given.minutes, seed, given.campaigns) else 0


if __name__ == "__main__":
    sys.exit(main())
