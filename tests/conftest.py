"""Beside this file lie helpers that tests of every folder import; pytest finds them because it is here."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Last come the tests after which no process should be forked any more."""
    items.sort(key=lambda item: item.get_closest_marker("leaves_threads") is not None)
