"""The measuring instrument works: one tiny state goes through two contenders, and the report says what came out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import states
from benchmarks.__main__ import arguments_parser, main
from benchmarks.contenders import gather
from benchmarks.goals import Goal, goals
from benchmarks.measure import Bench, Samples
from benchmarks.plot import plot
from benchmarks.report import report, verdicts
from benchmarks.scenarios import single


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    made = Bench(tmp_path_factory.mktemp("bench"), states.TINY, say=lambda line: None)
    savings, loadings, _ = gather(["torch_save", "holdfast"])
    single.run(made, "S1", savings, loadings)
    return made


@pytest.mark.slow
def test_each_contender_is_measured_saving_and_loading(bench: Bench):
    assert bench.notes == []
    assert {"torch.save", "Holdfast (copy)"} <= bench.samples.values["S1 durable"].keys()
    assert {"torch.load", "Holdfast (streaming)", "Holdfast (first)"} <= bench.samples.values[
        "S1 restore, cold"
    ].keys()
    assert all(
        seconds > 0
        for contenders in bench.samples.values.values()
        for rounds in contenders.values()
        for seconds in rounds.values()
    )


def test_nothing_is_left_on_the_disk(bench: Bench):
    assert not any(bench.folder.iterdir())


@pytest.mark.slow
def test_the_report_gives_a_verdict_for_each_goal(bench: Bench):
    rows = goals(states.TINY)
    text = report(bench.samples, rows, {"CPU": "any"}, bench.notes, "tiny")
    assert all(goal.row in text for goal in rows)
    assert "S1 blocked" in plot(bench.samples)


def test_a_contender_that_loses_bytes_is_out(tmp_path: Path):
    savings, loadings, _ = gather(["torch_save"])
    forgetful = loadings[0].__class__("forgetful", "torch.save", into=lambda root, name, live: None)
    bench = Bench(tmp_path, states.TINY, say=lambda line: None)
    single.run(bench, "S1", savings[:1], [forgetful])
    assert bench.out == {"forgetful"}
    assert "did not bring back what was saved" in bench.notes[0]


@pytest.mark.parametrize(("mine", "verdict"), [(1.0, "reached"), (3.0, "1.50 × too much")])
def test_a_verdict_is_about_the_median_of_each_rounds_own_ratio(mine: float, verdict: str):
    samples = Samples()
    for round, noise in enumerate((1.0, 10.0, 100.0)):  # a machine that gets slower and slower
        samples.add("what", "we", round, mine * noise)
        samples.add("what", "they", round, noise)
    assert verdict in verdicts(samples, [Goal("row", "what", "we", 2.0, "they")])[-1]


def test_the_round_that_warms_up_is_not_counted():
    samples = Samples()
    samples.add("what", "we", -1, 1.0)
    assert samples.summary("what", "we") is None


def test_a_missing_library_is_skipped_with_a_line():
    savings, _, skipped = gather(["torch_save", "not_there"])
    assert savings
    assert skipped[0].startswith("skipped: not_there")


@pytest.mark.parametrize(
    ("arguments", "scale"), [([], "full"), (["--quick"], "quick"), (["--scale", "tiny"], "tiny")]
)
def test_the_command_measures_at_full_size_unless_told_otherwise(arguments: list[str], scale: str):
    assert arguments_parser().parse_args(arguments).scale == scale


@pytest.mark.slow
def test_a_scenario_that_is_added_leaves_the_others_in_the_report(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = ["--scale", "tiny", "--contenders", "torch_save", "holdfast", "--report", "report.md", "--only"]
    main([*run, "scan"])
    main([*run, "growth", "--add"])
    text = Path("report.md").read_text()
    assert "**scan**" in text
    assert "**growth, save**" in text
    main([*run, "growth"])
    assert "**scan**" not in Path("report.md").read_text()


@pytest.mark.slow
def test_a_scenario_that_is_measured_again_is_not_mixed_with_what_it_gave_before(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = ["--scale", "tiny", "--contenders", "torch_save", "holdfast", "--report", "report.md", "--only"]
    main([*run, "growth"])
    raw = Path("runs/report.json")
    measured = json.loads(raw.read_text())
    measured["values"]["growth, save"]["of another day"] = {"0": 1.0}
    raw.write_text(json.dumps(measured))
    main([*run, "growth", "--add"])
    assert "of another day" not in Path("report.md").read_text()
