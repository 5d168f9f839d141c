"""The script's own variables are a part of the run: an interrupted one ends with those of an uninterrupted one."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import functools
import random
import types
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest

import holdfast
from holdfast import Run
from holdfast.variables import _marks
from tests.support.interrupted import Interrupted, begin, both_ways, check_exact, every_batch, stop_after

pd = pytest.importorskip("pandas")
sparse_arrays = pytest.importorskip("scipy.sparse")


def test_plain_variables_of_a_function(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        best, total, names = 1e9, 0, []
        with begin(directory) as run:
            for step in run.steps(10):
                total += step
                best = min(best, 100 - step)
                names = [*names, str(step)]
                stop_after(stop, step)
        return best, total, names

    expected, found = both_ways(train, tmp_path, 3, 6)
    assert found == expected == (91, 45, [str(step) for step in range(10)])


def test_containers_and_arrays_that_change_in_place_keep_their_identity(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        seen, counts, table, members = [], collections.Counter(), np.zeros(10), set()
        recent: collections.deque[tuple[int, float]] = collections.deque(maxlen=3)
        also_seen = seen
        with begin(directory) as run:
            for step in run.steps(10):
                seen.append(step)
                counts[step % 3] += 1
                table[step] = len(seen)
                members.add(step % 4)
                recent.append((step, table.sum()))
                stop_after(stop, step)
        assert also_seen is seen
        return seen, counts, table.tolist(), members, recent

    expected, found = both_ways(train, tmp_path, 4, 7)
    assert found == expected


def test_two_names_of_a_new_object_stay_two_names_of_one_object(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        now: list[int] = []
        last = now
        with begin(directory) as run:
            for step in run.steps(8):
                if step % 3 == 0:
                    now = []
                    last = now
                last.append(step)
                now.append(-step)
                stop_after(stop, step)
        return now, last, now is last

    expected, found = both_ways(train, tmp_path, 4)
    assert found == expected


def test_a_new_value_does_not_change_what_the_old_one_was_also_called(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        start = np.zeros(3)
        state = start
        with begin(directory) as run:
            for step in run.steps(6):
                state = state + step
                stop_after(stop, step)
        return state.tolist(), start.tolist()

    expected, found = both_ways(train, tmp_path, 3)
    assert found == expected == ([15.0] * 3, [0.0] * 3)


def test_a_closure_and_a_nonlocal(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        total = 0

        def add(step: int) -> None:
            nonlocal total
            total += step

        def loop(run: Run) -> None:
            for step in run.steps(8):
                add(step)
                stop_after(stop, step)

        with begin(directory) as run:
            loop(run)
        return total

    expected, found = both_ways(train, tmp_path, 5)
    assert found == expected == 28


def test_a_number_whose_name_is_one_of_a_clock(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        eps_t, unknown_share, t = 0.9, 0.5, 0.25
        with begin(directory) as run:
            for step in run.steps(8):
                eps_t, unknown_share, t = eps_t * 0.9, unknown_share * 0.8 + 0.01 * step, t + 0.3
                stop_after(stop, step)
        return eps_t, unknown_share, t

    expected, found = both_ways(train, tmp_path, 5)
    assert found == expected


def counting(rate: float) -> tuple[Any, Any]:
    """Functions that share variables of this one, whose frame is gone once they are called."""
    count, rng, seen = 0, random.Random(3), []

    def draw() -> float:
        nonlocal count
        count += 1
        seen.append(rng.random() * rate / count)
        return seen[-1]

    return draw, lambda: (count, list(seen))


def noted(value: float) -> None:
    noted.total += value  # type: ignore[attr-defined]


def remember(value: float, _memory: Any = []) -> float:  # noqa: B006
    _memory.append(value)
    return sum(_memory)


@pytest.mark.parametrize("held_as", ["function", "list", "attribute", "partial", "method"])
def test_what_functions_keep_between_two_calls(tmp_path: Path, held_as: str):
    def train(directory: Path, stop: int | None) -> Any:
        noted.total = 0.0  # type: ignore[attr-defined]
        remember.__defaults__[0].clear()  # type: ignore[index]
        draw, peek = counting(2.0)
        shown = peek
        match held_as:
            case "list":
                held: Any = [draw]
            case "attribute":
                held = types.SimpleNamespace(draw=draw)
            case "partial":
                held = functools.partial(lambda of, scale: of() * scale, draw, scale=2)
            case "method":
                held = Drawn(draw).again
            case _:
                held = draw
        del draw, peek
        result = 0.0
        with begin(directory) as run:
            for step in run.steps(9):
                drawn = held[0]() if held_as == "list" else held.draw() if held_as == "attribute" else held()
                noted(drawn)
                result = remember(drawn)
                stop_after(stop, step)
        return shown(), noted.total, result  # type: ignore[attr-defined]

    expected, found = both_ways(train, tmp_path, 3, 6)
    assert found == expected


class Drawn:
    def __init__(self, draw: Any) -> None:
        self.draw, self.times = draw, 0

    def again(self) -> float:
        self.times += 1
        return self.draw() * self.times


class Trainer:
    def __init__(self) -> None:
        self.step, self.best, self.history = 0, float("inf"), []
        self.rng = random.Random(7)
        self.nested = Nested()

    def fit(self, directory: Path, stop: int | None) -> Any:
        with begin(directory) as run:
            for epoch in run.epochs(3):
                self.epoch(run, epoch, stop)
        return self.step, self.best, self.history, self.nested.count, self.nested.table.tolist()

    def epoch(self, run: Run, epoch: int, stop: int | None) -> None:
        losses = []
        for batch in run.batches([1, 2, 3, 4]):
            self.step += 1
            self.nested.add(batch)
            losses.append(self.rng.random() * batch)
            self.best = min(self.best, losses[-1])
            stop_after(stop, self.step)
        self.history.append(sum(losses))


class Nested:
    __slots__ = ("count", "table")

    def __init__(self) -> None:
        self.count, self.table = 0, np.zeros(5)

    def add(self, batch: int) -> None:
        self.count += batch
        self.table[batch] += self.count


@pytest.mark.medium
@pytest.mark.parametrize("at", [(2,), (4,), (5, 11), (8, 9)])
def test_attributes_of_an_object_of_the_scripts_own_class(tmp_path: Path, at: tuple[int, ...]):
    expected, found = both_ways(lambda *given: Trainer().fit(*given), tmp_path, *at)
    assert found == expected


@pytest.mark.parametrize("at", [1, 3, 4, 6])
def test_what_code_around_the_batches_does_is_done_once(tmp_path: Path, at: int):
    def train(directory: Path, stop: int | None) -> Any:
        entered, left, steps, sums = 0, 0, 0, []
        with begin(directory) as run:
            for _ in run.epochs(3):
                entered += 1
                total = 0
                for batch in run.batches([5, 6, 7]):
                    steps += 1
                    total += batch
                    stop_after(stop, steps)
                sums.append(total)
                left += 1
        return entered, left, steps, sums

    expected, found = both_ways(train, tmp_path, at)
    assert found == expected == (3, 3, 9, [18, 18, 18])


def test_a_variable_that_only_exists_since_the_first_turn(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        with begin(directory) as run:
            for step in run.steps(7):
                average = step if step == 0 else 0.5 * average + step  # noqa: F821
                stop_after(stop, step)
        return average

    expected, found = both_ways(train, tmp_path, 4)
    assert found == expected


def test_the_variables_of_a_main_script_that_another_one_runs(tmp_path: Path):
    """As `runpy.run_path(…, run_name="__main__")` in a launcher does: both modules have one name, and perhaps one variable."""
    script = """if True:
        total = 0
        with begin(directory) as run:
            for step in run.steps(6):
                total += step
                stop_after(stop, step)
    """
    launcher = "total = 100\nexec(code, namespace)\n"

    def train(directory: Path, stop: int | None) -> Any:
        namespace = {"__name__": "__main__", "begin": begin, "stop_after": stop_after}
        namespace |= {"directory": directory, "stop": stop}
        code = compile(script, str(tmp_path / "train.py"), "exec")
        outer: dict[str, Any] = {"__name__": "__main__", "code": code, "namespace": namespace}
        exec(compile(launcher, str(tmp_path / "launch.py"), "exec"), outer)
        return namespace["total"], outer["total"]

    expected, found = both_ways(train, tmp_path, 3)
    assert found == expected == (15, 100)


def test_what_only_an_earlier_turn_has_made(tmp_path: Path):
    """The code before the inner loop does not make it again in the turn in which the run resumes."""

    def train(directory: Path, stop: int | None) -> Any:
        weights, rng = [0.0], random.Random(0)
        with begin(directory, {"weights": weights}) as run:
            for epoch in run.epochs(5):
                if epoch % 2 == 0:
                    scale, origin = rng.random(), epoch
                for batch in run.batches([1.0, 2.0, 3.0]):
                    weights[0] += scale * batch + origin
                    stop_after(stop, run.step)
        return (weights, scale), run.last_resume

    check_exact(train, tmp_path, 4, 11)


def test_an_object_that_only_an_earlier_turn_has_made_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    class Noise:
        def __init__(self) -> None:
            self.scale = 1.0

    def train(stop: int | None) -> Any:
        with begin(tmp_path) as run:
            for epoch in run.epochs(3):
                if epoch == 0:
                    noise = Noise()
                for batch in run.batches([1.0, 2.0, 3.0]):
                    noise.scale += batch
                    stop_after(stop, run.step)

    with pytest.raises(Interrupted):
        train(5)
    with pytest.raises(UnboundLocalError):
        train(None)
    assert caplog.text.count("exact but for: noise") == 1


@pytest.mark.medium
def test_two_loops_one_after_the_other(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        total, second = 0, 0
        with begin(directory) as run:
            for step in run.steps(4):
                total += step
                stop_after(stop, step)
            second = total * 10
            for step in run.steps(8):
                total += step
                second += 1
                stop_after(stop, step)
        return total, second

    for at in (2, 3, 6):
        expected, found = both_ways(train, tmp_path / str(at), at)
        assert found == expected == (28, 64)


class Move(NamedTuple):
    at: int
    reward: float


@dataclasses.dataclass
class Score:
    best: float = 0.0
    rounds: int = 0


def test_named_tuples_and_dataclasses_stay_what_they_were(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        kinds = Move
        memory: collections.deque[Move] = collections.deque(maxlen=4)
        last, score = Move(0, 0.0), Score()
        with begin(directory) as run:
            for step in run.steps(7):
                reward = sum(move.reward for move in memory) + last.at
                last = kinds(step, reward)
                memory.append(last)
                score.best, score.rounds = max(score.best, reward), score.rounds + 1
                stop_after(stop, step)
        return memory, last, score

    expected, found = both_ways(train, tmp_path, 3)
    assert found == expected
    assert all(type(move) is Move for move in found[0])


def test_random_generators_continue(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        own, numpys, old = random.Random(1), np.random.default_rng(2), np.random.RandomState(3)
        drawn = []
        with begin(directory) as run:
            for step in run.steps(6):
                drawn.append((own.random(), numpys.normal(), old.normal()))
                stop_after(stop, step)
        return drawn

    expected, found = both_ways(train, tmp_path, 2, 4)
    assert found == expected


class Pole:
    """A little of an environment for reinforcement learning."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.state, self.age = np.zeros(2), 0

    def reset(self) -> np.ndarray:
        self.state, self.age = self._rng.normal(size=2), 0
        return self.state

    def step(self, action: float) -> tuple[np.ndarray, float, bool]:
        self.state = self.state + action + self._rng.normal(size=2)
        self.age += 1
        return self.state, float(self.state.sum()), self.age >= 5


@pytest.mark.medium
def test_an_environment_and_a_replay_buffer_of_the_script(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        env, weights = Pole(0), np.zeros(2)
        buffer, filled, returns, episode = np.zeros((100, 2)), 0, [], 0.0
        observation = env.reset()
        with begin(directory, {"weights": weights}) as run:
            for step in run.steps(23):
                buffer[filled] = observation
                filled += 1
                observation, reward, is_over = env.step(float(weights @ observation))
                weights += 0.01 * buffer[:filled].mean(axis=0)
                episode += reward
                if is_over:
                    returns.append(episode)
                    episode, observation = 0.0, env.reset()
                stop_after(stop, step)
        return weights.tolist(), returns, episode, env.state.tolist()

    expected, found = both_ways(train, tmp_path, 7, 13, 14)
    assert found == expected


def test_a_changed_hyperparameter_of_the_script_wins(tmp_path: Path):
    def train(directory: Path, stop: int | None, rate: float, sizes: list[int]) -> Any:
        total, config = 0.0, {"rate": rate, "sizes": sizes}
        with begin(directory) as run:
            for step in run.steps(6):
                total += config["rate"] * len(sizes)
                stop_after(stop, step)
        return total, rate, config

    with pytest.raises(Interrupted):
        train(tmp_path, 2, 0.5, [1])
    total, rate, config = train(tmp_path, None, 2.0, [1, 1])
    assert (rate, config) == (2.0, {"rate": 2.0, "sizes": [1, 1]})
    assert total == 2 * 0.5 + 4 * 2.0 * 2


def test_what_was_handed_over_is_not_saved_twice(tmp_path: Path):
    weights = np.zeros(4)
    part, state = weights[:2], {"weights": weights}
    count = 0
    with begin(tmp_path, state) as run:
        for step in run.steps(3):
            weights += step
            part[0] += 1
            count += 1
    saved = holdfast.load(tmp_path / "train_epoch0_batch2")
    [scope] = saved["variables"]
    assert scope == "test_what_was_handed_over_is_not_saved_twice"
    assert saved["variables"][scope].keys() == {"count"}


def test_what_is_written_before_it_is_read_is_not_saved(tmp_path: Path):
    loss, batch, kept = 0.0, np.zeros(3), 0.0
    with begin(tmp_path) as run:
        for step in run.steps(3):
            batch = np.full(3, step)
            loss = float(batch.sum())
            kept += loss
    saved = holdfast.load(tmp_path / "train_epoch0_batch2")
    assert saved["variables"] == {"test_what_is_written_before_it_is_read_is_not_saved": {"kept": 9.0}}


@pytest.mark.parametrize("kind", [argparse.Namespace, types.SimpleNamespace])
def test_what_a_namespace_holds(tmp_path: Path, kind: type):
    def train(directory: Path, stop: int | None) -> Any:
        args = kind(rate=0.5, curve=[], best=0.0)
        with begin(directory) as run:
            for step in run.steps(6):
                args.curve.append(step)
                args.best = max(args.best, step * args.rate)
                stop_after(stop, step)
        return args.curve, args.best

    expected, found = both_ways(train, tmp_path, 3)
    assert found == expected


def test_a_rollback_takes_the_variables_back(tmp_path: Path):
    total, first_at, log = 0, None, []
    policy = every_batch(on_divergence="rollback")
    with begin(tmp_path, checkpointing=policy) as run:
        for step in run.steps(8):
            total += step
            log.append(step)
            if step == 5 and run.rollbacks == 0:
                first_at = step
                run.log(loss=float("nan"))
            else:
                run.log(loss=1.0)
    assert run.rollbacks == 1
    assert total == 28
    assert log == [*range(8)]
    assert first_at is None


def test_a_checkpoint_without_variables_is_resumed_as_before(tmp_path: Path):
    def train(stop: int | None, **how: Any) -> Any:
        total, weights = 0, [0.0]
        state = {"weights": weights}
        with begin(tmp_path, state, **how) as run:
            for step in run.steps(6):
                total += 1
                weights[0] += step
                stop_after(stop, step)
        return total, state["weights"], run.last_resume

    with pytest.raises(Interrupted):
        train(2, variables="off")
    total, weights, resumed = train(None)
    assert (total, weights) == (4, [15.0])
    assert resumed is not None
    assert resumed.verdict == "exact"


def test_what_is_changed_after_a_rollback_is_not_undone(tmp_path: Path):
    rate, steps = 1.0, 0

    def halve(run: Run) -> None:
        nonlocal rate
        rate /= 2

    policy = every_batch(on_divergence="rollback")
    with begin(tmp_path, checkpointing=policy, on_rollback=halve) as run:
        for step in run.steps(6):
            steps += 1
            rate *= 0.9
            run.log(loss=float("nan") if step == 4 and run.rollbacks == 0 else 1.0)
    assert steps == 6
    assert rate == pytest.approx(0.9**6 / 2)


def test_an_attribute_that_is_made_only_in_the_loop(tmp_path: Path):
    class Lazy:
        def add(self, value: int) -> None:
            self.total = getattr(self, "total", 0) + value

    def train(directory: Path, stop: int | None) -> Any:
        lazy = Lazy()
        with begin(directory) as run:
            for step in run.steps(6):
                lazy.add(step)
                stop_after(stop, step)
        return lazy.total  # type: ignore[attr-defined]

    expected, found = both_ways(train, tmp_path, 3)
    assert found == expected == 15


def test_the_mapping_that_was_handed_over_is_no_variable(tmp_path: Path):
    state = {"weights": [0.0]}
    with begin(tmp_path, state) as run:
        for step in run.steps(3):
            state["weights"] = [state["weights"][0] + step]
    assert "variables" not in holdfast.load(tmp_path / "train_epoch0_batch2")


def test_the_loader_of_the_loop_is_put_back_by_its_source_alone(tmp_path: Path):
    class Loader:
        loaded: ClassVar[list[dict[str, int]]] = []

        def __init__(self) -> None:
            self.done = 0

        def __iter__(self):
            while self.done < 6:
                self.done += 1
                yield self.done
            self.done = 0

        def state_dict(self) -> dict[str, int]:
            return {"done": self.done}

        def load_state_dict(self, saved: dict[str, int]) -> None:
            self.loaded.append(saved)
            self.done = saved["done"]

    def train(directory: Path, stop: int | None) -> list[int]:
        seen, loader = [], Loader()
        with begin(directory) as run:
            for _ in run.epochs(2):
                for item in run.batches(loader):
                    seen.append(item)
                    stop_after(stop, len(seen))
        return seen

    expected, found = both_ways(train, tmp_path, 8)
    assert found == expected == [1, 2, 3, 4, 5, 6] * 2
    assert len(Loader.loaded) == 1


@pytest.mark.medium
def test_values_of_libraries_that_are_data(tmp_path: Path):
    """A table, a sparse array, a masked one and a decimal: each changes in place, is made anew, or grows."""

    def train(directory: Path, stop: int | None) -> Any:
        total, where = Decimal(0), uuid.UUID(int=0)
        log, table = pd.DataFrame({"loss": [0.0]}), pd.DataFrame({"seen": np.zeros(300_000), "word": "a"})
        same = table
        sparse, masked = sparse_arrays.csr_matrix(np.eye(3)), np.ma.MaskedArray(np.arange(3.0), [0, 1, 0])
        with begin(directory) as run:
            for step in run.steps(10):
                total += Decimal("0.1")
                where = uuid.UUID(int=where.int + step)
                log = pd.concat([log, pd.DataFrame({"loss": [step / 3]})], ignore_index=True)
                table.loc[step, "seen"] += 1
                sparse.data[:] += 1
                masked[step % 3] = np.ma.masked
                stop_after(stop, step)
        assert same is table
        return total, where, log.loss.tolist(), table.seen.sum(), sparse.data.tolist(), masked.mask.tolist()

    expected, found = both_ways(train, tmp_path, 2, 6)
    assert found == expected


def test_what_a_table_is_looked_at_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_marks, "_MANY_ITEMS", 8)
    marks = _marks.Marks()
    for table in (
        pd.DataFrame({"a": np.arange(9), "b": list("abcdefghi"), "c": pd.array([1] * 9, dtype="Int8")}),
        pd.DataFrame(np.zeros((3, 4))),
    ):
        before = marks.of(table, "table")
        assert before == marks.of(table.copy(), "table")
        for at in range(table.shape[1]):
            other = table.copy()
            other.iloc[2, at] = other.iloc[1, at] + other.iloc[1, at]
            assert (marks.of(other, "table") == before) == other.equals(table)
        assert marks.of(table.rename(columns={table.columns[0]: "other"}), "table") != before
