"""Weights that are written again between the restore and the first step are named, or put back, in each integration."""

from __future__ import annotations

import pytest

from tests.support.integrations import spoiling
from tests.support.integrations.answers import answer_of, by_name
from tests.support.integrations.spoiling import MENDED, TRAININGS


@pytest.mark.medium
@pytest.mark.parametrize("name", by_name(*TRAININGS))
def test_weights_written_before_the_first_step_are_named_or_put_back(name, tmp_path):
    answer = answer_of(spoiling.__file__, name, tmp_path)
    undisturbed, spoiled = answer["undisturbed"], answer["spoiled"]
    assert undisturbed["verdict"] == undisturbed["saved"] == "exact"
    assert spoiled["saved"] == spoiled["verdict"]
    if name in MENDED:
        assert spoiled == undisturbed
    else:
        assert spoiled["verdict"].startswith("not exact: ")
        assert spoiled["verdict"].endswith("changed before the first step")
        assert spoiled["digest"] != undisturbed["digest"], "the script spoils nothing"
