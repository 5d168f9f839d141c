"""Views that cannot be written follow the array that they lie in after a resume, too; what is chosen anew, and is no container, is that again."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.support.interrupted import begin, check_exact, stop_after

torch = pytest.importorskip("torch")


def never_chosen_anew(directory: Path, stop: int | None) -> Any:
    base, array, window = torch.zeros(3), np.zeros(3), np.zeros(3)
    expanded, broadcast, read_only = base.expand(2, 3), np.broadcast_to(array, (2, 3)), window.view()
    read_only.flags.writeable = False
    total = 0.0
    with begin(directory) as run:
        for step in run.steps(9):
            base += step
            array += 2 * step
            window += 3 * step
            total += float(expanded.sum()) + float(broadcast.sum()) + float(read_only.sum())
            stop_after(stop, step)
    return (total, read_only.flags.writeable), run.last_resume


def of_rows_and_chosen_anew(directory: Path, stop: int | None) -> Any:
    base = torch.zeros(3, 2)
    expanded, total = base[0].expand(4, 2), 0.0
    with begin(directory) as run:
        for step in run.steps(9):
            base += torch.arange(3.0)[:, None]
            total += float(expanded.sum())
            if step % 3 == 1:
                expanded = base[(step + 1) // 3 % 3].expand(4, 2)
            stop_after(stop, step)
    return total, run.last_resume


def of_another_library(directory: Path, stop: int | None) -> Any:
    """Arrays of NumPy that lie in the memory of tensors, and tensors that lie in that of arrays: made anew, in lists, and from before."""
    before, window = torch.zeros(2, 3), np.zeros(4)
    seen, tail = before[1].numpy(), torch.from_numpy(window)[1:]
    latest, rows, others, total = torch.zeros(1, 3), list[Any](), list[Any](), 0.0
    with begin(directory) as run:
        for step in run.steps(9):
            before += step
            window += 2 * step
            latest[0, 1] += 1
            total += float(seen.sum()) + float(tail.sum())
            total += sum(float(each.sum()) * index for index, each in enumerate([*rows, *others]))
            if step % 2 == 1:
                latest = torch.full((1, 3), float(step))
                rows.append(latest[0].numpy())
                others.append(torch.from_numpy(np.full(3, step))[1:])
            stop_after(stop, step)
    return total, run.last_resume


def of_what_has_no_name(directory: Path, stop: int | None) -> Any:
    expanded, total = torch.zeros(2, 1).expand(2, 3), 0.0
    with begin(directory) as run:
        for step in run.steps(9):
            expanded[step % 2, 0] += step
            total += float(expanded.sum())
            stop_after(stop, step)
    return total, run.last_resume


def of_one_item_of_several(directory: Path, stop: int | None) -> Any:
    """One name of each of four RNGs, tables and streams, none of which is a container."""
    draws = [np.random.default_rng(each) for each in range(4)]
    tables = [pd.DataFrame({"a": [float(each)]}) for each in range(4)]
    texts, parts = [io.StringIO() for _ in range(4)], [bytearray() for _ in range(4)]
    draw, table, text, part, total = draws[0], tables[0], texts[0], parts[0], 0.0
    with begin(directory) as run:
        for step in run.steps(9):
            table.loc[0, "a"] += step
            text.write("x")
            part.append(step)
            total += draw.random() + sum(index * each["a"].sum() for index, each in enumerate(tables))
            total += sum(index * (each.tell() + len(parts[index])) for index, each in enumerate(texts))
            if step % 3 == 1:
                index = step * 7 % 4
                draw, table, text, part = draws[index], tables[index], texts[index], parts[index]
            stop_after(stop, step)
    return total, run.last_resume


def of_a_name_that_never_changes(directory: Path, stop: int | None) -> Any:
    """The list is made anew by a resume, as its items have other places, too."""
    draws = [np.random.default_rng(each) for each in range(3)]
    first, total = draws[0], 0.0
    with begin(directory) as run:
        for step in run.steps(9):
            total += first.random() + 2 * draws[1].random()
            draws.append(draws.pop(0))
            stop_after(stop, step)
    return total, run.last_resume


class Stream:
    """An iterator of the script's own."""

    def __init__(self) -> None:
        self.at = 0

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> int:
        self.at += 1
        return self.at


def of_own_iterators(directory: Path, stop: int | None) -> Any:
    streams = [Stream() for _ in range(3)]
    current, total = streams[0], 0
    with begin(directory) as run:
        for step in run.steps(9):
            total = 3 * total + next(current)
            if step % 3 == 1:
                current = streams[(step + 1) // 3 % 3]
            stop_after(stop, step)
    return total, run.last_resume


class Arm:
    def __init__(self, factor: int) -> None:
        self.factor = factor


class Player:
    def __init__(self) -> None:
        self.arms = [Arm(each) for each in range(3)]


def of_an_attribute_that_is_first_set_in_the_loop(directory: Path, stop: int | None) -> Any:
    player, total = Player(), 0
    with begin(directory) as run:
        for step in run.steps(9):
            total += step * getattr(player, "current", player.arms[0]).factor
            if step % 3 == 1:
                player.current = player.arms[(step + 1) // 3 % 3]  # type: ignore[attr-defined]
            stop_after(stop, step)
    return total, run.last_resume


def of_a_second_name(directory: Path, stop: int | None) -> Any:
    table = np.zeros((3, 2))
    row, same, total = table[0], table[0], 0.0
    with begin(directory) as run:
        for step in run.steps(9):
            row += step
            same[0] += 1
            total += float(table[:, 0].sum() * 2 + same.sum())
            if step % 3 == 1:
                row = same = table[(step + 1) // 3 % 3]
            stop_after(stop, step)
    return total, run.last_resume


@pytest.mark.medium
@pytest.mark.parametrize("at", [(2,), (4,), (3, 6)], ids=str)
@pytest.mark.parametrize(
    "train",
    [
        *(never_chosen_anew, of_rows_and_chosen_anew, of_what_has_no_name, of_another_library),
        *(of_one_item_of_several, of_a_name_that_never_changes, of_own_iterators, of_a_second_name),
        of_an_attribute_that_is_first_set_in_the_loop,
    ],
    ids=lambda each: each.__name__,
)
def test_they_are_the_same_again(train: Any, at: tuple[int, ...], tmp_path: Path):
    check_exact(train, tmp_path, *at)
