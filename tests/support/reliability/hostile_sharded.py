"""Bundles of several processes that somebody made up; as in `hostile_cases`. All of them must be refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from blake3 import blake3

from holdfast.storage import MemoryDisk
from tests.support.bundle_cases import files as files_of
from tests.support.crews import save_boxes
from tests.support.reliability.forging import RECORD, Files, signed


@cache
def _saved() -> Files:
    disk = MemoryDisk()
    arrays = {"rows": np.arange(24.0).reshape(6, 4), "columns": np.arange(12.0).reshape(3, 4)}
    boxes = [{"rows": ((3 * rank, 0), (3, 4)), "columns": ((0, 2 * rank), (3, 2))} for rank in range(2)]
    save_boxes(disk, boxes, arrays, own=lambda rank: np.arange(3) + rank)
    return files_of(disk, "runs/best.ckpt.mml")


class _Forgery:
    """A bundle taken apart; `sealed` makes all sizes and digests fit again."""

    def __init__(self) -> None:
        files = dict(_saved())
        self.record: Any = json.loads(files.pop(RECORD))
        del self.record["digest"]
        self.head: Any = json.loads(files.pop(self.record["tree"]["name"]))
        self.parts: list[Any] = [json.loads(files.pop(part["name"])) for part in self.record["parts"]]
        self.packs = files
        self.texts: dict[int, bytes] = {}

    @property
    def layouts(self) -> list[Any]:
        return self.head["layouts"]

    def array(self, name: str) -> dict[str, Any]:
        return self.head["tree"]["map"][name]["array"]

    def sealed(self) -> Files:
        files = dict(self.packs)
        parts = self.record.get("parts")
        entries = parts if isinstance(parts, list) else []
        for index, part in enumerate(self.parts[: len(entries)]):
            data = self.texts.get(index, _json(part))
            _seal(files, entries[index], data)
        _seal(files, self.record["tree"], _json(self.head))
        return files | {RECORD: signed(_json(self.record))}


def _seal(files: Files, entry: Any, data: bytes) -> None:
    if isinstance(entry, dict):
        entry |= {"size": len(data), "digest": blake3(data).hexdigest()}
        files[entry["name"]] = data


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def forged(*edits: Callable[[_Forgery], Any]) -> Callable[[], Files]:
    def make() -> Files:
        forgery = _Forgery()
        for edit in edits:
            edit(forgery)
        return forgery.sealed()

    return make


def sound() -> Files:
    """With nothing changed."""
    return _Forgery().sealed()


def part(index: int, **changes: Any) -> Callable[[], Files]:
    return forged(lambda f: f.parts[index].update(changes))


def layout(value: Any) -> Callable[[], Files]:
    """Another layout of `rows`."""
    return forged(lambda f: f.layouts.__setitem__(f.array("rows")["layout"], value))


def _grid(f: _Forgery) -> None:
    """An array of 2^60 items that claims a box for each of many rows, with few pieces behind them."""
    f.array("rows")["shape"] = [1 << 30, 1 << 30]
    f.layouts[f.array("rows")["layout"]] = [[0, [row, 0], [1, 1 << 30]] for row in range(4_000)]


def _many_arrays(f: _Forgery) -> None:
    """Few bytes, but many arrays with a layout of many boxes."""
    f.layouts[f.array("rows")["layout"]] = [[0, [row, col], [1, 1]] for row in range(6) for col in range(4)]
    for index in range(4_000):
        f.head["tree"]["map"][f"more{index}"] = {"array": dict(f.array("rows"))}


def _staircase(f: _Forgery) -> None:
    """A layout that takes one more round for each of its boxes to be found sound or not."""
    steps = 3000
    boxes = [[0, [i, i], [1, steps - i]] for i in range(steps)]
    boxes += [[0, [i + 1, i], [steps - 1 - i, 1]] for i in range(steps - 1)]
    f.array("rows")["shape"] = [steps, steps]
    f.layouts[f.array("rows")["layout"]] = boxes


SHARDED: dict[str, Callable[[], Files]] = {
    "boxes that overlap": layout([[0, [0, 0], [4, 4]], [1, [3, 0], [3, 4]]]),
    "boxes with a gap": layout([[0, [0, 0], [3, 4]], [1, [4, 0], [2, 4]]]),
    "boxes that reach beyond": layout([[0, [0, 0], [3, 4]], [1, [3, 0], [4, 4]]]),
    "a box before the array": layout([[0, [-3, 0], [6, 4]], [1, [3, 0], [3, 4]]]),
    "an empty box": layout([[0, [0, 0], [3, 4]], [1, [3, 0], [3, 4]], [0, [0, 0], [0, 4]]]),
    "a box of another rank": layout([[1, [0, 0], [3, 4]], [1, [3, 0], [3, 4]]]),
    "a box of no rank": layout([[0, [0, 0], [3, 4]], [2, [3, 0], [3, 4]]]),
    "a box of a negative rank": layout([[0, [0, 0], [3, 4]], [-1, [3, 0], [3, 4]]]),
    "a box of fewer axes": layout([[0, [0], [3]], [1, [3], [3]]]),
    "a box of fractions": layout([[0, [0, 0], [3, 4]], [1, [3.0, 0], [3, 4]]]),
    "a box of 2^62 rows": layout([[0, [0, 0], [1 << 62, 4]], [1, [3, 0], [3, 4]]]),
    "a layout of no boxes": layout([]),
    "a layout that is text": layout("boxes"),
    "boxes swapped": layout([[1, [0, 0], [2, 4]], [0, [2, 0], [4, 4]]]),
    "a huge array of boxes": forged(_grid),
    "many arrays of many boxes": forged(_many_arrays),
    "a staircase of boxes": forged(_staircase),
    "no such layout": forged(lambda f: f.array("rows").update(layout=7)),
    "a negative layout": forged(lambda f: f.array("rows").update(layout=-1)),
    "a layout and pieces": forged(lambda f: f.array("rows").update(pieces=[])),
    "neither layout nor pieces": forged(lambda f: f.array("rows").pop("layout")),
    "a layout in F order": forged(lambda f: f.array("rows").update(order="F")),
    "a layout with axes": forged(lambda f: f.array("rows").update(axes=[1, 0])),
    "a layout with a codec": forged(lambda f: f.array("rows").update(codec="planes+zstd")),
    "a layout of another shape": forged(lambda f: f.array("rows").update(layout=f.array("columns")["layout"])),
    "a layout of another dtype": forged(lambda f: f.array("rows").update(dtype="float32")),
    "a layout of long items": forged(lambda f: f.array("rows").update(dtype="<U2000000")),
    "layouts that are a table": forged(lambda f: f.head.update(layouts={})),
    "no layouts": forged(lambda f: f.head.pop("layouts")),
    "a head of format 1": forged(lambda f: f.head.update(format=1)),
    "a part of another save": part(1, id="f" * 32),
    "a part of another rank": part(1, rank=0),
    "a part of rank true": part(1, rank=True),
    "a part of format 1": part(1, format=1),
    "a part with more": part(1, more=[]),
    "a part without boxes": part(1, boxes=[]),
    "a part with boxes of no array": part(1, boxes=[[9, []]]),
    "a part with boxes of a negative array": part(1, boxes=[[-1, []]]),
    "a part with boxes that are numbers": part(1, boxes=[1, 2]),
    "a part with a box twice": forged(lambda f: f.parts[1]["boxes"].append(f.parts[1]["boxes"][0])),
    "a part with pieces that are text": forged(lambda f: f.parts[1]["boxes"][0].__setitem__(1, "pieces")),
    "a part with a piece in no file": forged(lambda f: f.parts[1]["boxes"][0][1][0].__setitem__(0, 5)),
    "a part with a piece too many": forged(lambda f: f.parts[1]["boxes"][0][1].append(f.parts[1]["boxes"][1][1][0])),
    "a part with a piece of another box": forged(
        lambda f: f.parts[1]["boxes"][0].__setitem__(1, f.parts[1]["boxes"][1][1])
    ),
    "a part with nothing of its own": part(1, own=[]),
    "a part with more of its own": forged(lambda f: f.parts[1]["own"].append(1)),
    "own values that are by rank": part(1, own=[{"object": {"adapter": "by rank", "type": "x", "state": None}}]),
    "own values of two kinds": part(1, own=[{"tuple": [], "map": {}}]),
    "own values of one kind and null": part(1, own=[{"tuple": [], "f": None}]),
    "a head with a node of two kinds": forged(lambda f: f.head["tree"].update(tuple=[])),
    "a head with more": forged(lambda f: f.head.update(more=[])),
    "own values with a layout": part(
        1, own=[{"array": {"dtype": "float64", "shape": [6, 4], "kind": "numpy", "layout": 0}}]
    ),
    "own values that are an alias": part(1, own=[{"alias": "rows"}]),
    "an alias of own values": forged(lambda f: f.head["tree"]["map"].__setitem__("x", {"alias": "own/0"})),
    "own values in the head": forged(
        lambda f: f.head["tree"]["map"]["own"]["object"].__setitem__("state", [1, 2])
    ),
    "a part that is a list": forged(lambda f: f.texts.__setitem__(1, b"[]")),
    "a part that is empty": forged(lambda f: f.texts.__setitem__(1, b"")),
    "a part 300 deep": part(1, own=json.loads("[" * 200 + "]" * 200) and [json.loads("[" * 260 + "]" * 260)]),
    "a part whose files are no list": part(1, files={}),
    "a part with a pack outside": forged(lambda f: f.parts[1]["files"][0].__setitem__(0, "../x.safetensors")),
    "a part with the packs of another": forged(lambda f: f.parts[1].update(files=f.parts[0]["files"])),
    "a part with a pack of another size": forged(lambda f: f.parts[1]["files"][0].__setitem__(1, 5)),
    "a part with a pack of another digest": forged(lambda f: f.parts[1]["files"][0].__setitem__(2, "0" * 64)),
    "a part with a pack twice": forged(lambda f: f.parts[1]["files"].append(f.parts[1]["files"][0])),
    "a part fewer": forged(lambda f: f.record["parts"].pop()),
    "a part twice": forged(lambda f: f.record["parts"].append(dict(f.record["parts"][0]))),
    "parts in another order": forged(lambda f: f.record["parts"].reverse(), lambda f: f.parts.reverse()),
    "no parts": forged(lambda f: f.record.update(parts=[])),
    "parts in format 1": forged(lambda f: f.record.update(format=1)),
    "parts that are text": forged(lambda f: f.record.update(parts="all")),
    "packs of another size in all": forged(lambda f: f.record["parts"][1].update(packs_size=1)),
    "a part that is a pack": forged(
        lambda f: f.record["parts"][1].update(name=f.record["parts"][1]["name"].replace("json", "safetensors"))
    ),
}  # fmt: skip
