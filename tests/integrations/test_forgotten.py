"""An optimizer that works along and is in no checkpoint is named once in every integration, and no resume is exact."""

from __future__ import annotations

import pytest

from tests.support.integrations import forgotten
from tests.support.integrations.answers import answer_of, by_name

NAMED = "an optimizer (Adam) trains and is not in the run"


IN_VARIABLES = {"own_loop", "accelerate"}  # in whose loops it is found among what functions close over


@pytest.mark.medium
@pytest.mark.parametrize("name", by_name(*sorted(IN_VARIABLES)))
def test_one_that_a_function_of_the_script_keeps_comes_back(name, tmp_path):
    answer = answer_of(forgotten.__file__, name, tmp_path)
    assert answer["verdict"] == "exact"
    assert not any(NAMED in line for line in answer["warned"])


@pytest.mark.medium
@pytest.mark.parametrize("name", by_name(*sorted({*forgotten.WITH_TORCH} - IN_VARIABLES)))
def test_an_optimizer_that_nobody_handed_over_is_named(name, tmp_path):
    answer = answer_of(forgotten.__file__, name, tmp_path)
    assert answer["verdict"] == f"not exact: {NAMED}"
    about = [line for line in answer["warned"] if line.startswith(NAMED)]
    assert len(about) == 1
    assert ", so that no resume is exact: " in about[0]
