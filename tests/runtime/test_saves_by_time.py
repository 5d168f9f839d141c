"""Saves that the time asks for, or somebody by hand: at the next complete step, whatever `save_on` names."""

from __future__ import annotations

import itertools
import signal
import threading
import time

import numpy as np
import pytest

import holdfast
from holdfast import (
    Checkpointing,
    Every,
    MeanTimeBetweenFailures,
    Metric,
    Overhead,
    Run,
    Seconds,
    Write,
    errors,
)
from holdfast.policy import When, attach_to_training, training_name
from holdfast.records import Moment
from holdfast.runtime._costs import Pace
from tests.support.small_runs import BATCHES, At, bundles, experiment, on_disk, rows, train

ALWAYS = 1e-9  # seconds, which have passed at every hook


def records(directory) -> list:
    return [listed.record for listed in holdfast.scan(directory) if listed.record]


def test_every_seconds_saves_at_every_end_of_a_batch_or_epoch_if_so_much_time_has_passed(tmp_path):
    timed = on_disk(
        write=Write(durability="process", background=False), when=Every("phase_end") | Seconds(ALWAYS)
    )
    experiment(tmp_path, train(n_epochs=1, checkpointing=timed)).run()
    assert [record.moment.hook for record in records(tmp_path)] == [
        *(["batch_end"] * BATCHES),
        "epoch_end",
        "phase_end",
    ]
    assert timed.saved_keys == [0, *(f"epoch0_batch{n}" for n in range(BATCHES)), "phase_end"]
    assert "s since the last save (every 1e-09 s: Seconds(1e-09))" in records(tmp_path)[2].reason


def test_a_run_resumes_exactly_from_a_save_that_came_by_time(tmp_path):
    def timed():
        return on_disk(
            write=Write(durability="process", background=False), when=Every("phase_end") | Seconds(ALWAYS)
        )

    wanted = experiment(tmp_path / "uninterrupted", train(callbacks=[At("batch_end", 9, 9, do=print)]))
    wanted.run()
    stop = At("batch_end", 1, 2, do=RuntimeError("stop"))
    with pytest.raises(RuntimeError, match="stop"):
        experiment(tmp_path, train(checkpointing=timed(), callbacks=[stop])).run()
    again = experiment(tmp_path, train(checkpointing=timed(), callbacks=[At("batch_end", 9, 9, do=print)]))
    again.run(resume=True)
    assert again.last_resume is not None
    assert again.last_resume.record.moment.batch == 1
    assert again.state_digest() == wanted.state_digest()


def test_two_saves_by_time_are_never_closer_than_the_interval_across_a_restart_too(tmp_path):
    def walk(stop: int) -> None:
        policy = Checkpointing(
            mode="disk", write=Write(durability="process"), when=Every("phase_end") | Seconds(0.02)
        )
        with Run(tmp_path, {"place": np.zeros(1)}, checkpointing=policy) as run:
            for step in run.steps(40):
                time.sleep(0.005)
                if step == stop:
                    raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        walk(25)
    walk(-1)
    times = [record.details["elapsed_s"] for record in records(tmp_path) if record.moment.hook == "batch_end"]
    assert len(times) >= 4
    assert all(after - before >= 0.02 for before, after in itertools.pairwise(times))


def test_max_overhead_holds_back_the_hooks_that_come_again_and_no_others(tmp_path):
    policy = on_disk(
        write=Write(durability="process", background=False),
        when=Every("epoch_end") & Overhead(1e-7) | Every("phase_end") & Overhead(1e-7) | Overhead(1e-7),
    )
    made = experiment(tmp_path, train(checkpointing=policy))
    made.run()
    saved = records(tmp_path)
    assert [record.moment.hook for record in saved] == ["batch_end", "phase_end"]
    assert "the first save shows what one costs" in saved[0].reason
    assert "% of the time at most" in saved[0].details["cadence"]
    assert made.accounting.saves == 2


def test_the_interval_of_young_and_daly_is_told_in_the_record(tmp_path):
    policy = on_disk(
        write=Write(durability="process", background=False),
        when=Every("phase_end") | MeanTimeBetweenFailures(86400),
    )
    experiment(tmp_path, train(checkpointing=policy)).run()
    saved = records(tmp_path)
    assert saved[0].moment.hook == "batch_end"
    assert "(Young and Daly)" in saved[-1].details["cadence"]


def test_a_policy_in_memory_saves_by_time_too():
    policy = Checkpointing(when=Every("phase_end") | Seconds(ALWAYS))
    experiment(None, train(n_epochs=1, checkpointing=policy)).run()
    assert policy.saved_keys == [0, *(f"epoch0_batch{n}" for n in range(BATCHES)), "phase_end"]


def test_a_policy_of_the_experiment_saves_by_time_in_the_middle_of_a_phase(tmp_path):
    complete = on_disk(
        write=Write(durability="process", background=False), when=Every("phase_end") | Seconds(ALWAYS)
    )
    experiment(tmp_path, train(n_epochs=1), checkpointing=complete).run()
    assert bundles(tmp_path) == [
        "train",
        "train_epoch0",
        *(f"train_epoch0_batch{n}" for n in range(BATCHES)),
    ]


@pytest.mark.parametrize(
    ("template", "hook", "name"),
    [
        (None, "batch_end", "fit_epoch3_batch17"),
        (None, "epoch_end", "fit_epoch3"),
        ("{phase}-{epoch:04d}", "batch_end", "fit-0003_batch17"),
        ("b{batch}", "batch_end", "b17_epoch3"),
        ("{phase}.{epoch}.{batch}", "batch_end", "fit.3.17"),
        ("latest", "batch_end", "latest"),
    ],
)
def test_a_save_at_a_hook_that_the_policy_does_not_name_has_a_name_of_its_own(template, hook, name):
    policy = attach_to_training(Checkpointing(mode="disk", save_on="phase_end", name_template=template))
    moment = Moment(run="a" * 32, hook=hook, phase="fit", epoch=3, batch=17 if hook == "batch_end" else None)
    assert training_name(policy, moment, "fit") == name


# --- by hand ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [False, True])
def test_a_request_is_answered_at_the_end_of_the_batch_once(memory, tmp_path):
    policy = Checkpointing(save_on="phase_end") if memory else on_disk("phase_end")
    ask = At("batch_start", 1, 3, do=lambda context: [policy.request(), policy.request()])
    experiment(tmp_path, train(checkpointing=policy, callbacks=[ask])).run()
    assert policy.saved_keys == ["epoch1_batch3", "phase_end"]
    if not memory:
        assert records(tmp_path)[0].reason == "requested by request()"


def test_a_request_is_no_affair_of_a_copy():
    policy = Checkpointing(save_on="phase_end")
    first, second = train("a", checkpointing=policy), train("b", checkpointing=policy)
    first.checkpointing.request()
    assert not second.checkpointing.take_request()
    assert first.checkpointing.take_request()
    assert not first.checkpointing.take_request()


@pytest.mark.medium
@pytest.mark.parametrize("place", [".", "train"])
def test_touching_save_now_saves_once_and_the_file_is_gone(place, tmp_path):
    def touch(context) -> None:
        (tmp_path / place / "save-now").touch()
        time.sleep(1.01)  # it is looked for once a second

    policy = on_disk("phase_end")
    made = experiment(tmp_path, train(checkpointing=policy, callbacks=[At("batch_start", 1, 3, do=touch)]))
    made.run()
    assert policy.saved_keys == ["epoch1_batch3", "phase_end"]
    assert records(tmp_path)[0].reason == "requested by the file save-now"
    assert not (tmp_path / place / "save-now").exists()


def test_a_loop_of_ones_own_is_asked_in_the_same_ways(tmp_path):
    policy = Checkpointing(mode="disk", save_on="phase_end", write=Write(busy="skip"))
    (tmp_path / "save-now").touch()
    with Run(tmp_path, {"place": np.zeros(1)}, checkpointing=policy) as run:
        for step in run.steps(6):
            if step == 4:
                policy.request()
    assert [(record.moment.batch, record.reason) for record in records(tmp_path)] == [
        (0, "requested by the file save-now"),
        (4, "requested by request()"),
        (None, "phase_end"),
    ]


# --- after a failure ----------------------------------------------------------------------------------


def test_what_fails_between_steps_is_saved_as_it_was_before(tmp_path):
    """Reading the data fails: nothing of the run has changed but, perhaps, random states."""

    class Rows(list):
        fails = True

        def __iter__(self):
            for n in range(6):
                if n == 3 and self.fails:
                    np.random.random()  # which must not change what comes next
                    raise OSError("the data are gone")
                yield n

    def walk(directory, *, fails: bool) -> float:
        np.random.seed(0)
        place, rows = np.zeros(1), Rows(range(6))
        rows.fails = fails
        policy = Checkpointing(mode="disk", save_on="phase_end", save_on_exception="between")
        with Run(directory, {"place": place}, checkpointing=policy, allow_reread=True) as run:
            for _ in run.epochs(2):
                for batch in run.batches(rows):
                    place += batch * np.random.random()
        return float(place[0])

    wanted = walk(tmp_path / "uninterrupted", fails=False)
    with pytest.raises(OSError, match="the data are gone"):
        walk(tmp_path / "failed", fails=True)
    assert bundles(tmp_path / "failed") == ["train_epoch0_batch3_start"]
    assert records(tmp_path / "failed")[0].reason == "before OSError: the data are gone"
    assert walk(tmp_path / "failed", fails=False) == wanted


def test_a_validation_that_fails_loses_no_step_of_an_experiment(tmp_path):
    def plan(directory, *, fails: bool):
        is_validating = []  # from the last batch of the second epoch on

        def measured(target, output) -> float:
            if fails and is_validating:
                raise RuntimeError("no measure")
            return float(target.mean())

        phase = train(
            validation=rows(1),
            metrics=[Metric("odd", measured, output="head", target="digit")],
            checkpointing=on_disk("phase_end", save_on_exception="between"),
            callbacks=[At("batch_end", 1, BATCHES - 1, do=is_validating.append)],
        )
        return experiment(directory, phase)

    wanted = plan(tmp_path / "uninterrupted", fails=False)
    wanted.run()
    with pytest.raises(RuntimeError, match="no measure"):
        plan(tmp_path / "failed", fails=True).run()
    assert bundles(tmp_path / "failed/train") == ["train_epoch1_batch4"]
    again = plan(tmp_path / "failed", fails=False)
    again.run(resume=True)
    assert again.state_digest() == wanted.state_digest()


def test_a_step_that_fails_in_its_middle_is_never_called_complete(tmp_path, caplog):
    policy = on_disk("epoch_end", save_on_exception="between")
    halves = At("batch_start", 1, 2, do=RuntimeError("half"))
    with pytest.raises(RuntimeError, match="half"):
        experiment(tmp_path, train(checkpointing=policy, callbacks=[halves])).run()
    assert bundles(tmp_path / "train") == ["train_epoch0"]
    assert "2 steps" in caplog.text
    assert "are lost" in caplog.text


@pytest.mark.parametrize(("wanted_saves", "half"), [("between", []), (True, ["train_epoch1_batch1"])])
def test_ctrl_c_waits_for_the_end_of_the_step_and_the_second_does_not(wanted_saves, half, tmp_path):
    def policy():
        return on_disk("phase_end", save_on_exception=wanted_saves)

    wanted = experiment(tmp_path / "uninterrupted", train(callbacks=[At("batch_end", 9, 9, do=print)]))
    wanted.run()
    once = At("batch_start", 1, 2, do=lambda context: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        experiment(tmp_path / "once", train(checkpointing=policy(), callbacks=[once])).run()
    assert bundles(tmp_path / "once/train") == ["train_epoch1_batch2"]
    again = experiment(
        tmp_path / "once", train(checkpointing=policy(), callbacks=[At("batch_end", 9, 9, do=print)])
    )
    again.run(resume=True)
    assert again.state_digest() == wanted.state_digest()

    twice = At("batch_start", 1, 2, do=lambda context: [signal.raise_signal(signal.SIGINT) for _ in "12"])
    with pytest.raises(KeyboardInterrupt):
        experiment(tmp_path / "twice", train(checkpointing=policy(), callbacks=[twice])).run()
    assert bundles(tmp_path / "twice/train") == half
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_policy_in_memory_cannot_save_what_an_exception_ends():
    with pytest.raises(errors.UsageError, match="save_on_exception needs mode='disk'"):
        Checkpointing(mode="memory", save_on_exception=True)


@pytest.mark.parametrize("complete", [False, True])
def test_nothing_that_was_complete_is_lost_wherever_a_run_fails(complete, tmp_path):
    def plan(directory, *, fails: bool):
        def half(context) -> None:
            if fails:  # after half of the weights have been written
                context.graph["body"].model[0].weight.data.fill_(9.0)
                raise RuntimeError("half")

        policy = on_disk("phase_end", save_on_exception=True)
        options = {"checkpointing": policy}
        phase = train(callbacks=[At("batch_start", 1, 2, do=half)], **({} if complete else options))
        return experiment(directory, phase, **(options if complete else {}))

    wanted = plan(tmp_path / "uninterrupted", fails=False)
    wanted.run()
    with pytest.raises(RuntimeError, match="half"):
        plan(tmp_path / "failed", fails=True).run()
    [saved] = records(tmp_path / "failed")
    assert (saved.name, saved.reason) == ("train_epoch1_batch1", "before RuntimeError: half")
    again = plan(tmp_path / "failed", fails=False)
    again.run(resume=True)
    assert again.state_digest() == wanted.state_digest()


def test_the_body_of_ones_own_loop_may_fail_anywhere(tmp_path):
    def walk(directory, stop: int) -> float:
        policy = Checkpointing(mode="disk", save_on="phase_end", save_on_exception=True)
        with Run(directory, {"place": np.zeros(1)}, checkpointing=policy) as run:
            for step in run.steps(9):
                run["place"][:] *= 0.5
                if step == stop:
                    raise RuntimeError("stop")
                run["place"][:] += step
            return float(run["place"][0])

    wanted = walk(tmp_path / "uninterrupted", -1)
    with pytest.raises(RuntimeError, match="stop"):
        walk(tmp_path / "failed", 5)
    assert bundles(tmp_path / "failed") == ["train_epoch0_batch4"]
    assert walk(tmp_path / "failed", -1) == wanted


def test_copies_of_steps_take_no_more_of_the_time_than_max_overhead_allows(caplog):
    def steps(when: When, num: int) -> tuple[Pace, int]:
        now = [0.0]
        pace, copies = Pace(lambda: now[0]), 0
        for _ in range(num):
            now[0] += 1.0
            if pace.affords_copy(when):
                pace.copied(0.5)  # half of the time, each
                copies += 1
        return pace, copies

    assert steps(Every("epoch_end"), 100)[1] == 100
    assert caplog.text.count("have taken 50 % of the time") == 1
    caplog.clear()
    pace, copies = steps(Overhead(0.05) | Overhead(0.1), 100)
    assert copies == 10  # of half of the share: the other half is for saves
    assert Overhead(0.1).allows("batch_end", pace.spent(is_busy=False))
    assert not caplog.text


def test_a_step_whose_save_was_skipped_is_copied_all_the_same(tmp_path):
    is_over = threading.Event()  # until then the first save is busy
    policy = Checkpointing(
        mode="disk",
        save_on="batch_end",
        write=Write(busy="skip"),
        save_on_exception=True,
        on_saved=lambda record: is_over.wait(20),
    )

    def walk() -> None:
        with Run(tmp_path, {"place": np.zeros(1)}, checkpointing=policy) as run:
            for step in run.steps(9):
                if step == 3:
                    is_over.set()
                    raise RuntimeError("half")
                run["place"][:] += 1

    with pytest.raises(RuntimeError, match="half"):
        walk()
    newest = records(tmp_path)[-1]
    assert (newest.name, newest.reason) == ("train_epoch0_batch2", "before RuntimeError: half")
