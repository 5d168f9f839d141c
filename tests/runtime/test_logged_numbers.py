"""Numbers that are logged: plain ones at once, those of a device when somebody needs them."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from holdfast import Checkpointing, Run, Write  # noqa: E402
from holdfast.checkpoint import scan  # noqa: E402
from holdfast.errors import UsageError  # noqa: E402
from holdfast.runtime import _numbers  # noqa: E402
from holdfast.runtime._numbers import Numbers, OnDevice, logged  # noqa: E402
from holdfast.runtime._table import Table  # noqa: E402


class Asked(float):
    """Stands for a number of a device: counts how often it was fetched."""

    num_fetched = 0

    def detach(self) -> Asked:
        return self

    clone = detach

    def __float__(self) -> float:
        type(self).num_fetched += 1
        return float.__float__(self)


@pytest.fixture
def on_device(monkeypatch):
    Asked.num_fetched = 0
    monkeypatch.setattr(_numbers, "_number", OnDevice)


@pytest.mark.parametrize(
    "value", [2, 2.0, True, np.float32(2), np.ones(1), torch.tensor(2), torch.ones(1, 1)]
)
def test_python_s_numbers_and_arrays_of_one_element_are_numbers(value):
    assert logged({"x": value}) == {"x": float(np.asarray(value).item())}


@pytest.mark.parametrize("value", ["a", None, [1], torch.ones(2), torch.ones(1, device="meta"), 1j])
def test_what_is_no_number_is_refused_at_once(value):
    with pytest.raises(UsageError, match="numbers by name"):
        logged({"x": value})


def test_a_loss_with_a_graph_is_logged_without_a_warning_and_keeps_its_value():
    weight = torch.ones((), requires_grad=True)
    loss = weight * 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = logged({"loss": loss})
    with torch.no_grad():
        loss += 1
    assert row == {"loss": 3.0}


def test_a_number_on_a_device_keeps_its_value_and_no_graph():
    value = torch.ones((), requires_grad=True) * 3
    kept = OnDevice(value)
    with torch.no_grad():
        value += 1
    assert not kept._value.requires_grad
    assert float(kept) == 3.0


@pytest.mark.usefixtures("on_device")
def test_a_run_fetches_what_it_logs_only_when_it_is_looked_at_or_saved(tmp_path):
    policy = Checkpointing(
        save_on="batch_end", every_n=8, write=Write(durability="process", background=False)
    )
    with Run(tmp_path, {"x": np.zeros(2)}, checkpointing=policy, variables="off") as run:
        for step in run.steps(12):
            run.log(loss=Asked(step))
            assert Asked.num_fetched == (8 if step >= 8 else 0)
    assert [*run.results["loss"]] == [*range(12)]
    assert Asked.num_fetched == 12
    (saved,) = [each for each in scan(tmp_path) if each.record.moment.step == 8]
    assert saved.record.metrics == {"loss": 7.0}


def test_numbers_by_name_are_floats_when_they_are_looked_at():
    found = Numbers({"a": 1.0, "b": OnDevice(torch.tensor(2.5))})
    assert dict(found) == {"a": 1.0, "b": 2.5}
    assert len(found) == 2


def test_rows_of_a_table_may_wait_and_are_the_same():
    table, rows = Table(), [{"a": i} if i % 3 else {"a": i, "b": -i} for i in range(1000)]
    for row in rows:
        table.append(row)
        if row["a"] == 600:
            assert table.row(600) == {"a": 600.0, "b": -600.0}
    assert len(table) == 1000
    assert [*table["a"]] == [*range(1000)]
    assert all(math.isnan(each) == bool(i % 3) for i, each in enumerate(table["b"]))
    again = Table()
    again.set_state(table.get_state())
    np.testing.assert_array_equal(again["b"], table["b"])
