"""A pytest plugin for a Python that has no frameworks: test files that import one are skipped, and say which.

python -m pytest -p tests.support.without_frameworks tests/state
"""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path

import pytest

FRAMEWORKS = frozenset({"flax", "jax", "modularml", "pandas", "scipy", "sklearn", "torch"})
_MISSING = re.compile(r"^E\s+ModuleNotFoundError: No module named '(\w+)", re.MULTILINE)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    missing = set(_MISSING.findall(str(report.longrepr))) if report.failed else set()
    if missing and missing <= FRAMEWORKS and isinstance(collector, pytest.Module):
        report.outcome = "skipped"
        where = Path(collector.path).relative_to(collector.config.rootpath)
        report.longrepr = (str(where), 0, f"Skipped: {', '.join(sorted(missing))} is not installed")
    return report
