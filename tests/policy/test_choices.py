"""The pure half: which of some records stay, and why, in words."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import UsageError
from holdfast.policy import (
    Checkpointing,
    KeepBest,
    KeepEvery,
    KeepLast,
    MaxBytes,
    Saved,
    attach_to_experiment,
    attach_to_training,
    budget_of,
    in_turn,
    is_nonfinite,
    judge,
    to_thin,
)
from holdfast.records import CheckpointRecord, FileEntry, Moment


def record(seq: int, *, loss: float | None = None, non_finite: int = 0, elapsed_s: float | None = None, **at):
    details: dict = {"health": {"sick": non_finite, "leaves": {}}} if non_finite else {}
    if elapsed_s is not None:
        details["elapsed_s"] = elapsed_s
    return CheckpointRecord(
        id=f"{seq:032x}",
        name=f"train_epoch{seq}",
        kind="train",
        moment=Moment(**{"run": "a" * 32, "hook": "epoch_end", "phase": "train", "epoch": seq, **at}),
        seq=seq,
        created=f"2026-01-01T{seq % 24:02}:00:00.000000+00:00",
        tree=FileEntry("", 0, ""),
        packs=(),
        metrics={} if loss is None else {"val_loss": loss},
        details=details,
    )


def within(keep, max_bytes):
    """As far as the budget allows, if there is one."""
    if max_bytes is None:
        return keep
    return MaxBytes(max_bytes) if keep is None else keep & MaxBytes(max_bytes)


def kept(keep, records, max_bytes=None) -> list[int]:
    saved = [Saved(each.name, each, files={each.id: 10}) for each in records]
    return [verdict.record.seq for verdict in judge(saved, within(keep, max_bytes)) if verdict.stays]


LOSSES = st.none() | st.floats() | st.sampled_from([0.0, 1.0, 2.0])
RECORDS = st.lists(st.tuples(LOSSES, st.integers(0, 1), st.booleans()), min_size=1, max_size=12).map(
    lambda facts: [
        (record(seq, loss=loss, non_finite=non_finite, step=seq * 3, elapsed_s=seq * 700.0), pinned)
        for seq, (loss, non_finite, pinned) in enumerate(facts)
    ]
)
SINGLE = (
    st.integers(1, 4).map(KeepLast)
    | st.builds(KeepBest, st.integers(1, 3), st.just("val_loss"), st.sampled_from(["min", "max"]))
    | st.sampled_from(["3 epochs", "5 steps", "1h", "20 min"]).map(KeepEvery)
)
KEEPS = st.none() | SINGLE | st.builds(lambda a, b: a | b, SINGLE, SINGLE)
BUDGETS = st.none() | st.integers(1, 100)


def saved_of(records) -> list[Saved]:
    return [
        Saved(each.name, each, "it is pinned" if pinned else None, {each.id: 10, each.seq // 3: 7})
        for each, pinned in records
    ]


@given(RECORDS, KEEPS, BUDGETS)
def test_the_newest_the_newest_finite_and_what_is_protected_always_stay(records, keep, max_bytes):
    stays = {
        verdict.record.seq for verdict in judge(saved_of(records), within(keep, max_bytes)) if verdict.stays
    }
    assert records[-1][0].seq in stays
    assert {each.seq for each, pinned in records if pinned} <= stays
    finite = [each.seq for each, _ in records if not is_nonfinite(each)]
    assert set(finite[-1:]) <= stays


@given(RECORDS, KEEPS, BUDGETS)
def test_every_verdict_says_why_and_the_order_in_which_facts_come_decides_nothing(records, keep, max_bytes):
    saved = saved_of(records)
    verdicts = judge(saved, within(keep, max_bytes))
    assert verdicts == judge(saved[::-1], within(keep, max_bytes))
    assert all(verdict.why for verdict in verdicts)
    assert [verdict.record.seq for verdict in verdicts] == [each.seq for each, _ in records]


@given(RECORDS, KEEPS, BUDGETS)
def test_what_was_judged_once_is_not_judged_otherwise_without_a_newer_one(records, keep, max_bytes):
    """So a run that is killed between a commit and its deletions decides the same once more."""
    saved = saved_of(records)
    stays = [
        each
        for each, verdict in zip(saved, judge(saved, within(keep, max_bytes)), strict=True)
        if verdict.stays
    ]
    assert all(verdict.stays for verdict in judge(stays, within(keep, max_bytes)))


@given(RECORDS, KEEPS, BUDGETS, st.data())
def test_a_run_that_was_killed_anywhere_decides_as_one_that_was_not(records, keep, max_bytes, data):
    saved = saved_of(records)
    kills = data.draw(st.sets(st.integers(0, len(saved) - 1)))

    def left(killed) -> list[str]:
        there: list[Saved] = []
        for index, each in enumerate(saved):
            there.append(each)
            going = [verdict.path for verdict in in_turn(judge(there, within(keep, max_bytes)))]
            if index in killed:  # after some of its removals; the next process judges what it finds
                done = going[: data.draw(st.integers(0, len(going)))]
                found = [one for one in there if one.path not in done]
                going = [*done, *(verdict.path for verdict in in_turn(judge(found, within(keep, max_bytes))))]
            there = [one for one in there if one.path not in going]
        return [one.path for one in there]

    assert left(kills) == left(set())


@given(RECORDS, st.integers(1, 3), st.sampled_from(["min", "max"]))
def test_nothing_that_is_not_a_number_and_nothing_non_finite_is_ever_best(records, k, direction):
    chosen = KeepBest(k, "val_loss", direction).choose([each for each, _ in records])
    for each, _ in records:
        if each.id in chosen:
            assert math.isfinite(each.metrics["val_loss"])
            assert not is_nonfinite(each)


@given(RECORDS, KEEPS, st.integers(1, 100))
def test_what_stays_fits_the_budget_unless_all_of_it_has_to_stay(records, keep, max_bytes):
    saved = saved_of(records)
    stays = [
        s for s, verdict in zip(saved, judge(saved, within(keep, max_bytes)), strict=True) if verdict.stays
    ]
    files = {file: size for each in stays for file, size in each.files.items()}
    finite = [each.record.seq for each in saved if not is_nonfinite(each.record)]
    must = {saved[-1].record.seq, *finite[-1:], *(s.record.seq for s in saved if s.protected)}
    assert sum(files.values()) <= max_bytes or {each.record.seq for each in stays} == must


def test_the_last_the_best_and_one_every_so_often_join():
    records = [record(seq, loss=loss) for seq, loss in enumerate([5, 1, 4, 2, 3, 6, 7])]
    assert kept(KeepLast(2), records) == [5, 6]
    assert kept(KeepBest(2, "val_loss"), records) == [1, 3, 6]
    assert kept(KeepBest(1, "val_loss", "max"), records) == [6]
    assert kept(KeepLast(2) | KeepBest(1, "val_loss") | KeepEvery("3 epochs"), records) == [1, 2, 5, 6]


def test_of_equally_good_ones_the_older_stays():
    assert kept(KeepBest(1, "val_loss"), [record(seq, loss=1.0) for seq in range(4)]) == [0, 3]


def test_without_the_metric_only_the_newest_stays():
    assert kept(KeepBest(2, "val_loss"), [record(seq) for seq in range(4)]) == [3]


def test_a_non_finite_checkpoint_displaces_neither_the_best_nor_the_last_finite_one():
    records = [
        record(0, loss=2.0),
        record(1, loss=3.0),
        *(record(seq, loss=1.0, non_finite=2) for seq in (2, 3, 4)),
    ]
    assert kept(KeepLast(2), records) == [1, 3, 4]
    assert kept(KeepBest(1, "val_loss"), records) == [0, 1, 4]
    assert kept(None, records, max_bytes=1) == [1, 4]


@pytest.mark.parametrize(
    ("interval", "expected"),
    [("2 epochs", [1, 3, 5]), ("4 steps", [2, 4, 5]), ("1h", [4, 5]), ("30 min", [2, 4, 5])],
)
def test_the_first_after_every_interval_of_training_stays(interval, expected):
    records = [record(seq, step=seq * 2, elapsed_s=seq * 900.0) for seq in range(6)]
    assert kept(KeepEvery(interval), records) == expected


def test_without_a_measured_time_durations_are_slices_of_the_clock():
    assert kept(KeepEvery("6h"), [record(seq) for seq in range(14)]) == [0, 6, 12, 13]


def test_a_file_that_two_checkpoints_share_counts_once():
    saved = [Saved(f"{seq}", record(seq), files={"shared": 100, seq: 1}) for seq in range(5)]
    assert all(verdict.stays for verdict in judge(saved, MaxBytes(105)))
    assert [v.record.seq for v in judge(saved, MaxBytes(103)) if v.stays] == [2, 3, 4]


def test_over_the_budget_the_best_go_last():
    records = [record(seq, loss=loss) for seq, loss in enumerate([1, 5, 4, 3])]
    assert kept(KeepLast(9) | KeepBest(1, "val_loss"), records, max_bytes=20) == [0, 3]


def test_only_what_is_older_than_the_newest_few_is_thinned_and_nothing_that_a_run_may_need():
    saved = [
        Saved(f"{seq}", record(seq, non_finite=seq > 2), "pinned" if seq == 1 else None) for seq in range(6)
    ]
    assert [each.record.seq for each in to_thin(saved, 1)] == [0, 3, 4]
    assert [each.record.seq for each in to_thin(saved, 3)] == [0]
    assert to_thin(saved, 9) == ()


@pytest.mark.parametrize(
    "make",
    [
        lambda: KeepLast(0),
        lambda: KeepBest(0, "val_loss"),
        lambda: KeepBest(1, ""),
        lambda: KeepBest(1, "val_loss", "up"),  # type: ignore[arg-type]
        lambda: KeepEvery(5),  # type: ignore[arg-type]
        lambda: KeepEvery("0 steps"),
        lambda: KeepEvery("1.5 epochs"),
        lambda: KeepEvery("6 parsecs"),
        lambda: MaxBytes(0),
        lambda: MaxBytes("many"),
        lambda: MaxBytes(True),
        lambda: KeepLast(2) & MaxBytes(9) & MaxBytes(8),
        lambda: Checkpointing(keep=[]),  # type: ignore[arg-type]
    ],
)
def test_what_has_no_meaning_is_refused_when_it_is_made(make):
    with pytest.raises(UsageError):
        make()


def test_a_budget_of_one_part_is_refused_because_it_looks_like_one_of_all():
    with pytest.raises(UsageError, match="with parentheses"):
        KeepLast(3) | KeepBest(2, "val_loss") & MaxBytes("20 GB")
    assert repr((KeepLast(3) | KeepLast(4)) & MaxBytes(9)).count("MaxBytes") == 1


def test_epochs_are_refused_for_an_experiment_whose_hooks_have_none():
    for keep in (KeepLast(1) | KeepEvery("2 epochs"), KeepEvery("2 epochs") & MaxBytes("1 GB")):
        policy = Checkpointing(save_on="phase_end", keep=keep)
        with pytest.raises(UsageError, match="no epoch"):
            attach_to_experiment(policy)
        attach_to_training(policy)


@pytest.mark.parametrize(
    ("text", "number"),
    [("20 GB", 20 * 10**9), ("512MiB", 512 << 20), ("1.5 kb", 1500), ("7 B", 7), (12, 12)],
)
def test_a_budget_is_a_number_or_what_people_write(text, number):
    assert budget_of(MaxBytes(text)) == budget_of(KeepLast(1) & MaxBytes(text)) == number
