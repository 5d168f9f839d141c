"""A finished training that is started again trains nothing more, whatever its policy saves; one that is to be longer resumes."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")

from holdfast import Checkpointing, Write
from tests.support.integrations.lengths import TRAININGS

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]

POLICIES = {
    "every batch": {"save_on": "batch_end"},
    "every 5th batch": {"save_on": "batch_end", "every_n": 5},
    "the default": None,
}


def policy(name: str) -> Checkpointing | None:
    options = POLICIES[name]
    return None if options is None else Checkpointing(write=Write(durability="process"), **options)


@pytest.fixture(params=TRAININGS)
def train(request):
    made, needs = TRAININGS[request.param]
    for name in needs:
        pytest.importorskip(name)
    return made


@pytest.mark.parametrize("saving", POLICIES)
def test_one_that_was_stopped_stays_stopped(train, saving, tmp_path):
    assert train(tmp_path, policy(saving), 9, True) > 0
    assert train(tmp_path, policy(saving), 9, True) == 0
    assert train(tmp_path, policy(saving), 9, False) == 0


@pytest.mark.medium
@pytest.mark.parametrize("saving", ["every batch", "the default"])
def test_one_that_is_complete_is_left_alone_until_it_is_to_be_longer(train, saving, tmp_path):
    first = train(tmp_path, policy(saving), 3, False)
    assert train(tmp_path, policy(saving), 3, False) == 0
    assert train(tmp_path, policy(saving), 5, False) == first * 2 // 3
