"""State that shows itself nowhere else: calls of one function, threads without a variable, databases, kept errors, long lists."""

from __future__ import annotations

import gc
import sqlite3
import threading
import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from holdfast.variables._looks.threads import running
from tests.support.interrupted import begin, both_ways, stop_after
from tests.variables.test_unsaved_variables import interrupted_and_resumed


def descended(depth: int, above: Callable[[], float], directory: Path, stop: int | None) -> Any:
    total = 0.0

    def note() -> float:
        nonlocal total
        total += 10.0**depth
        return total + above()

    if depth:
        return descended(depth - 1, note, directory, stop)
    seen: list[float] = []
    with begin(directory) as run:
        for step in run.steps(6):
            seen.append(note())
            stop_after(stop, step)
    return seen, run.last_resume and run.last_resume.verdict


def test_each_call_of_a_function_that_calls_itself_has_its_own_variables(tmp_path: Path):
    (expected, _), (found, verdict) = both_ways(lambda at, stop: descended(2, float, at, stop), tmp_path, 2)
    assert (found, verdict) == (expected, "exact")


def test_a_thread_of_the_script_that_no_variable_holds(tmp_path: Path):
    def train(stop: int | None) -> Any:
        is_over = threading.Event()

        def produce() -> None:
            is_over.wait()

        threading.Thread(target=produce, daemon=True).start()
        try:
            with begin(tmp_path) as run:
                for step in run.steps(6):
                    stop_after(stop, step)
        finally:
            is_over.set()
        return run

    (name,) = interrupted_and_resumed(train).unsaved
    assert name.startswith("threads.")
    assert name.endswith("produce")


def test_a_database_that_is_written_is_named_and_one_that_is_read_is_not(tmp_path: Path):
    def train(stop: int | None) -> Any:
        with closing(sqlite3.connect(":memory:")) as written, closing(sqlite3.connect(":memory:")) as read:
            written.execute("create table found (step int)")
            with begin(tmp_path) as run:
                for step in run.steps(6):
                    written.execute("insert into found values (?)", (step,))
                    read.execute("select 1").fetchone()
                    stop_after(stop, step)
        return run

    assert interrupted_and_resumed(train).unsaved == ("written",)


def test_errors_that_are_kept(tmp_path: Path):
    def train(stop: int | None) -> Any:
        failures: list[Exception] = []
        with begin(tmp_path) as run:
            for step in run.steps(6):
                failures.append(ValueError(step))
                stop_after(stop, step)
        return run

    assert list(interrupted_and_resumed(train).unsaved) == ["failures"]


def test_one_of_many_lists_that_grows(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        table = [["a"] for _ in range(11_000)]
        with begin(directory) as run:
            for step in run.steps(4):
                table[1237 + step].append("b")
                stop_after(stop, step)
        return table, run.last_resume and run.last_resume.verdict

    (expected, _), (found, verdict) = both_ways(train, tmp_path, 2)
    assert (found == expected, verdict) == (True, "exact")


def test_the_look_at_threads_keeps_nothing_alive():
    """What a loader of accelerate does at its end depends on when the iterator of the epoch before is gone."""

    class Held:
        pass

    def look() -> weakref.ref[Held]:
        held = Held()
        running("run.")
        return weakref.ref(held)

    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    gc.disable()
    try:
        assert look()() is None
    finally:
        gc.enable()
        done.set()
        thread.join()
