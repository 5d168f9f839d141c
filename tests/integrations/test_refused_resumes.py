"""What cannot be meant by `resume` is refused by every integration with the same error, before anything is made."""

from __future__ import annotations

import pytest

from holdfast import Checkpointing
from holdfast.errors import UsageError

NONSENSE = [None, 0, 1, "", b"bytes", ["a"]]
SAID = "resume must be True, False, the name or path of a checkpoint"


def policy() -> Checkpointing:
    return Checkpointing(mode="disk", save_on="batch_end")


@pytest.mark.parametrize("nonsense", NONSENSE)
@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_boosted_trees(tmp_path, library, nonsense):
    pytest.importorskip(library)
    train = __import__(f"holdfast.integrations.{library}", fromlist=["train"]).train
    with pytest.raises(UsageError, match=SAID):
        train({}, None, tmp_path / "x", checkpointing=policy(), resume=nonsense)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("nonsense", NONSENSE)
@pytest.mark.parametrize("library", ["keras", "lightning"])
def test_callbacks(tmp_path, monkeypatch, library, nonsense):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip(library)
    made = __import__(f"holdfast.integrations.{library}", fromlist=["HoldfastCallback"]).HoldfastCallback
    with pytest.raises(UsageError, match=SAID):
        made(tmp_path / "x", checkpointing=policy(), resume=nonsense)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_modularml(tmp_path, nonsense):
    pytest.importorskip("modularml")
    from holdfast.integrations import modularml

    with pytest.raises(UsageError, match=SAID):
        modularml.enable(tmp_path / "x", resume=nonsense)
