"""Killed between the save of an epoch's last batch and that of its end: the end is still told, and counts go on."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

import holdfast
from holdfast import Checkpointing
from tests.support.integrations.acceptance import missing
from tests.support.preloaded import with_its_framework

pytestmark = [  # the frameworks' own
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]

NAMES = ("torch", "jax", "keras_torch", "lightning", "transformers", "accelerate")


def counts(directory: Path) -> dict[str, Mapping[str, int]]:
    """What the policy had counted at each save, by the checkpoint's name."""
    found: dict[str, Mapping[str, int]] = {}
    for listed in holdfast.scan(directory):
        assert listed.record
        with holdfast.open(listed.path) as checkpoint:
            found[listed.record.name] = checkpoint["run"]["counters"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(each, marks=with_its_framework(each)) for each in NAMES])
def test_the_end_of_an_epoch_is_told_by_the_run_that_resumes(name, tmp_path):
    if (lacking := missing(name)) is not None:
        pytest.skip(f"{lacking} is not installed")
    case = importlib.import_module(f"tests.support.integrations.cases.{name}_case")
    uninterrupted, resumed = tmp_path / "uninterrupted", tmp_path / "resumed"

    def train(directory: Path) -> dict[str, Mapping[str, int]]:
        case.train(
            directory, Checkpointing(mode="disk", save_on=["batch_end", "epoch_end"]), beat=lambda: None
        )
        return counts(directory)

    expected = train(uninterrupted)
    batches = [each for each in expected if each.startswith("train_epoch0_batch")]
    last = max(batches, key=lambda each: int(each.rpartition("batch")[2]))
    resumed.mkdir()
    (bundle,) = uninterrupted.glob(f"{last}.*")
    shutil.copytree(bundle, resumed / bundle.name)
    found = train(resumed)
    assert "train_epoch0" in found
    assert found == {each: expected[each] for each in found}
