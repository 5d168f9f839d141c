"""The long campaigns run, and say what they did; `make torture` gives them their time."""

from __future__ import annotations

import pytest

from tests.support.reliability.campaigns_damage import CAMPAIGNS


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_a_campaign_is_one_line_of_figures(name):
    line = CAMPAIGNS[name](0.2, 1)
    assert "\n" not in line
    assert " 0 " in line
