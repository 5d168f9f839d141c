"""What holds for all tests."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

from tests.support.newborn import ONE_THREAD

# Before torch is imported, here and in the processes that tests start. Threads of several test processes
# that wait for each other, on as many cores as one of them takes, make a training six times as slow.
for name, value in ONE_THREAD.items():
    os.environ.setdefault(name, value)

from holdfast.variables import _other_modules  # noqa: E402

# How long examples take says how busy the machine is, not how good the test.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Last come the tests after which no process should be forked any more."""
    items.sort(key=lambda item: item.get_closest_marker("leaves_threads") is not None)


def pytest_configure() -> None:
    """To a run in a test, the modules of other tests are none of the user's: to look at a hundred takes longer than the test."""
    is_users = _other_modules._is_users

    def is_users_of_a_test(module: ModuleType) -> bool:
        return is_users(module) and not module.__name__.startswith("tests.")

    _other_modules._is_users = is_users_of_a_test


_frozen_for: list[Path] = []


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before the first test of each file: what was imported is garbage for no collection of a later test to look for.

    All tests and frameworks are a million objects, and looking through them took half of the time of short trainings.
    """
    if _frozen_for != [item.path]:
        _frozen_for[:] = [item.path]
        gc.collect()
        gc.freeze()


@pytest.fixture(autouse=True)
def signal_handlers_are_as_before() -> Iterator[None]:
    """A training that has ended, or failed, leaves no handler of its own: a later SIGTERM would go unheard."""
    before = {each: signal.getsignal(each) for each in signal.valid_signals()}
    yield
    left = {
        signal.Signals(each).name: now
        for each, then in before.items()
        if (now := signal.getsignal(each)) != then and "holdfast" in getattr(now, "__module__", "")
    }
    for name in left:
        signal.signal(signal.Signals[name], before[signal.Signals[name]] or signal.SIG_DFL)
    assert not left
