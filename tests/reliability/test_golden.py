"""Checkpoints of every released format load for ever, to the bit, also without Holdfast (P11, P12)."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import holdfast
from holdfast.errors import FormatVersionError
from tests.reliability.test_hostile_bundles import everything_below
from tests.support import ROOT, make_v1
from tests.support.described import described
from tests.support.reliability.forging import RECORD, Forgery, signed

V1 = ROOT / "tests" / "golden" / "v1"
NAMES = ("plain", "generators", "dtypes", "training", "shared", "experiment")
EXPECTED = json.loads((V1 / "expected.json").read_text())


def module(path: Path) -> Any:
    """A file of Python as a module, found by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    found = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


script = module(ROOT / "docs" / "restore_without_holdfast.py")


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A copy to open, so that nothing can happen to the originals."""
    return Path(shutil.copytree(V1, tmp_path / "v1"))


def test_all_of_them_are_listed_complete_and_verified(golden):
    listed = holdfast.scan(golden)
    assert {each.record.name for each in listed} == {*NAMES[:-1], "train_epoch1"}
    for each in listed:
        with holdfast.open(each) as checkpoint:
            assert checkpoint.verify(deep=True) == []


@pytest.mark.parametrize("name", ["plain", "generators", "dtypes", "shared"])
def test_a_state_comes_back_to_the_bit(golden, name):
    before = everything_below(golden)
    with holdfast.open(golden / f"{name}.ckpt.mml") as checkpoint:
        assert through_json(described(checkpoint.load())) == EXPECTED[name]
    assert everything_below(golden) == before


def test_arrays_that_were_one_are_one(golden):
    with holdfast.open(golden / "dtypes.ckpt.mml") as checkpoint:
        one, other, copy = checkpoint["tied"]
    assert one is other
    assert one is not copy


def test_a_model_with_its_optimizer_is_restored_to_the_bit(golden):
    parts = dict(zip(("model", "optimizer", "scheduler"), make_v1.model(), strict=True))
    with holdfast.open(golden / "training.ckpt.mml") as checkpoint:
        checkpoint.restore(parts)
    assert through_json(make_v1.training_described(parts)) == EXPECTED["training"]


def test_an_experiment_resumes_from_it(golden, tmp_path):
    shutil.copytree(golden / "experiment.ckpt.mml", tmp_path / "runs" / "train" / "train_epoch1.ckpt.mml")
    run = make_v1.experiment(str(tmp_path / "runs"), seed=9)
    run.run(resume=True)
    assert run.last_resume.record.name == "train_epoch1"
    restored = holdfast.open(golden / "experiment.ckpt.mml")
    restored.restore({"model_graph": (fresh := make_v1.experiment(str(tmp_path / "other"), seed=8)).graph})
    assert through_json(make_v1.weights_described(fresh)) == EXPECTED["experiment at the checkpoint"]
    # The last epoch is trained here, by this machine's kernels: equal to the bit only where they are.
    if run.last_resume.verdict == "exact":
        assert through_json(make_v1.weights_described(run)) == EXPECTED["experiment at its end"]


@pytest.mark.parametrize("name", NAMES)
def test_the_script_without_holdfast_reads_the_same_bytes(golden, name):
    found = leaves(script.load(str(golden / f"{name}.ckpt.mml")))
    with holdfast.open(golden / f"{name}.ckpt.mml") as checkpoint:
        wanted = leaves(checkpoint.load())
    assert found.keys() >= {path for path in wanted if "generators" not in name}
    for path, data in wanted.items():
        if path in found:
            assert found[path] == data, path


def leaves(value: Any, path: str = "") -> dict[str, bytes]:
    """The bytes of every array (in C order) and long text of bytes below `value`, by where they are."""
    match value:
        case dict():
            return {
                key: data
                for name, below in value.items()
                for key, data in leaves(below, f"{path}/{name!r}").items()
            }
        case list() | tuple():
            return {
                key: data
                for at, below in enumerate(value)
                for key, data in leaves(below, f"{path}/{at}").items()
            }
        case torch.Tensor():
            return {path: value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()}
        case np.ndarray() | np.generic():
            return {path: value.tobytes()}
        case bytes():
            return {path: value}
    return {}


def test_a_newer_format_is_refused_by_name_and_left_untouched(golden):
    for path in golden.glob("*.ckpt.mml"):
        record = json.loads((path / RECORD).read_bytes())
        del record["digest"]
        newer = record | {"format": 3, "compression": {"new": True}}
        (path / RECORD).write_bytes(signed(json.dumps(newer, separators=(",", ":")).encode()))
    before = everything_below(golden)
    for name in NAMES:
        with pytest.raises(FormatVersionError, match=f"{name}.ckpt.mml has format version 3"):
            holdfast.open(golden / f"{name}.ckpt.mml")
    assert sum(isinstance(each.problem, FormatVersionError) for each in holdfast.scan(golden)) == len(NAMES)
    with pytest.raises(FormatVersionError):
        make_v1.experiment(str(golden)).run(resume="plain")
    after = everything_below(golden)
    assert {path: after.get(path) for path in before} == before


def test_a_forgery_of_one_reads_as_it_did(golden):
    """The digests that this test's helpers make are those that the library made."""
    path = golden / "plain.ckpt.mml"
    files = {file.name: file.read_bytes() for file in path.iterdir()}
    assert signed(files[RECORD][: -len(b',"digest":""}') - 64] + b"}") == files[RECORD]
    assert Forgery(files).sealed().keys() == files.keys()


def test_they_are_small():
    assert sum(path.stat().st_size for path in V1.rglob("*") if path.is_file()) < 200_000
