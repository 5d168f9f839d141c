"""Bundles made by a fuzzer that knows the format and the digests: only the library's errors, no hang, bounded memory."""

from __future__ import annotations

import enum
from collections import deque

import numpy as np
import pytest

import holdfast
from holdfast.storage import MemoryDisk
from tests.support.reliability.forging import files_of_state, place, put
from tests.support.reliability.mutations import Fuzzer


@pytest.mark.parametrize("number", [500, pytest.param(5000, marks=pytest.mark.slow)])
def test_no_mutation_is_met_by_anything_but_an_error_of_the_library_or_a_value(number):
    outcomes = Fuzzer(seed=number).run(0, number)
    assert outcomes.total() == number
    assert outcomes["loaded"] > number // 100, "no mutation gets past the checks"
    assert outcomes["CheckpointDamagedError"] > number // 2
    assert outcomes["PieceDamagedError"] > 0


def test_any_mutation_can_be_made_again():
    assert Fuzzer(1).bundle(7) == Fuzzer(1).bundle(7) != Fuzzer(1).bundle(8)


def test_the_fuzzer_tells_what_it_finds(monkeypatch):
    """A reader that lets a foreign exception out is caught, and the bundle named."""
    monkeypatch.setattr("holdfast.bundle._read.decode_tree", lambda data, place: {}[place])
    with pytest.raises(AssertionError, match=r"bundle \d+ of seed 3: KeyError"):
        Fuzzer(3).run(0, 50)


Held = enum.Enum("Held", {"QUEUE": deque([np.arange(3)])})


def test_an_array_in_an_object_that_is_the_state_of_another_is_found_by_its_path():
    """What the fuzzer found: `checkpoint[path]` knew no array of that path."""
    disk = put(MemoryDisk(), place("runs"), files_of_state({"held": Held.QUEUE}))
    with holdfast.open(place("runs"), disk=disk) as checkpoint:
        (leaf,) = checkpoint.leaves()
        assert checkpoint[leaf.path].tolist() == [0, 1, 2]
