"""The binary search finds the first bad one for sure, with few checks, whatever has to be skipped."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import holdfast
from holdfast.compare import FiniteCheck, NonFinite, first_bad
from holdfast.paths import matches


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_first_bad_one_is_found_in_log2_checks(number, begins):
    found = first_bad(number, lambda index: "bad" if index >= begins else "good")
    assert found.first_bad == (begins if begins < number else None)
    assert found.suspects == ()
    assert len(found.verdicts) <= 2 + math.ceil(math.log2(max(number, 2)))


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 40))
def test_what_is_skipped_hides_nothing_and_is_named(skips, begins):
    def check(index):
        return "skip" if skips[index] else "bad" if index >= begins else "good"

    found = first_bad(len(skips), check)
    judged = [index for index, skip in enumerate(skips) if not skip]
    assert found.first_bad == next((index for index in judged if index >= begins), None)
    if found.first_bad is not None:
        good = [index for index in judged if index < begins]
        assert found.last_good == (good[-1] if good else None)
        if good:
            assert found.suspects == tuple(range(good[-1] + 1, found.first_bad))
            assert all(skips[index] for index in found.suspects)
    assert all(found.verdicts[index] == check(index) for index in found.verdicts)


def test_both_ends_are_tried_first():
    asked = []
    first_bad(9, lambda index: asked.append(index) or ("bad" if index > 5 else "good"))
    assert asked[:2] == [0, 8]


def test_a_nan_or_infinity_anywhere_in_the_models_is_found_and_shared_pieces_are_read_once(save, monkeypatch):
    frozen = np.ones(1_200_000, np.float32)
    nonfinite = frozen.copy()
    nonfinite[-1] = np.inf
    good = save(
        "a", {"model_graph": {"w": frozen, "n": np.zeros(2, np.int64)}, "results": np.array([np.nan])}
    )
    bad = save("b", {"model_graph": {"w": nonfinite}})
    read = []
    original = holdfast.bundle.Bundle.read_piece
    monkeypatch.setattr(
        holdfast.bundle.Bundle, "read_piece", lambda *args: (read.append(args[2].start), original(*args))
    )
    finite = FiniteCheck()
    with holdfast.open(good) as one, holdfast.open(bad) as other:
        assert finite.first_nonfinite(one.source) is None
        assert len(read) == 2
        assert finite.first_nonfinite(other.source) == NonFinite("model_graph/w", 0, 1)
        assert len(read) == 3
        assert FiniteCheck("results").first_nonfinite(one.source) == NonFinite("results", 1, 0)


def test_patterns_mean_places_and_all_below_them():
    assert matches("a/b/c", "a")
    assert matches("a/b/c", "a/**")
    assert matches("a/b/c", "**/c")
    assert matches("a/b/c", "a/*/c")
    assert matches("a/0.weight", "a/?.weight")
    assert not matches("a/b/c", "*/c")
    assert not matches("ab", "a")
    assert not matches("a/0xweight", "a/0.weight")
