"""Results: tables that only grow."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import state
from holdfast.errors import UsageError
from holdfast.experiment import PhaseResult, RunResults, Table
from holdfast.runtime import SEGMENT_ROWS

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


def saved(value):
    """A state as it comes back from a checkpoint."""
    return state.rebuild(state.capture(value))


def example() -> RunResults:
    results = RunResults("run-1")
    pretrain = results.begin("pretrain", "train")
    pretrain.record(0, {"loss": 2.0}, {"seconds": 7.5})
    pretrain.record(1, {"loss": 1.0, "accuracy": 0.5}, {"seconds": 7.0})
    pretrain.finish("stopped early", "loss has not improved")
    test = results.begin("group/test", "eval")
    test.record(0, {"loss": 1.5})
    test.predictions = {"head": np.arange(6, dtype=np.float32).reshape(3, 2)}
    test.finish("complete")
    results.status = "complete"
    return results


@given(st.lists(st.dictionaries(st.sampled_from("abc"), NUMBERS), max_size=8), st.data())
def test_a_table_gives_back_what_was_appended_also_after_a_save_in_between(rows, data):
    cut = data.draw(st.integers(0, len(rows)))
    table, resumed = Table(), Table()
    for row in rows[:cut]:
        table.append(row)
    resumed.set_state(saved(table.get_state()))
    for row in rows[cut:]:
        resumed.append(row)
    assert len(resumed) == len(rows)
    for name in {name for row in rows for name in row}:
        expected = np.array([row.get(name, math.nan) for row in rows], np.float64)
        assert np.array_equal(resumed[name], expected, equal_nan=True)
        assert resumed[name].dtype == np.float64


def test_full_segments_never_change_so_that_checkpoints_share_them():
    table = Table()
    for row in range(SEGMENT_ROWS + 3):
        table.append({"loss": row})
    first = table.get_state()
    table.append({"loss": -1, "late": 5})
    second = table.get_state()
    for index, rows in enumerate((SEGMENT_ROWS, 3)):
        assert first["columns"]["loss"][index].tolist() == list(
            range(index * SEGMENT_ROWS, index * SEGMENT_ROWS + rows)
        )
    assert second["columns"]["loss"][0].tobytes() == first["columns"]["loss"][0].tobytes()
    assert [len(part) for part in second["columns"]["late"]] == [SEGMENT_ROWS, 4]
    assert table["late"][-2:].tolist() == pytest.approx([math.nan, 5], nan_ok=True)
    assert table.row(SEGMENT_ROWS - 1)["loss"] == SEGMENT_ROWS - 1
    resumed = Table()
    resumed.set_state(saved(second))
    assert np.array_equal(resumed["loss"], table["loss"])


def test_a_table_is_gone_through_row_by_row():
    table, rows = Table(), [{"loss": 2.0}, {"loss": 1.0}]
    for row in rows:
        table.append(row)
    assert [*table] == rows


def test_a_column_that_is_read_is_the_readers_own():
    table = Table()
    table.append({"loss": 1.0})
    table["loss"][0] = 9
    assert table["loss"].tolist() == [1.0]
    with pytest.raises(KeyError, match="no 'los' among the results; there are loss"):
        table["los"]
    with pytest.raises(IndexError):
        table.row(1)


def test_a_phase_tells_its_last_and_its_best_epoch():
    result = PhaseResult("group/pretrain", "train")
    assert (result.label, result.last) == ("pretrain", {})
    for epoch, loss in enumerate([math.nan, 2.0, 1.0, 1.0, math.nan]):
        result.record(epoch, {"loss": loss})
    assert result.best("loss") == {"epoch": 2, "loss": 1.0}
    assert result.best("loss", "max") == {"epoch": 1, "loss": 2.0}
    assert result.last["epoch"] == 4
    assert result["loss"][2] == 1.0


def test_a_best_epoch_that_does_not_exist_is_refused():
    result = PhaseResult("pretrain", "train")
    result.record(0, {"loss": math.nan})
    with pytest.raises(UsageError, match="'loss' has no best epoch yet"):
        result.best("loss")
    with pytest.raises(KeyError, match="accuracy"):
        result.best("accuracy")
    with pytest.raises(UsageError, match="direction="):
        result.best("loss", "down")  # type: ignore[arg-type]


def test_results_come_back_from_a_checkpoint_completely():
    results, resumed = example(), RunResults("another")
    resumed.set_state(saved(results.get_state()))
    assert (resumed.run, resumed.status, list(resumed)) == ("run-1", "complete", ["pretrain", "group/test"])
    assert resumed["pretrain"].reason == "loss has not improved"
    assert resumed["group/test"].predictions["head"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert resumed.to_pandas().equals(results.to_pandas())
    assert repr(resumed) == repr(results)


def test_a_phase_that_resumes_keeps_its_rows():
    results = RunResults("run")
    results.begin("pretrain", "train").record(0, {"loss": 2.0})
    results["pretrain"].finish("failed", "killed")
    again = results.begin("pretrain", "train")
    again.record(1, {"loss": 1.0})
    assert (again.status, again.reason) == ("running", None)
    assert again["loss"].tolist() == [2.0, 1.0]
    with pytest.raises(KeyError, match="no phase 'test' in the results; there are pretrain"):
        results["test"]


def test_two_runs_that_differ_in_time_only_have_equal_digests_without_timings():
    slow, fast = example(), example()
    slow.run = "run-2"
    slow["pretrain"].timings.append({"seconds": 99.0})
    assert state.digest(state.capture(slow.get_state(timings=False))) == state.digest(
        state.capture(fast.get_state(timings=False))
    )
    fast["pretrain"].record(2, {"loss": 0.9})
    assert state.digest(state.capture(slow.get_state(timings=False))) != state.digest(
        state.capture(fast.get_state(timings=False))
    )


def test_pandas_gets_a_row_per_epoch_of_every_phase():
    frame = example().to_pandas()
    assert list(frame.columns) == ["phase", "epoch", "loss", "accuracy", "seconds"]
    assert frame["phase"].tolist() == ["pretrain", "pretrain", "group/test"]
    assert frame["epoch"].tolist() == [0, 1, 0]
    assert frame["loss"].tolist() == [2.0, 1.0, 1.5]
    assert list(RunResults("empty").to_pandas().columns) == ["phase", "epoch"]
    assert len(PhaseResult("new", "train").to_pandas()) == 0


def test_without_pandas_the_message_says_what_to_install():
    program = (
        "import sys; sys.modules['pandas'] = None\n"
        "from holdfast.experiment import RunResults\n"
        "try: RunResults('r').to_pandas()\n"
        "except ImportError as err: assert 'holdfast[pandas]' in str(err)\n"
        "else: raise SystemExit('no error')"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
