"""A part: what one of several processes that save together wrote. `docs/format.md`, section 10, has the grammar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import CheckpointDamagedError
from ...records import FileEntry
from . import strict_json
from .names import is_data_file
from .record import MAX_FILES

MAX_PART_BYTES = 64 << 20
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Part:
    """`boxes` and `own` are as the file has them: what they mean, only the head says."""

    packs: tuple[FileEntry, ...]
    links: Mapping[str, int]
    boxes: Sequence[Any]
    own: Sequence[Any]

    @property
    def packs_size(self) -> int:
        return sum(pack.size for pack in self.packs)


def encode_part(
    id: str,
    rank: int,
    packs: Sequence[FileEntry],
    links: Mapping[str, int],
    boxes: Sequence[Any],
    own: bytes,
) -> bytes:
    """The bytes of the file; `own` is the text of a list of nodes.

    Raises:
        ValueError: it would be larger than readers accept.
    """
    files = strict_json.encode([[pack.name, pack.size, pack.digest, links[pack.name]] for pack in packs])
    head = b'{"format":2,"id":"%b","rank":%d,"files":%b' % (id.encode(), rank, files)
    data = b'%b,"boxes":%b,"own":%b}' % (head, strict_json.encode(boxes), own)
    if len(data) > MAX_PART_BYTES or len(packs) > MAX_FILES:
        raise ValueError(f"what rank {rank} says of its part takes {len(data)} bytes")
    return data


def decode_part(data: bytes | bytearray, place: str, id: str, rank: int) -> Part:
    """The part in `data`, which must be that of this save and rank; `place` is named in errors.

    Raises:
        CheckpointDamagedError: it breaks the format, or is another's.
    """
    try:
        content = strict_json.decode(data)
        if content.keys() != {"format", "id", "rank", "files", "boxes", "own"} or content["format"] != 2:
            raise ValueError("it is none of format 2")
        if content["id"] != id or type(content["rank"]) is not int or content["rank"] != rank:
            raise ValueError("it is of another save or rank")
        if not all(type(content[name]) is list for name in ("files", "boxes", "own")):
            raise ValueError("lists were expected")
        if len(content["files"]) > MAX_FILES:
            raise ValueError("it has too many files")
        packs = tuple(_pack(*each) for each in content["files"])
        links = {pack.name: links for pack, (*_, links) in zip(packs, content["files"], strict=True)}
        if len(links) != len(packs) or not all(type(each) is int and each >= 0 for each in links.values()):
            raise ValueError("its table of files is malformed")
        return Part(packs, links, content["boxes"], content["own"])
    except (ValueError, TypeError, AttributeError, RecursionError) as err:
        raise CheckpointDamagedError(place, f"the part of rank {rank} is malformed ({err})") from None


def _pack(name: Any, size: Any, digest: Any, _links: Any) -> FileEntry:
    is_named = type(name) is str and is_data_file(name) and name.endswith(".safetensors")
    is_sized = type(size) is int and size >= 0
    if not (is_named and is_sized and type(digest) is str and len(digest) == 64 and _HEX.issuperset(digest)):
        raise ValueError("its table of files is malformed")
    return FileEntry(name, size, digest)
