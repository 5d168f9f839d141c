"""`checkpoint.json`: written last, ends with the digest of every byte before it.

A record that is empty, cut, malformed or of another digest makes its bundle *damaged*; the one of a
newer format version is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from blake3 import blake3
from msgspec import UNSET, Meta, UnsetType

from ...errors import CheckpointDamagedError, FormatVersionError, UsageError
from ...records import CheckpointRecord, FileEntry, Moment, PartEntry
from . import strict_json
from .names import is_data_file, is_name
from .numbers import decode_float, encode_float, from_bits

FORMAT_VERSION = 2
"""The newest that is read; 2 is written only of checkpoints that have parts."""
MAX_RECORD_BYTES = 16 << 20
MAX_FILES = 4096
MAX_KEYS = 50_000  # four thousand packs have three each
MAX_PARTS = 65_536
MAX_KEYS_WITH_PARTS = 400_000
_DIGEST = re.compile(rb',"digest":"([0-9a-f]{64})"\}')
_DIGEST_BYTES = len(b',"digest":""}') + 64

_Text = Annotated[str, Meta(max_length=65536)]
_Count = Annotated[int, Meta(ge=0)]
_Id = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]


class _Strict(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Objects of `checkpoint.json`, as docs/format.md section 3 has them."""


class _File(_Strict):
    name: _Text
    size: _Count
    digest: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]

    def entry(self, suffix: str) -> FileEntry:
        if not is_data_file(self.name) or not self.name.endswith(suffix):
            raise ValueError(f"a file is named {self.name!r}")
        return FileEntry(self.name, self.size, self.digest)


class _Part(_File):
    packs_size: _Count

    def part(self) -> PartEntry:
        entry = self.entry(".json")
        return PartEntry(entry.name, entry.size, entry.digest, self.packs_size)


class _Moment(_Strict):
    hook: _Text
    phase: _Text | None
    epoch: _Count | None
    batch: _Count | None
    step: _Count


class _Content(_Strict):
    format: Literal[1, 2]
    id: _Id
    name: _Text
    kind: Literal["train", "experiment"]
    run: _Text
    seq: _Count
    created: _Text
    parent: _Id | None
    moment: _Moment
    reason: _Text
    metrics: dict[str, Any]
    durability: Literal["full", "process"]
    versions: dict[str, str]
    environment: dict[str, str]
    commit: _Text | None
    blocked_s: float
    bytes_captured: _Count
    bytes_written: _Count
    bytes_shared: _Count
    tree: _File
    packs: Annotated[list[_File], Meta(max_length=MAX_FILES)]
    digest: str
    parts: Annotated[list[_Part], Meta(min_length=1, max_length=MAX_PARTS)] | UnsetType = UNSET
    details: dict[str, Any] | UnsetType = UNSET


# What the file and the record have in common, `run` being its moment's.
_FIELDS = tuple(
    name for name in _Content.__struct_fields__ if name not in ("format", "digest", "details", "parts")
)


def encode_record(record: CheckpointRecord) -> bytes:
    """The bytes of `checkpoint.json`.

    Raises:
        UsageError: readers would refuse it: a string is too long, or its details are no plain data.
    """
    try:
        data = _encode(record)
        decode_record(data, record.name)
    except (CheckpointDamagedError, OverflowError, TypeError) as err:
        raise UsageError(f"checkpoint {record.name!r} cannot be saved: {err}") from None
    return data


def _encode(record: CheckpointRecord) -> bytes:
    at = record.moment
    content: dict[str, Any] = {"format": 2 if record.parts else 1}
    content |= {name: getattr(record, name) for name in _FIELDS}
    content |= {
        "moment": {name: getattr(at, name) for name in _Moment.__struct_fields__},
        "metrics": {name: encode_float(value) for name, value in record.metrics.items()},
        "versions": dict(record.versions),
        "environment": dict(record.environment),
    }
    if record.parts:
        content["parts"] = record.parts
    if record.details:
        content["details"] = _encode_plain(record.details)
    try:
        body = strict_json.encode(content)[:-1]
    except UnicodeEncodeError:
        body = strict_json.encode(_storable(content))[:-1]
    return body + b',"digest":"%s"}' % blake3(body).hexdigest().encode()


def _storable(content: Any) -> Any:
    r"""Text that is no Unicode (from the name of a file that is not UTF-8, say) as it is shown: `caf\udce9`."""
    match content:
        case str():
            return content.encode(errors="backslashreplace").decode()
        case dict():
            return {_storable(key): _storable(value) for key, value in content.items()}
        case list() | tuple():
            return [_storable(each) for each in content]
    return content


def decode_record(data: bytes, place: str) -> CheckpointRecord:
    """The record in `data`; `place` is named in errors.

    Raises:
        CheckpointDamagedError: it is not what was written.
        FormatVersionError: it is of a newer format.
    """
    found = _DIGEST.fullmatch(data, max(0, len(data) - _DIGEST_BYTES))
    if not found:
        what = "cut or foreign: it has no digest at its end" if data.strip() else "empty"
        raise CheckpointDamagedError(place, f"its record is {what}")
    if blake3(data[: found.start()]).hexdigest().encode() != found[1]:
        raise CheckpointDamagedError(place, "its record has another digest than it says")
    try:
        content = strict_json.decode(data, accept=lambda _, keys: keys <= MAX_KEYS_WITH_PARTS)
        version = content.get("format")
        if version == 1 and data.count(b":") > MAX_KEYS and strict_json.num_keys(data) > MAX_KEYS:
            raise ValueError("it has too many keys")
        if type(version) is int and version > FORMAT_VERSION:
            raise FormatVersionError(place, version, FORMAT_VERSION)
        return _build(content)
    except (ValueError, TypeError, AttributeError, msgspec.ValidationError) as err:
        raise CheckpointDamagedError(place, f"its record is malformed ({err})") from None


def _build(content: dict[str, Any]) -> CheckpointRecord:
    found = msgspec.convert(content, _Content)
    if not is_name(found.name):
        raise ValueError(f"it names its checkpoint {found.name!r}")
    tree, packs = found.tree.entry(".json"), tuple(pack.entry(".safetensors") for pack in found.packs)
    parts = () if found.parts is UNSET else tuple(part.part() for part in found.parts)
    if bool(parts) != (found.format == 2):
        raise ValueError("only format 2 has parts, and it has some")
    if len({tree.name, *(each.name for each in (*packs, *parts))}) != 1 + len(packs) + len(parts):
        raise ValueError("a file is named twice")
    facts = {name: getattr(found, name) for name in _FIELDS if name != "run"}
    facts |= {
        "moment": Moment(run=found.run, **msgspec.structs.asdict(found.moment)),
        "metrics": {name: decode_float(value) for name, value in found.metrics.items()},
        "tree": tree,
        "packs": packs,
        "parts": parts,
        "details": {} if found.details is UNSET else _decode_plain(found.details),
    }
    return CheckpointRecord(**facts)


def _encode_plain(value: Any) -> Any:
    match value:
        case float():
            return encode_float(value)
        case list() | tuple():
            return [_encode_plain(each) for each in value]
        case Mapping():
            return {_escaped(key, len(value)): _encode_plain(each) for key, each in value.items()}
        case None | bool() | int() | str():
            return value
        case _:
            raise TypeError(f"details hold a {type(value).__name__}, which is not plain data")


_LOOKS_LIKE_A_FLOAT = re.compile("%*f")


def _escaped(key: str, num_keys: int) -> str:
    """A mapping of the one key "f" would be read as a float, so it gets a mark; a marked one gets one more."""
    return f"%{key}" if num_keys == 1 and _LOOKS_LIKE_A_FLOAT.fullmatch(key) else key


def _unescaped(key: str, num_keys: int) -> str:
    return key[1:] if num_keys == 1 and _LOOKS_LIKE_A_FLOAT.fullmatch(key[1:]) else key


def _decode_plain(content: Any) -> Any:
    match content:
        case {"f": bits} if len(content) == 1:
            return from_bits(bits)
        case dict():
            return {_unescaped(key, len(content)): _decode_plain(each) for key, each in content.items()}
        case list():
            return [_decode_plain(each) for each in content]
        case _:
            return content
