"""The measuring instrument works: one tiny state goes through two contenders, and the report says what came out."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from benchmarks import states
from benchmarks.__main__ import arguments_parser, main
from benchmarks.contenders import gather
from benchmarks.goals import Goal, goals
from benchmarks.measure import Bench, Samples
from benchmarks.plot import plot
from benchmarks.report import report, verdicts
from benchmarks.scenarios import every_step, single, step
from benchmarks.scenarios import many as many_arrays


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    made = Bench(tmp_path_factory.mktemp("bench"), states.TINY, say=lambda line: None)
    savings, loadings, _ = gather(["torch_save", "holdfast"])
    single.run(made, "S1", savings, loadings)
    return made


@pytest.mark.medium
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


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    made = Bench(tmp_path_factory.mktemp("many"), states.TINY, say=lambda line: None)
    savings, loadings, _ = gather(["torch_save", "holdfast"])
    many_arrays.run(made, savings, loadings)
    every_step.run(made, savings)
    step.run(made, savings)
    return made


@pytest.mark.medium
def test_states_of_many_arrays_are_measured_saved_again_and_brought_back(many: Bench):
    assert many.notes == []
    for case in ("S6 8", "S6 16", "S6 16 tied"):
        for measure in ("blocked", "stolen", "durable", "durable, processor"):
            assert {"torch.save", "Holdfast (copy)"} <= many.samples.values[f"{case} {measure}"].keys()
        assert {"torch.load", "Holdfast (streaming)"} <= many.samples.values[f"{case} restored"].keys()


@pytest.mark.medium
def test_each_new_goal_of_many_arrays_is_about_something_measured(many: Bench):
    known = [goal for goal in goals(states.TINY) if goal.row[:2] in ("S6", "S7", "S8")]
    measured = [goal for goal in known if "DCP" not in goal.whose]
    assert len(measured) > 15
    assert [goal.row for goal in measured if goal.measured(many.samples) is None] == []


def test_a_run_that_waits_saves_each_step_and_one_that_skips_not_more(many: Bench):
    saved = many.samples.values["S7 part of the steps saved"]
    assert saved['Holdfast (Run, busy="wait")'] == {0: 1.0}
    assert 0 < saved['Holdfast (Run, busy="skip")'][0] <= 1


def test_what_a_tight_loop_loses_is_what_another_thread_does_under_the_lock():
    def work() -> None:
        ends_s = time.thread_time() + 0.2
        while time.thread_time() < ends_s:
            pass

    alone_s = many_arrays.loop_s()
    assert many_arrays.stolen_s(lambda: None, alone_s) < 0.02
    assert many_arrays.stolen_s(work, alone_s) > 0.1


def test_nothing_is_left_on_the_disk(bench: Bench, many: Bench):
    assert not any(bench.folder.iterdir())
    assert not any(many.folder.iterdir())


@pytest.mark.medium
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


@pytest.mark.medium
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


@pytest.mark.medium
def test_what_was_measured_in_another_checkout_stays_as_the_report_says_it(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = ["--scale", "tiny", "--contenders", "torch_save", "holdfast", "--report", "report.md", "--only"]
    main([*run, "S1", "scan"])
    before, picture = Path("report.md").read_text(), Path("report.svg").read_text()
    Path("runs/report.json").unlink()  # no checkout has it
    main([*run, "growth", "--add"])
    main([*run, "growth", "--add"])  # with raw values of this alone
    after = Path("report.md").read_text()
    kept = [line for line in before.splitlines() if line.startswith(("| S1", "| scan", "| torch.save"))]
    assert len(kept) > 10
    assert [line for line in kept if line not in after] == []
    assert "**growth, save**" in after
    assert "; scan " in after
    assert "S1 restore, cold" in Path("report.svg").read_text()
    assert Path("report.svg").read_text().count("<rect") == picture.count("<rect")


@pytest.mark.medium
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
