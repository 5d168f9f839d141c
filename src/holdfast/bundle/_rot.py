"""Media rot: proof that a pack still holds what was written to it, and what this process has found rotten.

A pack is proved before it is shared again. A checkpoint may also be verified by a command, a restore, or a person at
a prompt: what is found must reach the save that is about to link the same pack, so it is recorded here for the
entire process.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

from blake3 import blake3
from xxhash import xxh3_128_hexdigest

from ..records import FileEntry
from ..storage import Directory
from ._format.pack import parse_header, read_header

_rotten: list[tuple[str, str]] = []  # only ever grows, by a few


def distrust(pack: str, digest: str) -> None:
    """Record that bytes with this digest, in the pack of this name, are wrong or cannot be read."""
    if (pack, digest) not in _rotten:
        _rotten.append((pack, digest))


def distrusted_since(number: int) -> list[tuple[str, str]]:
    """What was recorded after the first `number`."""
    return _rotten[number:]


def rot_in(directory: Directory, pack: FileEntry, expected: Mapping[str, str]) -> str | None:
    """What is wrong with a pack of `directory`, in words; None if all is well.

    `expected`: the XXH3-128 of each piece to be compared, by its key in the pack. They are read from the
    medium, one piece at a time, at the speed of the disk.
    """
    try:
        with closing(directory.open(pack.name, fresh=True)) as file:
            header = read_header(file)
            if blake3(header).hexdigest() != pack.digest:
                return "its header has another digest than recorded"
            spans = parse_header(header, file.size)
            scratch = memoryview(bytearray(max(spans[key][1] - spans[key][0] for key in expected)))
            for key, digest in expected.items():
                start, end = spans[key]
                data = scratch[: end - start]
                file.read_into(start, data)
                if xxh3_128_hexdigest(data) != digest:
                    return f"{key} has another digest than recorded"
    except (OSError, EOFError, ValueError, KeyError) as err:
        return f"it cannot be read: {err}"
    return None
