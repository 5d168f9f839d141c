"""Over several runs the newest checkpoint is listed last, however few saves its run has made."""

from __future__ import annotations

import json

import pytest

import holdfast
from holdfast.policy import MaxBytes
from holdfast.runtime import plan
from tests.support.small_loop import train


@pytest.fixture
def two_runs(tmp_path):
    """A long run of yesterday, and a short one of today."""
    train(tmp_path / "today" / "a", [1.0] * 8, max_to_keep=2)
    train(tmp_path / "today" / "b", [1.0] * 2, max_to_keep=2)
    train(tmp_path / "yesterday", [1.0], max_to_keep=2)
    (tmp_path / "yesterday").rename(tmp_path / "zero")
    return tmp_path


def test_the_run_that_saved_last_is_the_last(two_runs):
    where = [listed.path.removeprefix(f"{two_runs}/") for listed in holdfast.scan(two_runs)]
    assert where == [
        *(f"today/a/train_epoch{epoch}.ckpt.mml" for epoch in (6, 7)),
        *(f"today/b/train_epoch{epoch}.ckpt.mml" for epoch in (0, 1)),
        "zero/train_epoch0.ckpt.mml",
    ]


def test_the_command_lists_it_last_too(two_runs):
    from typer.testing import CliRunner

    from holdfast.cli import app

    lines = CliRunner().invoke(app, ["ls", str(two_runs), "--json"]).stdout.splitlines()
    assert json.loads(lines[-1])["path"].endswith("zero/train_epoch0.ckpt.mml")


def test_saves_of_one_run_stay_in_their_order_when_the_clock_is_put_back(tmp_path, monkeypatch):
    from datetime import datetime

    import holdfast.checkpoint._derived as derived

    first = train(tmp_path, [1.0, 1.0])
    assert first.epoch == 2

    class Past(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2020, 1, 1, tzinfo=tz)

    monkeypatch.setattr(derived, "datetime", Past)
    train(tmp_path, [1.0] * 4)
    records = [listed.record for listed in holdfast.scan(tmp_path)]
    assert records[-1].created.startswith("2020")
    assert [record.moment.epoch for record in records] == [0, 1, 2, 3]


def test_what_is_judged_by_default_is_the_newest_run(two_runs):
    verdicts = plan(two_runs, MaxBytes("1"))
    assert [each.why for each in verdicts if "another run" not in each.why] == ["the newest"]
    judged = [each for each in verdicts if "another run" not in each.why]
    assert judged[0].path.startswith(f"{two_runs}/zero/")


def test_a_budget_in_plain_bytes(two_runs):
    from typer.testing import CliRunner

    from holdfast.cli import app

    result = CliRunner().invoke(app, ["prune", str(two_runs / "today" / "a"), "--max-bytes", "775028"])
    assert result.exit_code == 0, result.output
    assert "2 checkpoints stay, 0 would go" in result.stdout
