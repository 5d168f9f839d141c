"""Bytes that go around the page cache arrive in order, whatever sizes and addresses they come in."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from holdfast.storage import LocalDisk, WriteFile
from holdfast.storage._direct import BUFFER_BYTES, DIRECT_BYTES

PAGE = 4096
SIZES = {
    "whole pages of aligned memory": [BUFFER_BYTES, 3 * BUFFER_BYTES, BUFFER_BYTES],
    "small ones between large ones": [PAGE, BUFFER_BYTES, 100, BUFFER_BYTES, PAGE, 3 * PAGE, BUFFER_BYTES],
    "large ones that end within a page": [BUFFER_BYTES + 1, BUFFER_BYTES - 1, 2 * BUFFER_BYTES + 513, 7],
    "nothing but small ones": [3000] * 4000,
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_what_is_written_is_what_was_given(tmp_path: Path, sizes: list[int]):
    noise = np.random.default_rng(7)
    parts = []
    for size in sizes:
        memory = np.empty(size + PAGE, np.uint8)
        start = -memory.ctypes.data % PAGE
        parts.append(memory[start : start + size])
        parts[-1][:] = np.frombuffer(noise.bytes(size), np.uint8)
    with LocalDisk().open_directory(str(tmp_path)) as directory:
        file = directory.create("pack", expected_size=DIRECT_BYTES)
        file.skip(PAGE)
        for part in parts:
            file.write(part.data)
        file.fill(b"h" * PAGE)
        file.sync()
        file.close()
    found = (tmp_path / "pack").read_bytes()
    assert found == b"h" * PAGE + b"".join(part.tobytes() for part in parts)


def test_a_write_that_fails_behind_our_back_is_an_error_of_the_save(tmp_path: Path, monkeypatch):
    real, calls = os.pwrite, []

    def full_after_two(*arguments):
        calls.append(arguments)
        if len(calls) > 2:
            raise OSError(28, "no space left")
        return real(*arguments)

    with LocalDisk().open_directory(str(tmp_path)) as directory:
        file = directory.create("pack", expected_size=DIRECT_BYTES)
        monkeypatch.setattr(os, "pwrite", full_after_two)
        with pytest.raises(OSError, match="no space left"):
            write_and_sync(file, memoryview(bytes(BUFFER_BYTES)), times=6)
        file.close()


def write_and_sync(file: WriteFile, data: memoryview, *, times: int) -> None:
    for _ in range(times):
        file.write(data)
    file.sync()
