"""Long campaigns of many at once and of rot, for `make torture`: each goes on until its time is up."""

from __future__ import annotations

import contextlib
import functools
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.bundle import _open
from tests.reliability.test_interleavings import pairs, trios
from tests.support.reliability.interleaving import every_order, some_orders, use_own_ids
from tests.support.reliability.races import DELETERS, READERS, WRITERS, race
from tests.support.reliability.rotting import History

_RACE_S = 60.0  # then a new directory, so that listing it stays quick


def race_under_kills(budget_s: float, seed: int) -> str:
    """T13: processes in one real directory."""
    until_s, totals = time.monotonic() + budget_s, [0, 0, 0, 0, 0]
    while (left_s := until_s - time.monotonic()) > 2:
        with tempfile.TemporaryDirectory() as directory:
            figures = race(Path(directory), min(_RACE_S, left_s - 1), seed)
        assert not figures.violations, "\n".join([str(figures), *figures.violations[:20]])
        run = (figures.saves, figures.looks, figures.deletions, figures.kills, figures.cut_short)
        totals = [total + more for total, more in zip(totals, run, strict=True)]
        seed += 1
    saves, looks, deletions, kills, cut_short = totals
    return (
        f"{WRITERS} writers, {READERS} readers, {DELETERS} deleter: {saves:,} saves, {looks:,} looks, {deletions:,} deletions, "
        f"{kills:,} kills ({cut_short:,} in the middle of one of these), 0 lost, 0 mixed"
    )


@contextlib.contextmanager
def _as_in_the_tests() -> Iterator[None]:
    logging.disable()
    with pytest.MonkeyPatch.context() as patch:
        use_own_ids(patch)
        patch.setattr(_open, "decode_record", functools.cache(_open.decode_record))
        yield


def interleave_two(budget_s: float, seed: int) -> str:
    """T14: every order of every two actors; those with the most orders for as long as there is time."""
    until_s, orders, complete = time.monotonic() + budget_s, 0, []
    with _as_in_the_tests():
        left = pairs()
        waiting = {name: every_order(scene.begin, acts) for name, (scene, acts, _) in left.items()}
        while waiting and time.monotonic() < until_s:
            for name, worlds in [*waiting.items()]:
                slice_until_s = time.monotonic() + 1  # in turns: the short ones end first
                for world in worlds:
                    left[name][2](world)
                    orders += 1
                    if time.monotonic() > min(slice_until_s, until_s):
                        break
                else:
                    complete.append(name)
                    del waiting[name]
    return f"{orders:,} orders; all of {len(complete)} of {len(left)} pairs; 0 lost"


def interleave_three(budget_s: float, seed: int) -> str:
    """Random orders of three actors."""
    until_s, orders = time.monotonic() + budget_s, 0
    with _as_in_the_tests():
        while time.monotonic() < until_s:
            for scene, acts, judge in trios().values():
                for world in some_orders(scene.begin, acts, 50, seed):
                    judge(world)
                    orders += 1
            seed += 1
    return f"{orders:,} random orders of {len(trios())} trios; 0 lost"


def rot(budget_s: float, seed: int) -> str:
    """Random histories on a disk that rots."""
    until_s, histories = time.monotonic() + budget_s, []
    logging.disable()
    while time.monotonic() < until_s:
        histories.append(history := History(seed + len(histories)))
        history.run(80)
    saves, flips = (sum(getattr(each, what) for each in histories) for what in ("saves", "flips"))
    return (
        f"{len(histories):,} histories: {saves:,} saves, {flips:,} flipped bits; 0 saved rotten an hour after"
    )


CAMPAIGNS: dict[str, Callable[[float, int], str]] = {
    "races under kills": race_under_kills,
    "two actors in every order": interleave_two,
    "three actors in random orders": interleave_three,
    "rot in shared packs": rot,
}
