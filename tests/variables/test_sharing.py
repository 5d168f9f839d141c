"""One and the same object at several places: it is one object again after a resume, wherever it is."""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import holdfast
from holdfast import attributes
from holdfast.records import leaves
from holdfast.variables._shared.memory import View, overlap
from holdfast.variables._shared.places import at, elements_of, put_at, text_of
from tests.support.interrupted import Interrupted, begin, both_ways, check_exact, stop_after

torch = pytest.importorskip("torch")


def last_of_all(directory: Path, stop: int | None) -> Any:
    episodes: list[list[int]] = [[]]
    current = episodes[0]
    with begin(directory) as run:
        for step in run.steps(9):
            current.append(step)
            if step % 3 == 2:
                current = []
                episodes.append(current)
            stop_after(stop, step)
    return episodes, run.last_resume


class Memory:
    def __init__(self) -> None:
        self.episodes: list[dict[str, list[int]]] = []
        self.start()

    def start(self) -> None:
        self.current: dict[str, list[int]] = {"seen": []}
        self.episodes.append(self.current)


def attributes_of_an_object(directory: Path, stop: int | None) -> Any:
    return remembered(directory, stop, Memory(), None)


def handed_over_by_attributes(directory: Path, stop: int | None) -> Any:
    memory = Memory()
    return remembered(directory, stop, memory, {"memory": attributes(memory)})


def remembered(directory: Path, stop: int | None, memory: Memory, state: dict[str, Any] | None) -> Any:
    with begin(directory, state) as run:
        for step in run.steps(9):
            memory.current["seen"].append(step)
            if step % 3 == 2:
                memory.start()
            stop_after(stop, step)
    return memory.episodes, run.last_resume


def item_of_a_table(directory: Path, stop: int | None) -> Any:
    arms: dict[Any, dict[str, float]] = {key: {"n": 0, "sum": 0.0} for key in ("a", 1, (2, "b"))}
    rows = [np.zeros(2) for _ in range(3)]
    arm, row = arms["a"], rows[0]
    with begin(directory) as run:
        for step in run.steps(9):
            arm["n"] += 1
            arm["sum"] += step
            row += step
            if step % 3 == 1:
                arm, row = arms[[1, (2, "b"), "a"][step // 3]], rows[step // 3]
            stop_after(stop, step)
    return (arms, [row.tolist() for row in rows]), run.last_resume


def equal_when_it_is_chosen(directory: Path, stop: int | None) -> Any:
    """Another list than before, with the same in it."""
    both: list[list[int]] = [[], []]
    chosen = both[0]
    with begin(directory) as run:
        for step in run.steps(9):
            if step == 2:
                chosen = both[1]
            if step > 4:
                chosen.append(step)
            stop_after(stop, step)
    return both, run.last_resume


def twice_in_a_list(directory: Path, stop: int | None) -> Any:
    population = [np.full(2, float(each)) for each in range(4)]
    with begin(directory) as run:
        for step in run.steps(9):
            if step == 2:
                population[3] = population[0]
            population[0] += 1
            stop_after(stop, step)
    return [each.tolist() for each in population], run.last_resume


def twice_in_what_was_handed_over(directory: Path, stop: int | None) -> Any:
    population = [np.full(2, float(each)) for each in range(4)]
    tensors = {"a": torch.zeros(2), "b": torch.ones(2)}
    with begin(directory, {"population": population, "tensors": tensors}) as run:
        for step in run.steps(9):
            if step == 2:
                population[3] = population[0]
                tensors["b"] = tensors["a"]
            population[0] += 1
            tensors["a"] += step
            stop_after(stop, step)
    return [each.tolist() for each in (*population, *tensors.values())], run.last_resume


def in_tuples(directory: Path, stop: int | None) -> Any:
    """Arrays and dicts that cannot be put into their places: the tuples around them are made anew."""
    state, memory, hard = np.zeros(2), deque[tuple[np.ndarray, dict[str, int]]](maxlen=4), []
    with begin(directory) as run:
        for step in run.steps(9):
            memory.append((state, {"step": step}))
            if step % 2:
                hard.append(memory[-1])
                state = np.zeros(2)
            state += 1
            for _, about in hard:
                about["step"] += 1
            stop_after(stop, step)
    return [(each.tolist(), about) for each, about in (*memory, *hard)], run.last_resume


def part_of_a_model(directory: Path, stop: int | None) -> Any:
    model = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(3)))
    for each in model.parameters():
        torch.nn.init.ones_(each)
    optimizer = torch.optim.SGD([{"params": each.parameters(), "lr": 1.0} for each in model])
    layer, group, weight = model[0], optimizer.param_groups[0], model[0].weight
    with begin(directory, {"model": model, "optimizer": optimizer}) as run:
        for step in run.steps(9):
            with torch.no_grad():
                layer.bias += step
                weight += step
            group["lr"] *= 0.5
            if step % 3 == 1:
                at = step // 3
                layer, group, weight = model[at], optimizer.param_groups[at], model[2 - at].weight
            stop_after(stop, step)
    found = [each.tolist() for each in model.parameters()], [each["lr"] for each in optimizer.param_groups]
    return found, run.last_resume


def swapped_after_they_were_handed_over(directory: Path, stop: int | None) -> Any:
    current, following = np.arange(4.0), np.zeros(4)
    with begin(directory, {"current": current, "following": following}) as run:
        for step in run.steps(9):
            following[:] = np.roll(current, 1) * 0.5 + step
            current, following = following, current
            stop_after(stop, step)
    return (current.tolist(), following.tolist()), run.last_resume


def weights_that_were_not_copied(directory: Path, stop: int | None) -> Any:
    model, best, before, total = torch.nn.Linear(2, 1), None, torch.zeros(1, 2), 0.0
    torch.nn.init.zeros_(model.weight)
    chosen: tuple[Any, ...] = ()
    with begin(directory, {"model": model}) as run:
        for step in run.steps(9):
            with torch.no_grad():
                model.weight += step
            if step == 2:
                best, before, chosen = (
                    model.state_dict(),
                    model.weight.detach(),
                    (model.bias, model.weight.detach()[0, 1:]),
                )
            if best is not None:
                total += float(best["weight"].sum() + before.sum() + chosen[1])
            stop_after(stop, step)
    return total, run.last_resume


def views(directory: Path, stop: int | None) -> Any:
    data, columns = np.zeros((4, 2)), torch.zeros(3, 4)
    row, column = data[0:1], columns[:, 0]
    with begin(directory) as run:
        for step in run.steps(9):
            row += step
            column += step
            if step % 2:
                row, column = data[step % 4 : step % 4 + 2], columns[:, step % 4]
            stop_after(stop, step)
    return (data.tolist(), columns.tolist()), run.last_resume


def chosen_twice_between_two_saves(directory: Path, stop: int | None) -> Any:
    """The second view may get the address that the first one had."""
    ring, at = np.zeros((5, 2)), 0
    row, kept = ring[0], [0]
    with begin(directory) as run:
        for step in run.steps(9):
            row += step + 1
            kept.append(step)
            for _ in range(2):
                at = (at + 1) % 5
                row, kept = ring[at], list(kept)
            stop_after(stop, step)
    return ring.tolist(), run.last_resume


def sorted_in_place(directory: Path, stop: int | None) -> Any:
    """The name from before the loop stays with its item, whose place changes."""
    items = [np.full(1, float(each)) for each in (3, 1, 2)]
    first, ranked = items[0], list(items)
    by_key = {"a": np.zeros(1), "b": np.ones(1)}
    watched, total = by_key["a"], 0.0
    with begin(directory) as run:
        for step in run.steps(9):
            items.append(items.pop(0))
            ranked.sort(key=lambda each: each[0] * (-1) ** step)
            by_key["a"], by_key["b"] = by_key["b"], by_key["a"]
            first += step
            ranked[0] *= 0.5
            by_key["a"] += step
            total += watched[0] * 3
            stop_after(stop, step)
    found = [[float(each[0]) for each in group] for group in (items, ranked, by_key.values())]
    return (found, total, [each is first for each in items]), run.last_resume


def inside_of_what_is_shared(directory: Path, stop: int | None) -> Any:
    """A list at three places, of which one is in another list that is at two."""
    pool: list[Any] = []
    outer: list[Any] = []
    other: list[Any] = []
    with begin(directory, {"pool": pool}) as run:
        for step in run.steps(9):
            if step == 1:
                counted = [0]
                inner = [counted]
                outer, other = [inner], [counted]
                pool.append(inner)
            if step > 1:
                other[0][0] += step
            stop_after(stop, step)
    return (pool, outer, other), run.last_resume


class Worker:
    def __init__(self, model: Any) -> None:
        self.model, self.other = model, None


def put_into_another_order(directory: Path, stop: int | None) -> Any:
    """What names them stays with them: objects of the script, and names of what was handed over."""
    models = [torch.nn.Linear(1, 1, bias=False) for _ in range(3)]
    for each in models:
        torch.nn.init.ones_(each.weight)
    arrays = [np.full(1, float(each)) for each in range(3)]
    workers, champion, first = [Worker(each) for each in models], models[0], arrays[0]
    with begin(directory, {"models": models, "arrays": arrays}) as run:
        for step in run.steps(9):
            with torch.no_grad():
                for index, each in enumerate(workers):
                    each.model.weight += index
                champion.weight *= 2
            first += step
            if step in (1, 4):
                workers.append(workers.pop(0))
                workers[0].other = models[step % 3]
            if step in (2, 5):
                models.append(models.pop(0))
                arrays.append(arrays.pop(0))
            stop_after(stop, step)
    found = [each.weight.item() for each in models], [each.item() for each in arrays]
    names = [
        [each.model is one for one in models] + [each.other is one for one in models] for each in workers
    ]
    return (*found, names, [each is champion for each in models]), run.last_resume


def halves_of_what_is_gone(directory: Path, stop: int | None) -> Any:
    """They lie in one memory, and have nothing in common."""
    mean, spread, total = torch.zeros(2), torch.zeros(2), 0.0
    with begin(directory) as run:
        for step in run.steps(9):
            total += float((mean + spread).sum())
            mean, spread = (torch.ones(2, 2) * step).chunk(2, dim=1)
            stop_after(stop, step)
    return total, run.last_resume


@pytest.mark.medium
@pytest.mark.parametrize("at", [(2,), (4,), (3, 6)], ids=str)
@pytest.mark.parametrize(
    "train",
    [
        *(last_of_all, attributes_of_an_object, handed_over_by_attributes, item_of_a_table),
        *(equal_when_it_is_chosen, twice_in_a_list, twice_in_what_was_handed_over, in_tuples),
        *(part_of_a_model, swapped_after_they_were_handed_over, weights_that_were_not_copied),
        *(views, chosen_twice_between_two_saves, halves_of_what_is_gone),
        *(sorted_in_place, inside_of_what_is_shared, put_into_another_order),
    ],
    ids=lambda each: each.__name__,
)
def test_it_is_one_object_again(train: Any, at: tuple[int, ...], tmp_path: Path):
    check_exact(train, tmp_path, *at)


def test_weights_that_a_variable_names_are_not_saved_again(tmp_path: Path):
    model, best = torch.nn.Linear(200, 200), None
    with begin(tmp_path, {"model": model}) as run:
        for step in run.steps(3):
            best = model.state_dict() if step == 1 else best
    assert best is not None
    with holdfast.open(tmp_path / "train_epoch0_batch2.ckpt.mml") as checkpoint:
        assert [leaf for leaf in leaves(checkpoint.source.tree) if leaf.path.startswith("variables")] == []


def test_memory_that_cannot_be_found_again_is_named(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        weights, part = torch.zeros(4), torch.zeros(2)
        with begin(directory, {"weights": weights}) as run:
            for step in run.steps(6):
                if step == 2:
                    part = weights.view(torch.int32)[:2]
                weights += 1
                stop_after(stop, step)
        return part.tolist(), run.last_resume

    _, (_, report) = both_ways(train, tmp_path, 4)
    assert report.verdict == "exact but for: part"


def test_what_is_not_there_any_more_leaves_what_the_script_has_made(tmp_path: Path):
    def train(directory: Path, stop: int | None, store: Any) -> Any:
        row = np.ones(2)
        with begin(directory, {"store": store}) as run:
            for step in run.steps(6):
                if step == 1:
                    row = store["w"][:2]
                row += 1
                stop_after(stop, step)
        return row, run.last_resume

    with pytest.raises(Interrupted):
        train(tmp_path, 3, {"w": np.zeros(4)})
    row, report = train(tmp_path, None, {"w": np.zeros((4, 2))[:, 0]})  # which has gaps
    assert row.tolist() == [4.0, 4.0]
    assert report.verdict.startswith("not exact: the variable")


def test_what_a_dict_by_objects_holds_and_is_elsewhere_too_is_named(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        model = torch.nn.Linear(1, 1, bias=False)
        seen: dict[Any, list[int]] = {model.weight: []}
        same = seen[model.weight]
        with begin(directory, {"model": model}) as run:
            for step in run.steps(6):
                same.append(step)
                if step == 2:
                    same = seen[model.weight] = [-1]
                stop_after(stop, step)
        return None, run.last_resume

    _, (_, report) = both_ways(train, tmp_path, 4)
    assert report.verdict == "exact but for: seen"


# --- places ---------------------------------------------------------------------------------------


def test_a_place_leads_to_what_is_there():
    inner = {"a/b": [1, {2: "x"}], 3: "y", (1, "z"): OrderedDict(k=[])}
    value = {"deep": (deque([inner]), None)}
    link = ((((("scope/v", "deep"), 0), 0), (1, "z")), "k")
    elements = elements_of(text_of(link))
    assert at(value, elements) is inner[(1, "z")]["k"]
    put_at(value, elements, "new")
    assert inner[(1, "z")]["k"] == "new"


def test_a_tuple_on_the_way_is_made_anew():
    value = ([1], [2])
    changed = put_at(value, ["%i:1"], "new")
    assert changed == ([1], "new")
    assert value == ([1], [2])


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[1, 2]", '["a"]', '["a", "b", []]', '["a", "b", [1, 2, 3]]', "\ud800", "nan"]
)
def test_what_is_no_place_is_taken_for_none(text: str):
    assert elements_of(text) in ([], ["b"])


@pytest.mark.parametrize("element", ["missing", "%i:9", "9", "%i:x", "", "__class__", "%i:-9"])
def test_what_leads_nowhere_raises(element: str):
    for value in ({"a": 1}, [1], (1,), deque([1]), torch.nn.Linear(1, 1), 3, "text"):
        with pytest.raises((LookupError, ValueError)):
            at(value, [element])


@pytest.mark.parametrize(
    "view",
    [
        [-4, [1], [4]],
        [0, [5], [4]],
        [0, [2], [16]],
        [12, [2], [4]],
        [0, [10**12], [0]],
        [0, [1 << 70], [4]],
        [0, [-1], [4]],
    ],
)
def test_a_view_reads_nothing_beside_the_array(view: list[Any]):
    found = View.read(json.dumps(["@a", "", view]))
    assert found is not None
    for base in (np.zeros(4, np.float32), torch.zeros(8)[2:6]):
        with pytest.raises(ValueError, match="another one"):
            found.make(base)


@pytest.mark.parametrize("view", [[1, [1], [8]], [0, [2], [8]], [0, [1], [3]], [0, [4], [0]]], ids=str)
@pytest.mark.parametrize(
    "base",
    [
        np.array([None, "a", [1]], object),
        np.zeros(3, [("a", "O"), ("b", "<i4")]),
        torch.zeros(4, 4)[:, :2],
        np.zeros((4, 4))[:, :2],
        [1, 2, 3],
        None,
    ],
    ids=["objects", "records of objects", "a tensor with gaps", "an array with gaps", "a list", "nothing"],
)
def test_a_view_is_put_into_dense_arrays_of_numbers_only(base: Any, view: list[Any]):
    found = View.read(json.dumps(["@a", "", view]))
    assert found is not None
    with pytest.raises(ValueError, match="another one"):
        found.make(base)


def test_what_only_lies_in_the_same_memory_does_not_overlap():
    data = torch.zeros(4, 4, dtype=torch.bfloat16)
    assert not overlap(*data.chunk(2, dim=1))
    assert overlap(data[1:], data[:2])


def test_a_part_of_what_was_handed_over_lies_in_its_memory_again(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        weights, part = np.zeros(2), np.zeros(4)
        with begin(directory, {"weights": weights}) as run:
            for step in run.steps(6):
                if step == 2:
                    part = np.lib.stride_tricks.as_strided(weights, (1,))
                weights += 1
                stop_after(stop, step)
        return part.tolist(), run.last_resume

    (expected, _), (found, report) = both_ways(train, tmp_path, 4)
    assert (found, report.verdict) == (expected, "exact")
