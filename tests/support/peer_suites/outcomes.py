"""A pytest plugin: writes each test's outcome to a file as it comes, and ends a test that hangs."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

LIMIT_S = float(os.environ.get("PEER_SUITES_LIMIT_S", "300"))
FILE = "PEER_SUITES_OUTCOMES"
_RANKS = ("passed", "skipped", "failed")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "flaky: known to its authors to fail now and then")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    def end(*_: object) -> None:
        raise TimeoutError(f"not done after {LIMIT_S:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Recorder:
    """Adds a line for each phase of a test; the worst of them is the test's outcome."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        with open(self._path, "a") as lines:
            lines.write(json.dumps([report.nodeid, report.outcome]) + "\n")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            with open(self._path, "a") as lines:
                lines.write(json.dumps([report.nodeid, "failed"]) + "\n")


def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(Recorder(Path(os.environ[FILE])))


def read(path: Path) -> dict[str, str]:
    """The outcome of each test: "passed", "skipped" (also of what is expected to fail) or "failed"."""
    worst: dict[str, str] = {}
    for line in path.read_text().splitlines():
        test, outcome = json.loads(line)
        worst[test] = max(worst.get(test, "passed"), outcome, key=_RANKS.index)
    return worst
