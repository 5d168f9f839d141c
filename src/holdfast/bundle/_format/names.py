"""The names that occur on disk. Whatever matches none of them is not ours and is left alone."""

from __future__ import annotations

import re
import secrets

SUFFIX = ".ckpt.mml"
RECORD = "checkpoint.json"
OWNER = "owner"
PINNED = "pinned"

_DATA_FILE = re.compile(r"[0-9a-f]{32}(\.\d{1,9})?\.(json|safetensors)")
_NAME = re.compile("[^/\\\\:\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_MAX_NAME_BYTES = 200
_IN_PROGRESS = re.compile(r"\.(?P<name>.+)\.(?P<id>[0-9a-f]{32})\.(?P<kind>part|aside|trash)")
# What an overwrite of `id` puts into a bundle before (or beside) the files that its record names.
_OVERWRITE = re.compile(
    r"checkpoint\.json\.(?P<record>[0-9a-f]{32})"
    r"|(?P<file>[0-9a-f]{32})(?:\.owner|(?:\.\d{1,9})?\.json|\.\d{1,9}\.safetensors)"
)


def new_id() -> str:
    """128 random bits in hex."""
    return secrets.token_hex(16)


def is_name(text: str) -> bool:
    """Whether a record may give its checkpoint this name: one that a directory can have, on one line."""
    return _NAME.fullmatch(text) is not None and len(text.encode()) <= _MAX_NAME_BYTES


def is_data_file(name: str) -> bool:
    """Whether a record may name this file."""
    return _DATA_FILE.fullmatch(name) is not None


def bundle_path(directory: str, name: str) -> str:
    return f"{name}{SUFFIX}" if directory == "." else f"{directory}/{name}{SUFFIX}"  # as a user would type it


def part_path(directory: str, name: str, id: str) -> str:
    """Where a new checkpoint is built before it gets its name."""
    return f"{directory}/.{name}.{id}.part"


def aside_path(directory: str, name: str, id: str) -> str:
    """Where a bundle waits until it is known to be the checkpoint `id`, which is to be deleted."""
    return f"{directory}/.{name}.{id}.aside"


def pinned_name(name: str, id: str) -> str:
    """The new name of the pinned checkpoint `id` when another is saved under its name."""
    return f"{name}.pinned-{id[:12]}"


def replaced_name(name: str, id: str) -> str:
    """The new name of the checkpoint `id` until several processes have saved another under its name."""
    return f"{name}.replaced-{id[:12]}"


def trash_path(directory: str, name: str, id: str) -> str:
    """Where a bundle goes when its deletion has been decided."""
    return f"{directory}/.{name}.{id}.trash"


def in_progress(entry: str) -> tuple[str, str, str] | None:
    """`(name, id, "part" | "aside" | "trash")` if a directory entry is an unfinished save or deletion."""
    found = _IN_PROGRESS.fullmatch(entry)
    return (found["name"], found["id"], found["kind"]) if found else None


def tree_file(id: str) -> str:
    return f"{id}.json"


def pack_file(id: str, number: int) -> str:
    return f"{id}.{number}.safetensors"


def part_file(id: str, rank: int) -> str:
    """What the process of this rank wrote, of a checkpoint that several save together."""
    return f"{id}.{rank}.json"


def first_pack_of(rank: int) -> int:
    """The number of the first pack of a part: no other process uses one from here on up to that of the next rank."""
    return 100_000 + 1000 * rank


def new_record(id: str) -> str:
    """A record that is about to replace the one of its bundle."""
    return f"{RECORD}.{id}"


def overwrite_owner(id: str) -> str:
    return f"{id}.owner"


def overwrite_id(entry: str) -> str | None:
    """The id of the save that put this entry into a bundle; None for the record and for files that are not ours."""
    found = _OVERWRITE.fullmatch(entry)
    return (found["record"] or found["file"]) if found else None
