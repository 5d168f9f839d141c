"""A run that is told to leave finishes its step, saves, and leaves so that it is started again."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import holdfast
from holdfast import Checkpointing, EvalPhase, Preemption, Run, Write, errors
from tests.support.small_runs import LOSS, At, bundles, experiment, on_disk, rows, train

SIGNALS = [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2]


def policy(**options) -> Checkpointing:
    return on_disk("phase_end", **{"save_on_preemption": True, **options})


def send(number: signal.Signals):
    return lambda *_: os.kill(os.getpid(), number)


def walk(directory, checkpointing, *, at: int = -1, do=lambda: None, n_steps: int = 10) -> float:
    place = np.zeros(1)
    with Run(directory, {"place": place}, checkpointing=checkpointing) as run:
        for step in run.steps(n_steps):
            place *= 0.5
            if step == at:
                do()
            place += step
    return float(place[0])


@pytest.fixture(autouse=True)
def handlers_are_as_they_were():
    before = [signal.getsignal(each) for each in (*SIGNALS, signal.SIGINT)]
    yield
    assert [signal.getsignal(each) for each in (*SIGNALS, signal.SIGINT)] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_an_experiment_saves_the_step_that_it_was_in_and_resumes_from_there(number, tmp_path):
    wanted = experiment(tmp_path / "uninterrupted", train(checkpointing=policy()))
    wanted.run()
    options = {"save_on_preemption": [number]}
    told = experiment(
        tmp_path / "told",
        train(checkpointing=policy(**options), callbacks=[At("batch_start", 1, 2, do=send(number))]),
    )
    with pytest.raises(errors.Preempted) as leaving:
        told.run()
    assert (leaving.value.code, leaving.value.signal) == (75, number.name)
    assert told.history[0].status == "interrupted"
    assert bundles(tmp_path / "told/train") == ["train_epoch1_batch2"]
    [saved] = holdfast.scan(tmp_path / "told")
    assert saved.record is not None
    assert saved.record.reason == f"told to leave ({number.name})"
    again = experiment(
        tmp_path / "told",
        train(checkpointing=policy(**options), callbacks=[At("batch_start", 9, 9, do=send)]),
    )
    again.run(resume=True)
    assert again.last_resume is not None
    assert (again.last_resume.verdict, again.state_digest()) == ("exact", wanted.state_digest())


def test_a_loop_of_ones_own_does_so_too(tmp_path):
    wanted = walk(tmp_path / "uninterrupted", policy())
    with pytest.raises(errors.Preempted):
        walk(tmp_path / "told", policy(), at=4, do=send(signal.SIGTERM))
    assert bundles(tmp_path / "told") == ["train_epoch0_batch4"]
    assert walk(tmp_path / "told", policy()) == wanted


def test_it_leaves_with_the_exit_code_that_its_policy_names(tmp_path):
    with pytest.raises(SystemExit) as leaving:
        walk(tmp_path, policy(save_on_preemption=Preemption(exit_code=99)), at=1, do=send(signal.SIGUSR1))
    assert leaving.value.code == 99


def test_a_handler_of_the_users_is_called_as_well_and_is_there_again_afterwards(tmp_path):
    calls = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: calls.append(number))
    try:
        mine = signal.getsignal(signal.SIGUSR1)
        with pytest.raises(errors.Preempted):
            walk(tmp_path, policy(), at=3, do=send(signal.SIGUSR1))
        assert calls == [signal.SIGUSR1]
        assert signal.getsignal(signal.SIGUSR1) is mine
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_handler_that_the_user_installs_during_the_run_is_left_alone(tmp_path):
    def mine(number, frame) -> None: ...

    try:
        walk(tmp_path, policy(), at=3, do=lambda: signal.signal(signal.SIGUSR1, mine))
        assert signal.getsignal(signal.SIGUSR1) is mine
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def test_a_second_signal_changes_nothing(tmp_path):
    def twice() -> None:
        send(signal.SIGTERM)()
        send(signal.SIGTERM)()
        send(signal.SIGUSR1)()

    with pytest.raises(errors.Preempted) as leaving:
        walk(tmp_path, policy(), at=3, do=twice)
    assert leaving.value.signal == "SIGTERM"
    assert bundles(tmp_path) == ["train_epoch0_batch3"]


def test_a_signal_between_the_last_hook_and_the_end_is_not_swallowed(tmp_path):
    class Late(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            # The save of the phase's end is being written, in the background or before the run leaves.
            if record.msg.startswith("saved ") and threading.current_thread() is threading.main_thread():
                send(signal.SIGTERM)()

    logger, late = logging.getLogger("holdfast"), Late()
    level = logger.level
    logger.addHandler(late)
    logger.setLevel(logging.INFO)
    try:
        with pytest.raises(errors.Preempted):
            walk(tmp_path, policy(write=Write(durability="process", background=False)))
    finally:
        logger.removeHandler(late)
        logger.setLevel(level)
    assert bundles(tmp_path) == ["train_end"]


def test_outside_of_the_main_thread_signals_are_not_watched_and_that_is_said(tmp_path, caplog):
    thread = threading.Thread(target=walk, args=(tmp_path, policy()))
    thread.start()
    thread.join()
    assert "signals are not watched" in caplog.text
    assert bundles(tmp_path) == ["train_end"]


def test_where_no_policy_saves_the_run_leaves_all_the_same(tmp_path):
    plan = [
        train("first", n_epochs=1, checkpointing=policy()),
        EvalPhase("second", data=rows(), losses=[LOSS]),
        train("third", n_epochs=1),
    ]
    told = experiment(tmp_path, *plan, callbacks=[Told("second")])
    with pytest.raises(errors.Preempted):
        told.run()
    assert bundles(tmp_path / "first") == ["first_end"]


class Told(holdfast.Callback):
    """Sends SIGTERM before the end of a phase."""

    def __init__(self, phase: str) -> None:
        self._phase = phase

    def on_phase_end(self, context) -> None:
        if context.phase == self._phase:
            send(signal.SIGTERM)()


def test_a_policy_of_the_experiment_saves_in_the_middle_of_a_phase(tmp_path):
    complete = policy()
    told = experiment(
        tmp_path, train(callbacks=[At("batch_start", 1, 2, do=send(signal.SIGTERM))]), checkpointing=complete
    )
    with pytest.raises(errors.Preempted):
        told.run()
    assert bundles(tmp_path) == ["train_epoch1_batch2"]
    uninterrupted = experiment(
        tmp_path / "uninterrupted", train(callbacks=[At("batch_start", 9, 9, do=send)])
    )
    uninterrupted.run()
    again = experiment(tmp_path, train(callbacks=[At("batch_start", 9, 9, do=send)]), checkpointing=policy())
    again.run(resume=True)
    assert again.state_digest() == uninterrupted.state_digest()


def test_a_save_that_fails_is_an_error_and_no_reason_to_be_started_again(tmp_path):
    full = policy()
    with pytest.raises(errors.SaveError):
        walk(tmp_path, full, at=3, do=lambda: (block(tmp_path), send(signal.SIGTERM)()))


def block(directory) -> None:
    """Put a file where the next checkpoint is to be."""
    (directory / "train_epoch0_batch3.ckpt.mml").write_text("in the way")


def test_what_cannot_be_a_signal_is_refused():
    assert Checkpointing(mode="disk", save_on_preemption="USR1").signals == (signal.SIGUSR1,)
    assert policy().signals == (signal.SIGTERM, signal.SIGUSR1)
    assert Checkpointing.from_config(policy().get_config()).save_on_preemption == policy().save_on_preemption
    for wrong in ("SIGNOTHING", "KILL", signal.SIGSTOP, 0, 12345, [None], 1.5):
        with pytest.raises(errors.UsageError):
            Checkpointing(mode="disk", save_on_preemption=wrong)
    with pytest.raises(errors.UsageError, match="needs mode='disk'"):
        Checkpointing(mode="memory", save_on_preemption=True)
    with pytest.raises(errors.UsageError, match="from 0 to 255"):
        policy(save_on_preemption=Preemption(exit_code=256))


SCRIPT = """
import os, signal, sys, time
import numpy as np
from holdfast import Checkpointing, Preemption, Run

directory, how = sys.argv[1:]
policy = Checkpointing(mode="disk", save_on="phase_end", save_on_preemption=Preemption(deadline_s=0.3))
place = np.zeros(1)
with Run(directory, {"place": place}, checkpointing=policy) as run:
    for step in run.steps(6):
        if how == "fork" and step == 1:
            child = os.fork()
            if child == 0:
                time.sleep(60)
            time.sleep(0.1)
            os.kill(child, signal.SIGUSR1)  # ignored: meant for the job, and no reason to fail its step
            assert os.waitpid(child, os.WNOHANG) == (0, 0)
            os.kill(child, signal.SIGTERM)  # obeyed: how data loading workers are ended
            assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
        if how in ("leaves", "hangs") and step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        if how == "hangs" and step == 3:
            print("hanging", flush=True)
            time.sleep(60)
        place += step
print("done", place[0])
"""


def start(directory, how: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, str(directory), how]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.medium
def test_a_process_exits_with_the_code_and_the_next_one_ends_as_if_nothing_had_happened(tmp_path):
    left = start(tmp_path, "leaves")
    assert (left.returncode, left.stdout) == (75, ""), left.stderr
    assert start(tmp_path, "").stdout == "done 15.0\n"


def test_when_the_deadline_passes_the_process_leaves_at_once(tmp_path):
    began_s = time.monotonic()
    left = start(tmp_path, "hangs")
    assert (left.returncode, left.stdout) == (75, "hanging\n"), left.stderr
    assert "the deadline of 0.3 s has passed" in left.stderr
    assert time.monotonic() - began_s < 50
    assert bundles(tmp_path) == []


def test_children_die_of_sigterm_as_ever_and_do_not_mind_the_other_signals(tmp_path):
    done = start(tmp_path, "fork")
    assert (done.returncode, done.stdout) == (0, "done 15.0\n"), done.stderr
