"""Whatever trains: killed at any instant, it goes on in a new process and ends, bit for bit, as an uninterrupted one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import holdfast
from holdfast import Every, KeepBest, KeepEvery, KeepLast, MaxBytes, Overhead, Seconds, Write
from tests.support.integrations.acceptance import CASES, Outcome, Runs, missing
from tests.support.integrations.options import REFUSABLE, REFUSED, allowed
from tests.support.newborn import Kill

NUM_KILLS = 10
KEPT = 2
QUICK = {"lightgbm", "sklearn", "torch", "xgboost"}
"""What is imported and trained in a second or two: the others are not for every `make test`."""
BEST = {"keep": KeepLast(1) | KeepBest(2, "loss")}


@dataclass(frozen=True)
class Case:
    """A framework's runs, and what one uninterrupted ended with and left behind."""

    name: str
    runs: Runs
    uninterrupted: Outcome
    kept: set[str]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            case,
            marks=[
                pytest.mark.xdist_group(f"acceptance of {case}"),
                *[pytest.mark.slow] * (case not in QUICK),
            ],
        )
        for case in CASES
    ],
)
def case(request, tmp_path_factory) -> Iterator[Case]:
    if (lacking := missing(request.param)) is not None:
        pytest.skip(f"{lacking} is not installed")
    directory = tmp_path_factory.mktemp(request.param)
    with Runs(request.param) as runs:
        uninterrupted = runs.run(directory, max_to_keep=KEPT)
        assert (uninterrupted.was_killed, uninterrupted.resumed_from) == (False, None)
        yield Case(request.param, runs, uninterrupted, names(directory))


def names(directory: Path) -> set[str]:
    return {listed.record.name for listed in holdfast.scan(directory) if listed.record}


def kill_at_random(case: Case, dice: random.Random) -> Kill:
    """An instant of the training, its first batch and its last included."""
    return Kill(after_beats=dice.randint(1, case.uninterrupted.beats), after_s=dice.uniform(0.0, 0.01))


def kill_in(case: Case, part: float) -> Kill:
    return Kill(after_beats=round(part * case.uninterrupted.beats), after_s=0.0)


@pytest.mark.medium
def test_a_run_that_is_killed_twice_resumes_in_new_processes_and_keeps_what_it_would_have_kept(
    case, tmp_path
):
    assert case.runs.run(tmp_path, kill_in(case, 0.35), max_to_keep=KEPT).was_killed
    before = [listed.record.name for listed in holdfast.scan(tmp_path) if listed.record]
    assert case.runs.run(tmp_path, kill_in(case, 0.5), max_to_keep=KEPT).was_killed
    outcome = case.runs.run(tmp_path, max_to_keep=KEPT, compile_anew=True)
    assert outcome.resumed_from is not None
    assert outcome.resumed_from not in before, "the second process has saved something of its own"
    assert outcome.beats < case.uninterrupted.beats
    assert (outcome.verdict, outcome.digest) == ("exact", case.uninterrupted.digest)
    origins = {before[-1], outcome.resumed_from}
    assert names(tmp_path) - origins == case.kept - origins


@pytest.mark.slow
def test_a_run_killed_at_ten_random_instants_ends_each_time_as_an_uninterrupted_one(case, tmp_path):
    dice = random.Random(6)
    resumed = 0
    for number in range(NUM_KILLS):
        directory = tmp_path / str(number)
        killed = case.runs.run(directory, kill_at_random(case, dice))
        outcome = case.runs.run(directory)
        assert outcome.digest == case.uninterrupted.digest, f"kill {number}, after {killed.beats} batches"
        assert outcome.verdict in ("exact", None)
        resumed += killed.was_killed and outcome.resumed_from is not None
    assert resumed >= NUM_KILLS // 2


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_is_passed_over_and_the_one_before_is_used(case, tmp_path):
    assert case.runs.run(tmp_path, kill_in(case, 0.8)).was_killed
    before, newest = holdfast.scan(tmp_path)[-2:]
    assert before.record
    assert newest.record
    with open(f"{newest.path}/{newest.record.packs[-1].name}", "r+b") as pack:
        pack.seek(-newest.record.packs[-1].size // 2, 2)
        byte = pack.read(1)
        pack.seek(-1, 1)
        pack.write(bytes([byte[0] ^ 1]))
    outcome = case.runs.run(tmp_path)
    assert newest.path in outcome.skipped[0]
    assert (outcome.resumed_from, outcome.digest) == (before.record.name, case.uninterrupted.digest)


@pytest.mark.slow
def test_the_best_are_known_after_a_restart_too(case, tmp_path):
    assert case.runs.run(tmp_path / "uninterrupted", **BEST).digest == case.uninterrupted.digest
    assert case.runs.run(tmp_path / "killed", kill_in(case, 0.6), **BEST).was_killed
    outcome = case.runs.run(tmp_path / "killed", **BEST)
    assert outcome.digest == case.uninterrupted.digest
    kept = names(tmp_path / "killed")
    assert kept - {outcome.resumed_from} == names(tmp_path / "uninterrupted") - {outcome.resumed_from}


def reasons(directory: Path) -> list[str]:
    return [listed.record.reason for listed in holdfast.scan(directory) if listed.record]


@pytest.mark.slow
def test_what_else_a_policy_says_is_done_in_every_framework(case, tmp_path):
    """One training in four processes; what each asks for is seen in what it leaves, and the last ends as an uninterrupted one."""
    (tmp_path / "save-now").touch()
    crashed = case.runs.ends(
        tmp_path, {4: "request", 9: "crash"}, save_on="phase_end", every_n=1, save_on_exception=True
    )
    assert crashed.ended_by == "Crash: a cable was pulled"
    by_file, asked, rescued = reasons(tmp_path)
    assert by_file == "requested by the file save-now"
    assert asked == "requested by request()"
    assert rescued.startswith("before ")
    assert len(crashed.told) == 3

    skipped = (
        8 if case.name.startswith("keras") else 0
    )  # Keras is led through what was trained on, beats and all
    told_to_leave = case.runs.ends(
        tmp_path,
        {4 + skipped: "SIGTERM"},
        when=Every("phase_end") | Seconds(1e-9),
        write=Write(background=False),
        save_on_preemption=True,
        keep=KeepLast(1) | KeepBest(1, "loss"),
    )
    assert told_to_leave.beats == 4 + skipped
    assert told_to_leave.ended_by.startswith("Preempted")
    assert told_to_leave.exit_code == 75
    assert reasons(tmp_path)[-1] == "told to leave (SIGTERM)"
    assert len(told_to_leave.told) >= 4
    assert (
        len(names(tmp_path)) <= 3 + 3
    )  # the best, the newest, where it went on from; and those of other policies

    skipped = min(skipped, 2)
    interrupted = case.runs.ends(tmp_path, {3 + skipped: "SIGINT"}, save_on_exception="between")
    assert interrupted.beats == 3 + skipped
    assert interrupted.ended_by.partition(":")[0] in ("KeyboardInterrupt", "SystemExit")
    assert reasons(tmp_path)[-1] == "Ctrl+C"

    ended = case.runs.ends(
        tmp_path,
        {},
        when=Every("batch_end") & Overhead(0.9) | Overhead(0.9),
        keep=KeepEvery("2 steps") & MaxBytes("1 GB"),
        write=Write(busy="skip", durability="process", errors="warn"),
        **{"on_divergence": "stop"} | allowed(case.name),
    )
    assert ended.ended_by is None
    assert (ended.verdict, ended.digest) == ("exact", case.uninterrupted.digest)
    assert ended.told


@pytest.mark.slow
def test_what_does_not_work_somewhere_is_refused_before_training(case, tmp_path):
    for option in REFUSED[case.name]:
        refused = case.runs.ends(tmp_path, {}, **REFUSABLE[option])
        assert refused.beats == 0, option
        assert refused.ended_by.startswith("UsageError: "), refused.ended_by
        assert not names(tmp_path)
