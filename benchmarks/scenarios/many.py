"""S6: a model of many small parameters with AdamW, saved again and again, and brought back."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

from .. import states
from ..contenders import Loading, Saver, Saving
from ..machine import delay_s
from ..measure import Bench, sync_tree, timed, warm_up, worked
from ..training import Case, Training
from .single import start

_VARIANTS_FOR = ("torch.save", "torch.save + fsync + rename", "Holdfast (copy)", "DCP async (kept stager)")
_MOST = {  # parameters; with more, a save takes them many seconds
    "DCP": 1_000,
    "DCP async (thread)": 1_000,
    "DCP async (kept stager)": 1_000,
    "Orbax (NumPy)": 1_000,
}
_LOOP = 5_000  # turns of pure Python, about 0.1 ms


def run(bench: Bench, savings: Sequence[Saving], loadings: Sequence[Loading]) -> None:
    """Every number of parameters with everybody, and the one in the middle in its variants with some."""
    scale = bench.scale
    for parameters in scale.s6_parameters:
        able = [saving for saving in savings if parameters <= _MOST.get(saving.name, parameters)]
        _run(bench, Case(parameters, scale.s6_numbers), able, loadings)
    some = [saving for saving in savings if saving.name in _VARIANTS_FOR]
    for variant in scale.s6_variants:
        _run(bench, replace(middle(scale), variant=variant), some, loadings)


def _run(bench: Bench, case: Case, savings: Sequence[Saving], loadings: Sequence[Loading]) -> None:
    training = Training(case)
    with ExitStack() as stack:
        savers = start(bench, "S6", savings, stack)
        roots = {name: stack.enter_context(bench.fresh_folder()) for name in savers}
        for name, saver in savers.items():
            saver.begin(roots[name])
        taking_part = [saving for saving in savings if saving.name in savers]
        _save(bench, case, taking_part, savers, roots, training)
    with ExitStack() as stack:
        savers = start(bench, "S6", savings, stack)
        _load(bench, case, {saving.name: saving for saving in savings}, loadings, savers, training, stack)


def _save(
    bench: Bench,
    case: Case,
    savings: Sequence[Saving],
    savers: dict[str, Saver],
    roots: dict[str, Path],
    training: Training,
) -> None:
    """Each save is of another step, in the same folder: the first, which warms up, leaves what later ones use."""

    def save(saving: Saving, name: str) -> None:
        savers[saving.name].save(_state(saving, training), name)

    def turn(saving: Saving, round: int) -> None:
        def add(measure: str, value: float) -> None:
            bench.samples.add(f"S6 {case.name} {measure}", saving.name, round, value)

        saver = savers[saving.name]
        training.step()
        rest()
        with worked() as work, timed() as seconds:
            save(saving, f"{round}")
            blocked_s, blocked_work_s = seconds(), work.mine_s()
            saver.finish()
            if not saving.durable:
                sync_tree(roots[saving.name])
            durable_s, work_s = seconds(), work.all_s()
        add("blocked", blocked_s)
        add("durable", durable_s)
        add("blocked, processor", blocked_work_s)
        add("durable, processor", work_s)

        training.step()
        rest()
        save_s = loop_s()
        save(saving, f"{round} beside a loop")
        add("stolen", stolen_s(saver.finish, save_s))

    bench.rounds(f"S6 {case.name} save", savings, turn, repeats=_repeats(bench, case))


def _load(
    bench: Bench,
    case: Case,
    savings: dict[str, Saving],
    loadings: Sequence[Loading],
    savers: dict[str, Saver],
    training: Training,
    stack: ExitStack,
) -> None:
    """Into the live objects of a script that has made the same ones, with other numbers."""
    roots: dict[str, Path] = {}
    for name in dict.fromkeys(loading.written_by for loading in loadings if loading.training):
        if name in savers and name not in bench.out:
            root = roots[name] = stack.enter_context(bench.fresh_folder())
            savers[name].begin(root)
            savers[name].save(_state(savings[name], training), "checkpoint")
            savers[name].finish()
            sync_tree(root)
    able = [each for each in loadings if each.training is not None and each.written_by in roots]
    saved = training.state_dicts()

    def turn(loading: Loading, round: int) -> None:
        assert loading.training is not None
        live = Training(case, seed=66)
        root = roots[loading.written_by]
        warm_up(root)
        gc.collect()
        with worked() as work, timed() as seconds:
            loading.training(root, "checkpoint", live)
            restored_s, work_s = seconds(), work.all_s()
        bench.samples.add(f"S6 {case.name} restored", loading.name, round, restored_s)
        bench.samples.add(f"S6 {case.name} restored, processor", loading.name, round, work_s)
        if round < 0 and (lost := states.differences(saved, live.state_dicts())):
            raise ValueError(f"it did not bring back what was saved: {lost[:3]}")

    bench.rounds(f"S6 {case.name} load", able, turn, repeats=_repeats(bench, case))


def _repeats(bench: Bench, case: Case) -> int:
    return bench.scale.repeats if case == middle(bench.scale) else min(3, bench.scale.repeats)


def middle(scale: states.Scale) -> Case:
    return Case(scale.s6_parameters[len(scale.s6_parameters) // 2], scale.s6_numbers)


def _state(saving: Saving, training: Training) -> states.State:
    return training.objects if saving.wants_objects else training.state_dicts()


def rest() -> None:
    """The disk and the cycle collector have nothing left to do of what was before."""
    os.sync()
    gc.collect()


def _loop() -> None:
    for _ in range(_LOOP):
        pass


def loop_s() -> float:
    """What a loop of pure Python takes alone."""
    took_s = []
    for _ in range(300):
        with timed() as seconds:
            _loop()
            took_s.append(seconds())
    return median(took_s)


def stolen_s(finish: Callable[[], None], alone_s: float) -> float:
    """How much longer such loops take until `finish` returns in another thread than they would take alone.

    What they wait for a processor, which other programs use, does not count: nobody here has stolen that.
    """
    done, failed = threading.Event(), list[Exception]()

    def wait() -> None:
        try:
            finish()
        except Exception as err:
            failed.append(err)
        finally:
            done.set()

    waiting = threading.Thread(target=wait)
    with timed() as seconds:
        waiting.start()
        loops, delayed_s = 0, delay_s()
        while not done.is_set():
            _loop()
            loops += 1
        took_s = seconds() - (delay_s() - delayed_s)
    waiting.join()
    if failed:
        raise failed[0]
    return max(0.0, took_s - loops * alone_s)
