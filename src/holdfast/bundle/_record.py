"""`checkpoint.json`: written last, ends with the digest of every byte before it.

A record that is empty, cut, malformed or of another digest makes its bundle *damaged*; the one of a
newer format version is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from math import isfinite
from typing import Any

from blake3 import blake3

from ..errors import CheckpointDamagedError, FormatVersionError, UsageError
from ..records import CheckpointRecord, FileEntry, Moment
from . import _json
from ._names import is_data_file, is_id, is_name
from ._numbers import decode_float, encode_float, from_bits

FORMAT_VERSION = 1
MAX_RECORD_BYTES = 16 << 20
MAX_FILES = 4096
MAX_KEYS = 50_000  # four thousand packs have three each
_DIGEST = re.compile(rb',"digest":"([0-9a-f]{64})"\}\Z')
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_TEXT = 65536


def encode_record(record: CheckpointRecord) -> bytes:
    """The bytes of `checkpoint.json`.

    Raises:
        UsageError: readers would refuse it: a text is too long, or has lone surrogates.
    """
    try:
        data = _encode(record)
        decode_record(data, record.name)
    except (CheckpointDamagedError, UnicodeError, TypeError) as err:
        raise UsageError(f"checkpoint {record.name!r} cannot be saved: {err}") from None
    return data


def _encode(record: CheckpointRecord) -> bytes:
    content = {
        "format": FORMAT_VERSION,
        "id": record.id,
        "name": record.name,
        "kind": record.kind,
        "run": record.run,
        "seq": record.seq,
        "created": record.created,
        "parent": record.parent,
        "moment": {
            "hook": record.moment.hook,
            "phase": record.moment.phase,
            "epoch": record.moment.epoch,
            "batch": record.moment.batch,
            "step": record.moment.step,
        },
        "reason": record.reason,
        "metrics": {name: encode_float(value) for name, value in record.metrics.items()},
        "durability": record.durability,
        "versions": dict(record.versions),
        "environment": dict(record.environment),
        "commit": record.commit,
        "blocked_s": record.blocked_s,
        "bytes_captured": record.bytes_captured,
        "bytes_written": record.bytes_written,
        "bytes_shared": record.bytes_shared,
        "tree": _encode_file(record.tree),
        "packs": [_encode_file(pack) for pack in record.packs],
    }
    if record.details:
        content["details"] = _encode_plain(record.details)
    body = _json.encode(content)[:-1]
    return body + b',"digest":"%s"}' % blake3(body).hexdigest().encode()


def decode_record(data: bytes, place: str) -> CheckpointRecord:
    """The record in `data`; `place` is named in errors.

    Raises:
        CheckpointDamagedError: it is not what was written.
        FormatVersionError: it is of a newer format.
    """
    found = _DIGEST.search(data)
    if not found:
        what = (
            "its record is empty"
            if not data.strip()
            else "its record is cut or foreign: it has no digest at its end"
        )
        raise CheckpointDamagedError(place, what)
    if blake3(data[: found.start()]).hexdigest().encode() != found[1]:
        raise CheckpointDamagedError(place, "its record has another digest than it says")
    try:
        content = _json.decode(data, accept=lambda _, keys: keys <= MAX_KEYS)
        version = content.get("format")
        if type(version) is int and version > FORMAT_VERSION:
            raise FormatVersionError(place, version, FORMAT_VERSION)
        return _build(content)
    except (ValueError, TypeError, AttributeError) as err:
        raise CheckpointDamagedError(place, f"its record is malformed ({err})") from None


def _encode_file(entry: FileEntry) -> dict[str, Any]:
    return {field.name: getattr(entry, field.name) for field in fields(FileEntry)}


def _build(content: dict[str, Any]) -> CheckpointRecord:
    take = _Taker(content)
    if take("format", int) != FORMAT_VERSION:
        raise ValueError("format is not a version")
    moment = _Taker(take("moment", dict))
    record = CheckpointRecord(
        id=take("id", str, is_id),
        name=take("name", str, is_name),
        kind=take("kind", str, lambda kind: kind in ("train", "experiment")),
        moment=Moment(
            run=take("run", str),
            hook=moment("hook", str),
            phase=moment("phase", str | None),
            epoch=moment("epoch", int | None, _is_count),
            batch=moment("batch", int | None, _is_count),
            step=moment("step", int, _is_count),
        ),
        seq=take("seq", int, _is_count),
        created=take("created", str),
        parent=take("parent", str | None, lambda parent: parent is None or is_id(parent)),
        reason=take("reason", str),
        metrics={name: decode_float(value) for name, value in take("metrics", dict).items()},
        durability=take("durability", str, lambda durability: durability in ("full", "process")),  # type: ignore[arg-type]
        versions=_texts(take("versions", dict)),
        environment=_texts(take("environment", dict)),
        commit=take("commit", str | None),
        blocked_s=float(take("blocked_s", int | float, isfinite)),
        bytes_captured=take("bytes_captured", int, _is_count),
        bytes_written=take("bytes_written", int, _is_count),
        bytes_shared=take("bytes_shared", int, _is_count),
        tree=_file(take("tree", dict), suffix=".json"),
        packs=tuple(
            _file(pack, suffix=".safetensors")
            for pack in take("packs", list, lambda packs: len(packs) <= MAX_FILES)
        ),
        details=_decode_plain(take("details", dict)) if "details" in content else {},
    )
    moment.finish()
    take("digest", str)
    take.finish()
    names = [record.tree.name, *(pack.name for pack in record.packs)]
    if len(set(names)) != len(names):
        raise ValueError("a file is named twice")
    return record


def _file(content: Any, suffix: str) -> FileEntry:
    take = _Taker(content)
    entry = FileEntry(
        take("name", str, lambda name: is_data_file(name) and name.endswith(suffix)),
        take("size", int, _is_count),
        take("digest", str, lambda digest: bool(_HEX_DIGEST.fullmatch(digest))),
    )
    take.finish()
    return entry


def _texts(content: dict[str, Any]) -> dict[str, str]:
    if not all(type(value) is str for value in content.values()):
        raise ValueError("a text was expected")
    return content


def _encode_plain(value: Any) -> Any:
    match value:
        case float():
            return encode_float(value)
        case list() | tuple():
            return [_encode_plain(each) for each in value]
        case Mapping():
            return {key: _encode_plain(each) for key, each in value.items()}
        case None | bool() | int() | str():
            return value
        case _:
            raise TypeError(f"details hold a {type(value).__name__}, which is no plain data")


def _decode_plain(content: Any) -> Any:
    match content:
        case {"f": bits} if len(content) == 1:
            return from_bits(bits)
        case dict():
            return {key: _decode_plain(each) for key, each in content.items()}
        case list():
            return [_decode_plain(each) for each in content]
        case _:
            return content


def _is_count(value: int | None) -> bool:
    return value is None or value >= 0


class _Taker:
    """Takes typed fields out of a decoded object, and knows what nobody took."""

    def __init__(self, content: Any) -> None:
        if type(content) is not dict:
            raise ValueError("an object was expected")
        self._rest = dict(content)

    def __call__(self, name: str, kind: Any, accept: Callable[[Any], bool] = lambda value: True) -> Any:
        if name not in self._rest:
            raise ValueError(f"{name} is missing")
        value = self._rest.pop(name)
        if isinstance(value, bool) or not isinstance(value, kind):
            raise ValueError(f"{name} has the wrong type")
        if isinstance(value, str) and len(value) > _MAX_TEXT:
            raise ValueError(f"{name} is too long")
        if not accept(value):
            raise ValueError(f"{name} has no meaning")
        return value

    def finish(self) -> None:
        if self._rest:
            raise ValueError(f"unknown field {min(self._rest)!r}")
