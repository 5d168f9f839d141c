"""Any number of processes share a directory without locks, and may die at any time: nothing is lost or mixed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from holdfast.bundle import _commit, _leftovers
from tests.support.apart import apart
from tests.support.reliability import races
from tests.support.reliability.race_log import Book, Done
from tests.support.reliability.races import race

SECONDS = float(os.environ.get("HOLDFAST_RACE_SECONDS", "20"))


@pytest.mark.medium
def test_for_two_seconds_of_kills_nothing_is_lost_and_nothing_is_mixed(tmp_path: Path):
    judge(tmp_path, seconds=2, seed=1)


@pytest.mark.slow
def test_eight_writers_two_readers_and_a_deleter_lose_nothing_and_mix_nothing(tmp_path: Path):
    """For 20 seconds, or for HOLDFAST_RACE_SECONDS."""
    judge(tmp_path, SECONDS, seed=2)


def judge(directory: Path, seconds: float, seed: int) -> None:
    figures = apart(race, directory, seconds, seed)
    print(figures)
    assert not figures.violations, "\n".join([str(figures), *figures.violations[:20]])
    assert figures.saves
    assert figures.looks
    assert figures.deletions
    assert figures.kills


# The tests are tested: with each of these wrong protocols the race finds something lost, mixed or left.


def delete_in_place(disk, path, *, expected_id=None) -> None:
    _leftovers.remove_trash(disk, os.path.dirname(path), path)


def replace_in_place(inside, place, id, fill, durable):
    """An overwrite that removes the old record before the new one is there."""
    record = fill(inside, id, rename_links=True)
    inside.unlink("checkpoint.json")
    _commit.write_file(inside, "checkpoint.json", _commit.encode_record(record), durable=durable)
    return record


WRONG = {"delete": (races.bundle, delete_in_place), "_replace": (_commit, replace_in_place)}


def race_wrongly(directory: Path, name: str) -> Sequence[str]:
    module, wrong = WRONG[name]
    setattr(module, name, wrong)
    return race(directory, seconds=2, seed=3).violations


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_a_protocol_that_shows_halves_is_found_out(name: str, tmp_path: Path):
    assert apart(race_wrongly, tmp_path, name)


# What each save is: (its number, the lines of its beginning and end), and whether it was acknowledged.
A, B = (0, 1), (0, 2)


def save(value, began: float, ended: float, *, acknowledged: bool = True) -> Done:
    return Done("w", "save", "best", value, began, ended, acknowledged)


def deletion(value, began: float, ended: float, *, acknowledged: bool = True) -> Done:
    return Done("d", "delete", "best", value, began, ended, acknowledged)


@pytest.mark.parametrize(
    ("done", "final", "is_possible"),
    [
        ([save(A, 0, 1)], A, True),
        ([save(A, 0, 1)], None, False),
        ([save(A, 0, 1, acknowledged=False)], None, True),
        ([save(A, 0, 1, acknowledged=False)], A, True),
        ([save(A, 0, 1), save(B, 2, 3)], B, True),
        ([save(A, 0, 1), save(B, 2, 3)], A, False),
        ([save(A, 0, 2), save(B, 1, 3)], A, True),
        ([save(A, 0, 1), save(B, 2, 3, acknowledged=False)], A, True),
        ([save(A, 0, 1), save(B, 2, 3, acknowledged=False)], B, True),
        ([save(A, 0, 1), deletion(A, 2, 3)], None, True),
        ([save(A, 0, 1), deletion(A, 2, 3)], A, False),
        ([save(A, 0, 1), deletion(A, 2, 3, acknowledged=False)], A, True),
        ([save(A, 0, 1), deletion(A, 2, 3), save(B, 4, 5)], None, False),
        ([save(A, 0, 1), deletion(A, 3, 5), save(B, 2, 4)], None, False),
        ([save(A, 0, 3), deletion(A, 1, 2)], A, True),
        ([save(A, 0, 1)], B, False),
    ],
)
def test_the_judge_knows_what_can_be_true(done: Sequence[Done], final, is_possible: bool):
    judged = Book([*done]).judge({} if final is None else {"best": final})
    assert (judged == []) == is_possible, judged
