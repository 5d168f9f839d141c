"""The last complete step is saved before any exception, whatever its message holds."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import holdfast
from holdfast import Checkpointing, Run


def fail(directory: Path, name: str) -> None:
    weight = np.zeros(2)
    policy = Checkpointing(save_on="phase_end", save_on_exception=True)
    with Run(directory, {"weight": weight}, checkpointing=policy) as run:
        for step in run.steps(9):
            weight += 1
            if step == 5:
                raise ValueError(f"cannot read {name}")


@pytest.mark.parametrize(
    "name", [b"cafe.png", b"caf\xe9.png", b"\xff" * 300, b"\x00", "\N{SNOWMAN}".encode()]
)
def test_the_message_may_name_a_file_that_is_not_utf8(name, tmp_path):
    with pytest.raises(ValueError, match="cannot read"):
        fail(tmp_path, os.fsdecode(name))
    (saved,) = holdfast.scan(tmp_path)
    assert saved.record.moment.step == 5
    assert saved.record.reason.startswith("before ValueError: cannot read")


class Mute(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


def test_an_exception_whose_message_cannot_be_read_loses_nothing(tmp_path):
    def train() -> None:
        policy = Checkpointing(save_on="phase_end", save_on_exception=True)
        with Run(tmp_path, {"weight": np.zeros(2)}, checkpointing=policy) as run:
            for step in run.steps(9):
                if step == 5:
                    raise Mute

    with pytest.raises(Mute):
        train()
    (saved,) = holdfast.scan(tmp_path)
    assert (saved.record.moment.step, saved.record.reason) == (5, "before Mute: its message cannot be read")


def test_any_text_in_a_record_is_stored(tmp_path):
    """The name of a metric, here; what is no Unicode is written as it is shown."""
    weight = np.zeros(2)
    with Run(tmp_path, {"weight": weight}, checkpointing=Checkpointing(save_on="batch_end")) as run:
        for _ in run.steps(2):
            run.log({os.fsdecode(b"loss of caf\xe9"): 1.5})
    assert [each.record.metrics for each in holdfast.scan(tmp_path)][-1] == {r"loss of caf\udce9": 1.5}
