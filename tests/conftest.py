"""What holds for all tests."""

from __future__ import annotations

import os

import pytest

from tests.support.newborn import ONE_THREAD

# Before torch is imported, here and in the processes that tests start. Threads of several test processes
# that wait for each other, on as many cores as one of them takes, make a training six times as slow.
for name, value in ONE_THREAD.items():
    os.environ.setdefault(name, value)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Last come the tests after which no process should be forked any more."""
    items.sort(key=lambda item: item.get_closest_marker("leaves_threads") is not None)
