"""S1 and S2: one state saved and loaded at once, and one array of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from .. import states
from ..contenders import Loading, Saver, Saving
from ..measure import Bench, cool_down, disk_bytes, sync_tree, timed, warm_up, worked
from ..states import State

_NAME = "checkpoint"


def run(bench: Bench, scenario: str, savings: Sequence[Saving], loadings: Sequence[Loading]) -> None:
    """Savers first, in turns; then loaders, in turns, each from its own saver's files."""
    if scenario == "S1":
        state = states.transformer(bench.scale.s1_bytes)
    else:
        state = states.many_small(bench.scale.s2_arrays)
    with ExitStack() as stack:
        savers = start(bench, scenario, savings, stack)
        save(bench, scenario, [saving for saving in savings if saving.name in savers], savers, state)
        load(bench, scenario, loadings, savers, state)


def start(bench: Bench, scenario: str, savings: Sequence[Saving], stack: ExitStack) -> dict[str, Saver]:
    """The savers that take part in a scenario, by name; closed with `stack`."""
    savers = {}
    for saving in savings:
        if scenario in saving.scenarios:
            try:
                savers[saving.name] = saver = saving.start()
            except Exception as err:
                bench.note(f"{scenario}: {saving.name} cannot start: {type(err).__name__}: {err}")
            else:
                stack.callback(_close, bench, saver)
    return savers


def _close(bench: Bench, saver: Saver) -> None:
    try:
        saver.close()
    except Exception as err:  # of a background save, mostly; it has been told of already
        bench.say(f"! {type(err).__name__} while closing a saver")


def save(
    bench: Bench, scenario: str, savings: Sequence[Saving], savers: dict[str, Saver], state: State
) -> None:
    def turn(saving: Saving, round: int) -> None:
        saver = savers[saving.name]
        with bench.fresh_folder() as root:
            saver.begin(root)
            with worked() as work, timed() as seconds:
                saver.save(state, _NAME)
                blocked_s = seconds()
                saver.finish()
                complete_s = seconds()
                if not saving.durable:
                    sync_tree(root)
                durable_s, work_s = seconds(), work.all_s()
            bench.samples.add(f"{scenario} blocked", saving.name, round, blocked_s)
            if not disk_bytes(root):
                return  # a limit that writes nothing
            bench.samples.add(f"{scenario} complete", saving.name, round, complete_s)
            bench.samples.add(f"{scenario} durable", saving.name, round, durable_s)
            if scenario == "S2":  # here the collector makes groups of the rounds
                bench.samples.add("S2 processor", saving.name, round, work_s)

    bench.rounds(f"{scenario} save", savings, turn)


def load(
    bench: Bench, scenario: str, loadings: Sequence[Loading], savers: dict[str, Saver], state: State
) -> None:
    with ExitStack() as stack:
        roots: dict[str, Path] = {}
        for name in dict.fromkeys(loading.written_by for loading in loadings):
            if name in savers and name not in bench.out:
                root = stack.enter_context(bench.fresh_folder())
                savers[name].begin(root)
                savers[name].save(state, _NAME)
                savers[name].finish()
                sync_tree(root)
                roots[name] = root
        able = [loading for loading in loadings if loading.written_by in roots]
        live = states.blank(state)
        array = _array_to_read(state)

        def turn(loading: Loading, round: int) -> None:
            root = roots[loading.written_by]
            for cache, prepare in (("warm", warm_up), ("cold", cool_down)):
                prepare(root)
                with timed() as seconds:
                    loading.into(root, _NAME, live)
                    bench.samples.add(f"{scenario} restore, {cache}", loading.name, round, seconds())
                if round < 0:
                    _require_equal(state, live)
                    for _, tensor in states.tensors(live):
                        tensor.zero_()
                if loading.one is not None and scenario == "S1":
                    prepare(root)
                    with timed() as seconds:
                        loading.one(root, _NAME, array)
                        bench.samples.add(f"{scenario} one array, {cache}", loading.name, round, seconds())
            if loading.new is not None:
                warm_up(root)
                with timed() as seconds:
                    loading.new(root, _NAME)
                    bench.samples.add(f"{scenario} load anew, warm", loading.name, round, seconds())

        bench.rounds(f"{scenario} load", able, turn)


def _array_to_read(state: State) -> str:
    """The path of the array nearest to 16 MB."""
    return min(states.tensors(state), key=lambda item: abs(item[1].nbytes - 16_000_000))[0]


def _require_equal(state: State, live: State) -> None:
    lost = states.differences(state, live)
    if lost:
        raise ValueError(f"it did not bring back what was saved: {lost[:3]}")
