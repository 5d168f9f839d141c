"""Small real checkpoints for the tests of bundles."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from holdfast import bundle
from holdfast.records import CheckpointRecord, FileEntry, Moment
from holdfast.state import capture, digest, rebuild
from holdfast.storage import Storage

SMALL = {"weight": np.arange(12, dtype="float32").reshape(3, 4), "step": 7, "note": "é"}


def draft(name: str = "best", seq: int = 1, **facts: Any) -> CheckpointRecord:
    """A record as a session would hand it to `bundle.save`."""
    return CheckpointRecord(
        id="0" * 32,
        name=name,
        kind="train",
        moment=Moment(run="run-1", hook="epoch_end", phase="pretrain", epoch=3, step=seq),
        seq=seq,
        created="2026-01-02T03:04:05.000006+00:00",
        tree=FileEntry("", 0, ""),
        packs=(),
        **facts,
    )


def save(
    disk: Storage,
    directory: str,
    state: Any,
    *,
    name: str = "best",
    seq: int = 1,
    sharing: bundle.Sharing | None = None,
    overwrite: bool = True,
    **facts: Any,
) -> CheckpointRecord:
    return bundle.save(
        disk,
        directory,
        draft(name, seq, **facts),
        capture(state),
        bundle.Sharing() if sharing is None else sharing,
        overwrite=overwrite,
    )


def place(directory: str, name: str = "best") -> str:
    return bundle.bundle_path(directory, name)


def load(disk: Storage, path: str) -> Any:
    """The whole state of a bundle; it has been verified, twice."""
    with bundle.Bundle(disk, path) as opened:
        assert list(opened.problems(deep=True)) == []
        return rebuild(opened)


def content(disk: Storage, path: str) -> str:
    """One digest for the verified state of a bundle."""
    with bundle.Bundle(disk, path) as opened:
        assert list(opened.problems(deep=True)) == []
        return digest(opened)


def content_of(state: Any) -> str:
    return digest(capture(state))


def noise(size_bytes: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size_bytes, np.uint8)


def read_file(disk: Storage, path: str, name: str) -> bytes:
    with disk.open_directory(path) as inside:
        file = inside.open(name)
        data = bytearray(file.size)
        file.read_into(0, memoryview(data))
        file.close()
    return bytes(data)


def files(disk: Storage, path: str) -> dict[str, bytes]:
    with disk.open_directory(path) as inside:
        names = inside.names()
    return {name: read_file(disk, path, name) for name in sorted(names)}


def tree(disk: Storage, path: str) -> Any:
    """Everything below a directory, names and bytes."""
    folders = disk.folders(path)
    with disk.open_directory(path) as inside:
        others = [name for name in inside.names() if name not in folders]
    return {name: tree(disk, f"{path}/{name}") for name in folders} | {
        name: read_file(disk, path, name) for name in others
    }


def inodes(disk: Storage, path: str) -> Iterator[tuple[str, int]]:
    """Name and number of links of each file in a directory."""
    with disk.open_directory(path) as inside:
        for name in inside.names():
            yield name, inside.status(name).links


def bits(value: float) -> bytes:
    return struct.pack("<d", value)
