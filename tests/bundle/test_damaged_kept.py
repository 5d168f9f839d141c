"""A damaged checkpoint in the way of a save is kept under another name, whichever part of it is damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import holdfast
from tests.support.small_loop import policy


def flip(file: Path, at: int = -5) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    other = file.with_suffix(".new")  # a new file: the pack may be shared with others
    other.write_bytes(data)
    other.replace(file)


def shorten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:50])


def one(place: Path, pattern: str) -> Path:
    return next(each for each in sorted(place.glob(pattern)) if each.name != "checkpoint.json")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "bytes of a pack": lambda place: flip(one(place, "*.safetensors")),
    "the header of a pack": lambda place: flip(one(place, "*.safetensors"), 12),
    "a pack is missing": lambda place: one(place, "*.safetensors").unlink(),
    "a pack is short": lambda place: shorten(one(place, "*.safetensors")),
    "bytes of the tree": lambda place: flip(one(place, "*.json")),
    "the tree is short": lambda place: shorten(one(place, "*.json")),
    "the tree is missing": lambda place: one(place, "*.json").unlink(),
    "the record is empty": lambda place: (place / "checkpoint.json").write_bytes(b""),
}


def train(directory: Path, epochs: int, **options: object) -> holdfast.Run:
    weight = np.zeros(100)
    with holdfast.Run(directory, {"weight": weight}, checkpointing=policy(), **options) as run:  # type: ignore[arg-type]
        for _ in run.epochs(epochs):
            weight += 1
    return run


@pytest.mark.medium
@pytest.mark.parametrize("what", DAMAGES)
@pytest.mark.parametrize("resume", [True, "train_epoch1", False])
def test_it_is_renamed_and_every_byte_of_it_stays(tmp_path, what, resume):
    train(tmp_path, 3)
    place = tmp_path / "train_epoch2.ckpt.mml"
    DAMAGES[what](place)
    before = {file.name: file.read_bytes() for file in place.iterdir()}
    train(tmp_path, 3, resume=resume)
    [aside] = tmp_path.glob("train_epoch2.ckpt.mml.damaged-*")
    assert {file.name: file.read_bytes() for file in aside.iterdir()} == before
    with holdfast.open(place) as checkpoint:
        assert checkpoint.verify(deep=True) == []


@pytest.mark.parametrize("resume", ["train_epoch1", False])
def test_an_intact_one_is_replaced(tmp_path, resume):
    train(tmp_path, 3)
    train(tmp_path, 3, resume=resume)
    assert sorted(path.name for path in tmp_path.glob("train_epoch*")) == [
        f"train_epoch{epoch}.ckpt.mml" for epoch in range(3)
    ]
