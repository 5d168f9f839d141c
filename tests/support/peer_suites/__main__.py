"""The command; see the package."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import outcomes
from .suites import SUITES, Suite

ROOT = Path(__file__).parents[3]


def run(
    checkout: Path, suite: Suite, tests: Sequence[str], plugins: Sequence[str], more: Sequence[str]
) -> dict[str, str]:
    """The outcome of each of these tests (paths below `suite.where`, or ids), with these plugins."""
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(scratch, "outcomes")
        written.touch()
        path = os.pathsep.join([str(ROOT), str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "pytest", "-q", "--color=no", "--tb=short", "-p", "no:cacheprovider"]
        command += ["--continue-on-collection-errors"]
        command += ["--rootdir", str(checkout), "-c", str(checkout / "pyproject.toml")]
        command += [part for name in (outcomes.__name__, *plugins) for part in ("-p", name)]
        where = checkout / suite.where
        command += [*more, *(str(where / each) for each in tests)]
        environment = os.environ | {"PYTHONPATH": path, outcomes.FILE: str(written), "OMP_NUM_THREADS": "1"}
        environment.pop("PYTEST_ADDOPTS", None)
        subprocess.run(command, cwd=scratch, env=environment, check=False)
        prefix = f"{suite.where}/"
        return {test.removeprefix(prefix): outcome for test, outcome in outcomes.read(written).items()}


def run_twice(
    checkout: Path, suite: Suite, tests: Sequence[str], plugins: Sequence[str], more: Sequence[str]
) -> dict[str, str]:
    """The same; what fails is tried again, alone."""
    found = run(checkout, suite, tests, plugins, more)
    failed = [test for test, outcome in found.items() if outcome == "failed"]
    return found | (run(checkout, suite, failed, plugins, ()) if failed else {})


def count(found: Mapping[str, str]) -> str:
    numbers = Counter(found.values())
    return f"{numbers['passed']} passed, {numbers['failed']} failed, {numbers['skipped']} skipped"


def compare(suite: Suite, stock: Mapping[str, str], ours: Mapping[str, str]) -> bool:
    """Say what passes without Holdfast only; returns whether all of it is known, and all that is known is so."""
    print(f"\n{suite.name}\n  without: {count(stock)}\n  with:    {count(ours)}")
    lost = [test for test, outcome in stock.items() if outcome == "passed" and ours.get(test) != "passed"]
    for test in lost:
        print(
            f"  {'known' if suite.reason(test) else 'LOST '}  {test}: {suite.reason(test) or ours.get(test, 'not run')}"
        )
    names = {test: {test, test.partition("[")[0]} for test in ours}
    asked = {name for name in suite.internals if any(name in own for own in names.values())}
    stale = [name for name in asked if not any(name in names.get(test, ()) for test in lost)]
    for name in stale:
        print(f"  STALE  {name}: passes, so it is no internal")
    return not stale and all(suite.reason(test) for test in lost)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.peer_suites", description=sys.modules[__package__].__doc__
    )
    parser.add_argument("framework", choices=sorted(SUITES))
    parser.add_argument(
        "checkout", type=Path, help="a checkout of its repository, or an unpacked archive that has its tests"
    )
    parser.add_argument(
        "--only", metavar="PATH", action="append", help="these tests only: paths below the suite's folder"
    )
    parser.add_argument(
        "--pytest", metavar="OPTION", action="append", default=[], help="for pytest, such as --pytest=-n2"
    )
    given = parser.parse_args()
    checkout = given.checkout.resolve()
    as_wanted = True
    for suite in SUITES[given.framework]:
        tests = [each for each in given.only or suite.paths if each.startswith(suite.paths)]
        if not tests:
            continue
        if missing := [
            each for each in tests if not (checkout / suite.where / each.partition("::")[0]).exists()
        ]:
            parser.error(
                f"{checkout} has no {suite.where}/{missing[0]}: this is no checkout of {given.framework}'s tests"
            )
        stock = run_twice(checkout, suite, tests, (), given.pytest)
        ours = run_twice(checkout, suite, tests, (suite.plugin,), given.pytest)
        as_wanted &= bool(stock) and compare(suite, stock, ours)
    return 0 if as_wanted else 1


if __name__ == "__main__":
    sys.exit(main())
