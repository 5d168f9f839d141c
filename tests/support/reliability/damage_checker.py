"""Judges damage: whatever becomes of the files of a bundle, it is found, and by the guard that is meant to find it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec
import numpy as np
from blake3 import blake3
from xxhash import xxh3_128_hexdigest

from holdfast import bundle
from holdfast.bundle._format.names import RECORD
from holdfast.bundle._format.record import encode_record
from holdfast.bundle._format.tree_text import encode_tree
from holdfast.errors import CheckpointDamagedError, DamagedError, PieceDamagedError
from holdfast.records import CheckpointRecord
from holdfast.state import capture
from holdfast.storage import MemoryDisk
from tests.support.reliability.lives import BEST, FOLDER, LAST, Saver, draft, read, read_file

Files = dict[str, bytes]
SMALL = {
    "weight": np.arange(700.0),
    "bias": np.arange(5) + 0.5,
    "count": np.arange(5),
    "step": 3,
    "note": "é",
}


def check_damage(stride: int) -> int:
    """Judge a bit flipped in every so-many-th byte, and what else may happen to files; how many were judged."""
    record, files = _saved()
    assert not _is_found(files, deep=True)
    judged = 0
    for damaged in _flips(files, stride):
        judged += 1
        assert _is_found(damaged)
    for damaged in _cut_or_gone(files):
        judged += 1
        assert _is_refused_at_once(damaged)
    assert _is_found(_with_another_header(record, files))
    forged = _with_a_fitting_xxh3(record, files)
    assert _is_found(forged, deep=True)
    assert not _is_found(forged)
    _check_that_a_cut_pack_is_not_shared()
    return judged + 3


def _saved() -> tuple[CheckpointRecord, Files]:
    disk = MemoryDisk()
    record = bundle.save(disk, FOLDER, draft("best", 1), capture(SMALL), bundle.Sharing())
    with disk.open_directory(BEST) as inside:
        return record, {name: read_file(inside, name) for name in sorted(inside.names())}


def _disk_of(files: Files) -> MemoryDisk:
    disk = MemoryDisk()
    bundle.make_directories(disk, BEST)
    with disk.open_directory(BEST) as inside:
        for name, data in files.items():
            inside.create(name).write(data)
    return disk


def _flips(files: Files, stride: int) -> Iterator[Files]:
    for name, data in files.items():
        for at in range(0, len(data), stride):
            flipped = bytearray(data)
            flipped[at] ^= 1 << (at // stride) % 8
            yield files | {name: bytes(flipped)}
    pack = next(name for name in files if name.endswith(".safetensors"))
    huge = bytearray(files[pack])
    huge[6] ^= 1  # a header of 2^48 bytes
    yield files | {pack: bytes(huge)}


def _cut_or_gone(files: Files) -> Iterator[Files]:
    for name, data in files.items():
        if name != RECORD:
            yield {other: content for other, content in files.items() if other != name}
        for length in range(0, len(data), 1 + len(data) // 20):
            yield files | {name: data[:length]}
        yield files | {name: data + b"\0"}


def _with_another_header(record: CheckpointRecord, files: Files) -> Files:
    pack = record.packs[0].name
    return files | {pack: files[pack].replace(b'"dtype":"F64"', b'"dtype":"I64"', 1)}


def _with_a_fitting_xxh3(record: CheckpointRecord, files: Files) -> Files:
    """As after a collision of the quick digest: only the long one tells."""
    with bundle.Bundle(_disk_of(files), BEST) as opened:
        stored = opened.stored
    [piece] = stored.pieces["bias"]
    data = bytearray(files[piece.file])
    at = data.index(SMALL["bias"].tobytes())
    data[at] ^= 1
    size = SMALL["bias"].nbytes
    forged = replace(
        stored,
        pieces=dict(stored.pieces)
        | {"bias": [msgspec.structs.replace(piece, xxh3=xxh3_128_hexdigest(data[at : at + size]))]},
    )
    tree = encode_tree(forged)
    entry = replace(record.tree, size=len(tree), digest=blake3(tree).hexdigest())
    changed = encode_record(replace(record, tree=entry))
    return files | {piece.file: bytes(data), entry.name: tree, RECORD: changed}


def _is_found(files: Files, *, deep: bool = False) -> bool:
    try:
        with bundle.Bundle(_disk_of(files), BEST) as opened:
            is_damaged = bool([*opened.problems(deep=deep)])
            assert deep or is_damaged == _is_found_in_reading(opened)
            return is_damaged
    except DamagedError:
        return True


def _is_found_in_reading(opened: bundle.Bundle) -> bool:
    """Whether it is when all arrays are read together."""
    try:
        opened.read_all([(leaf, np.empty(leaf.size_bytes, np.uint8)) for leaf in opened.stored.leaves])
    except PieceDamagedError:
        return True
    return False


def _is_refused_at_once(files: Files) -> bool:
    """When it is opened, before anything is read of it."""
    try:
        bundle.Bundle(_disk_of(files), BEST).close()
    except CheckpointDamagedError:
        return True
    return False


def _check_that_a_cut_pack_is_not_shared() -> None:
    disk = MemoryDisk()
    saver = Saver(disk)
    saver.save(1)
    with disk.open_directory(BEST) as inside:
        pack = next(name for name in inside.names() if name.endswith(".safetensors"))
        data = read_file(inside, pack)
        inside.unlink(pack)
        inside.create(pack).write(data[:-1])
    saver.save(2, LAST)
    assert read(disk, LAST) == 2
