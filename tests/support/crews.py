"""Crews within one process: a thread for each rank, and messages in a dict."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.bundle import Bundle, save_together
from holdfast.crew import Crew
from holdfast.errors import CheckpointDamagedError
from holdfast.records import Box, CheckpointRecord, FileEntry, Leaf, Moment, Range, leaves
from holdfast.storage import LocalDisk, Storage


class DictBoard:
    """Messages of all ranks of a process."""

    def __init__(self) -> None:
        self.messages: dict[str, bytes] = {}

    def tell(self, key: str, data: bytes) -> None:
        self.messages[key] = data

    def look(self, keys: Sequence[str]) -> dict[str, bytes]:
        return {key: self.messages[key] for key in keys if key in self.messages}

    def forget(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.messages.pop(key, None)


def together(
    act: Callable[[Crew], Any], size: int, *, timeout_s: float = 20.0, board: Any = None
) -> list[Any]:
    """What `act` returns or raises on each rank."""
    board = board or DictBoard()
    results: list[Any] = [None] * size

    def run(rank: int) -> None:
        try:
            results[rank] = act(Crew(rank, size, board, timeout_s=timeout_s))
        except Exception as err:
            results[rank] = err

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return results


class Captured:
    """A `records.Snapshot` of arrays by path."""

    is_live, in_place = False, True

    def __init__(self, tree: Any, arrays: dict[str, np.ndarray]) -> None:
        self.tree = tree
        self._data = {
            leaf.path: np.ascontiguousarray(arrays[leaf.path]).reshape(-1).view(np.uint8).data
            for leaf in leaves(tree)
            if leaf.size_bytes
        }

    def seal(self) -> None: ...

    def pieces(self, wanted: Sequence[Range]) -> list[memoryview]:
        return [self._data[each.leaf.path][each.start : each.start + each.size] for each in wanted]

    def extent(self, wanted: Sequence[Range]) -> None:
        """They lie apart."""


def box_of(
    path: str, array: np.ndarray, offset: Sequence[int], shape: Sequence[int]
) -> tuple[Box, np.ndarray]:
    """What a rank holds of an array."""
    part = array[tuple(slice(o, o + s) for o, s in zip(offset, shape, strict=True))]
    return (
        Box(path, str(array.dtype), tuple(shape), kind="numpy", of=array.shape, offset=tuple(offset)),
        part,
    )


def leaf_of(path: str, array: np.ndarray) -> Leaf:
    return Leaf(path, str(array.dtype), array.shape)


def draft(name: str) -> CheckpointRecord:
    return CheckpointRecord(
        id="0" * 32, name=name, kind="train", moment=Moment(run="r" * 8, hook="save"), seq=0,
        created="2026-01-01T00:00:00.000000+00:00", tree=FileEntry("", 0, ""), packs=(),
    )  # fmt: skip


def save_boxes(
    disk: Storage,
    boxes: Sequence[dict[str, tuple[Sequence[int], Sequence[int]]]],
    arrays: dict[str, np.ndarray],
    *,
    name: str = "best",
    own: Callable[[int], Any] | None = None,
    watching: Any = None,
    **options: Any,
) -> list[Any]:
    """Save arrays of which each rank holds these boxes (offset and shape, by path), and what `own` makes of a rank."""
    from holdfast.records import BY_RANK, Object

    def act(crew: Crew) -> CheckpointRecord:
        tree: dict[str, Any] = {"step": 7}
        parts: dict[str, np.ndarray] = {}
        for path, (offset, shape) in boxes[crew.rank].items():
            tree[path], parts[path] = box_of(path, arrays[path], offset, shape)
        if own is not None:
            mine = own(crew.rank)
            parts["own"] = mine
            tree["own"] = Object(BY_RANK, "ByRank", leaf_of("own", mine))
        more = {} if watching is None else {"watching": watching}
        return save_together(crew, disk, "runs", draft(name), lambda: Captured(tree, parts), **more)

    return together(act, len(boxes), **options)


def opened(disk: Storage, name: str = "best") -> Bundle:
    return Bundle(disk, f"runs/{name}.ckpt.mml")


def check_damaged_parts(directory: Path, stride: int) -> int:
    """Open a checkpoint of two ranks with a bit of a part flipped, in every so many bytes; returns how many were.

    Raises:
        AssertionError: one was not noticed.
    """
    disk, array = LocalDisk(str(directory)), np.arange(12.0).reshape(6, 2)
    boxes = [{"w": ((3 * rank, 0), (3, 2))} for rank in range(2)]
    for each in save_boxes(disk, boxes, {"w": array}, own=lambda rank: np.arange(4) + rank):
        assert isinstance(each, CheckpointRecord), each
    with opened(disk) as found:
        parts = [directory / "runs" / "best.ckpt.mml" / part.name for part in found.record.parts]
    assert len(parts) == 2
    count = 0
    for part in parts:
        data = part.read_bytes()
        for at in range(0, len(data), stride):
            part.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            count += 1
            try:
                with opened(disk) as found:
                    raise AssertionError(
                        f"byte {at} of {part.name} was flipped, and the tree is {found.tree}"
                    )
            except CheckpointDamagedError:
                pass
        part.write_bytes(data)
    return count
