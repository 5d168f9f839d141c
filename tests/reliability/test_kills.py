"""A process may be killed at any operation: the checkpoints stay whole, and the next process needs no repair."""

from __future__ import annotations

import signal
import sys

import pytest

from tests.support.apart import apart
from tests.support.reliability.kills import check_kills

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and signals")


@pytest.mark.medium
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_at_an_operation(tmp_path, number):
    apart(check_kills, tmp_path, 50, int(number), number)


@pytest.mark.slow
def test_1000_processes_killed_at_every_operation_of_theirs(tmp_path, record_property):
    record_property("figures", apart(check_kills, tmp_path, 1000, 0))
