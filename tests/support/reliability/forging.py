"""Bundles as plain files: to break, to forge so that every digest fits, and to put on a disk in memory."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

from blake3 import blake3

from holdfast import bundle
from holdfast.errors import CheckpointNotFoundError, DamagedError
from holdfast.state import digest
from holdfast.storage import MemoryDisk, Storage
from tests.support import bundle_cases
from tests.support.bundle_cases import files as files_of
from tests.support.bundle_cases import place

RECORD = "checkpoint.json"
Files = dict[str, bytes]
"""The files of a bundle by name."""


save = functools.partial(bundle_cases.save, metrics={"loss": 0.25})


def files_of_state(state: Any, **options: Any) -> Files:
    """The files of a checkpoint of `state`."""
    save(disk := MemoryDisk(), "runs", state, **options)
    return files_of(disk, place("runs", options.get("name", "best")))


def put(disk: Storage, path: str, files: Files) -> Storage:
    """A directory with these files."""
    bundle.make_directories(disk, path)
    with disk.open_directory(path) as inside:
        for name, data in files.items():
            file = inside.create(name)
            file.write(data)
            file.close()
    return disk


def told(files: Files, content: str, *, deep: bool = False) -> str:
    """What is said of a bundle of these files; empty if it is sound, and then its state has that digest."""
    try:
        with bundle.Bundle(put(MemoryDisk(), place("runs"), files), place("runs")) as opened:
            for problem in opened.problems(deep=deep):
                return str(problem)
            assert digest(opened) == content, "a wrong value was handed out"
    except (DamagedError, CheckpointNotFoundError) as err:
        return str(err)
    return ""


def flipped(data: bytes, at: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    return bytes(changed)


class Forgery:
    """A bundle taken apart: change record, tree, header or data, and every digest and size is made to fit again.

    `text` holds what stands instead of the JSON of "record", "tree" or "header", or instead of the header's
    "length". A bundle of one pack.
    """

    def __init__(self, files: Files) -> None:
        self.record: Any = json.loads(files[RECORD])
        del self.record["digest"]
        self.tree: Any = json.loads(files[self.record["tree"]["name"]])
        pack = files[self.record["packs"][0]["name"]]
        start = 8 + int.from_bytes(pack[:8], "little")
        self.header: Any = json.loads(pack[8:start])
        self.data = pack[start:]
        self.text: dict[str, bytes] = {}

    @property
    def state(self) -> dict[str, Any]:
        """The nodes of the state, by name."""
        return self.tree["tree"]["map"]

    def array(self, name: str) -> dict[str, Any]:
        """What the tree says of an array."""
        return self.state[name]["array"]

    def sealed(self) -> Files:
        """The files, with sizes and digests that fit wherever there is a place for them."""
        header = self.text.get("header", _json(self.header))
        length = self.text.get("length", len(header).to_bytes(8, "little"))
        tree = self.text.get("tree", _json(self.tree))
        pack = length + header + self.data
        files: Files = {}
        record = self.record if isinstance(self.record, dict) else {}
        packs = record.get("packs")
        for entry, data, digested in (
            *((each, pack, length + header) for each in (packs if isinstance(packs, list) else ())[:1]),
            (record.get("tree"), tree, tree),
        ):
            if isinstance(entry, dict):
                entry |= {"size": len(data), "digest": blake3(digested).hexdigest()}
                if isinstance(entry.get("name"), str):
                    files[entry["name"]] = data
        return files | {RECORD: signed(self.text.get("record", _json(self.record)))}


def signed(record: bytes) -> bytes:
    """A record with the digest that it must end with."""
    body = record[:-1]
    return body + b',"digest":"%s"}' % blake3(body).hexdigest().encode()


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def nodes(value: Any) -> Iterator[Any]:
    """Every list and dict in a JSON value."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict | list):
            yield found
            waiting.extend(found.values() if isinstance(found, dict) else found)
