"""The long campaigns can be started, and say what they did."""

from __future__ import annotations

import pytest

from tests.support.reliability.campaigns_crash import CAMPAIGNS


@pytest.mark.slow
@pytest.mark.parametrize("name", CAMPAIGNS)
def test_a_campaign_of_no_time_does_one_round_and_tells(name):
    assert any(letter.isdigit() for letter in CAMPAIGNS[name](0.0, 3))
