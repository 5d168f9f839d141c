"""Masked arrays and SciPy's sparse ones come back in the same object, and without one as what they were."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

import holdfast
from holdfast.errors import StateMismatchError

FORMS = [
    f"{form}_{what}"
    for form in ("csr", "csc", "bsr", "coo", "dia", "lil", "dok")
    for what in ("matrix", "array")
]


@pytest.mark.parametrize("form", FORMS)
def test_sparse(tmp_path, form):
    make = getattr(scipy.sparse, form)
    dense = np.array([[0.0, 2, 0], [1, 0, 3]])
    value, live = make(dense), make(np.eye(2, 3))
    place = holdfast.save(tmp_path / "s", {"s": value, "list": [value, value]})
    found = holdfast.load(place)
    assert type(found["s"]) is type(value)
    assert np.array_equal(found["s"].toarray(), dense)
    state = {"s": live, "list": []}
    holdfast.load(place, into=state)
    assert state["s"] is live
    assert np.array_equal(live.toarray(), dense)
    assert np.array_equal((live @ np.ones(3)), dense.sum(1))
    assert np.array_equal((live + live).toarray(), 2 * dense)
    with pytest.raises(StateMismatchError, match="sparse array of shape"):
        holdfast.load(place, into={"s": make(np.eye(4)), "list": []})


def test_formats_are_told_apart():
    digests = {
        holdfast.state.digest(holdfast.capture(getattr(scipy.sparse, form)(np.eye(2)))) for form in FORMS
    }
    assert len(digests) == len(FORMS)


@pytest.mark.parametrize("hard", [False, True])
def test_masked(tmp_path, hard):
    value = np.ma.MaskedArray([1.0, 2, 3], [0, 1, 0], fill_value=-9.0, hard_mask=hard)
    place = holdfast.save(tmp_path / "m", {"m": value})
    live = np.ma.MaskedArray(np.zeros(3), [1, 0, 0], hard_mask=not hard)
    data = np.ma.getdata(live)
    for found in (holdfast.load(place)["m"], holdfast.load(place, into={"m": live}).value["m"]):
        assert isinstance(found, np.ma.MaskedArray)
        assert found.mask.tolist() == [False, True, False]
        assert np.ma.getdata(found).tolist() == [1, 2, 3]
        assert (found.fill_value, found.hardmask) == (-9.0, hard)
    assert data.tolist() == [1, 2, 3]  # in place


def test_a_masked_array_without_a_mask(tmp_path):
    place = holdfast.save(tmp_path / "m", {"m": np.ma.MaskedArray(np.arange(3))})
    live = np.ma.MaskedArray(np.zeros(3, int), [1, 1, 1])
    holdfast.load(place, into={"m": live})
    assert live.sum() == 3
