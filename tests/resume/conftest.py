"""One nursery for all tests that kill, and what an uninterrupted run of each plan ends with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch

from tests.support import plans
from tests.support.nursery import Nursery


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Models as small as these are slowed down tenfold by threads that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    with Nursery() as made:
        yield made


@dataclass(frozen=True)
class Uninterrupted:
    """A run from beginning to end, never saved: the digest of its state, and the hooks in order."""

    digest: str
    places: list[Any]


@pytest.fixture(scope="session")
def uninterrupted() -> Callable[[str], Uninterrupted]:
    @cache
    def complete(name: str) -> Uninterrupted:
        made = plans.run(name)
        return Uninterrupted(made.state_digest(), plans.places(made))

    return complete
