"""A fuzzer that knows the format: it changes record, tree, header or bytes, and makes the digests fit again.

So that what it makes gets past the first checks. Everything is in memory; `Fuzzer(seed)` makes the same bundles
each time, and `bundle(n)` any one of them again.
"""

from __future__ import annotations

import collections
import datetime
import json
import random
import resource
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import holdfast
from holdfast import bundle
from holdfast.cli._output import as_json as cli_json
from holdfast.cli._output.state import state_rows
from holdfast.cli.inspect import ls, show
from holdfast.errors import HoldfastError
from holdfast.state import digest
from holdfast.storage import MemoryDisk
from tests.support.reliability.forging import Files, Forgery, files_of_state, nodes, place, put

MAX_BYTES = 1 << 20
HANG_S = 5.0
GROWTH_BYTES = 512 << 20  # of the whole process, over any number of bundles
BUNDLE = place("runs")


def arrays() -> dict[str, Any]:
    return {
        "weight": np.arange(6, dtype="float32").reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "flags": np.array([True, False]),
        "dates": np.array(["2026-01-01"], "M8[D]"),
        "texts": np.array(["ab", "c"]),
        "structured": np.array([(1, 2.0)], [("a", "<i4"), ("b", "<f8")]),
        "tensor": torch.arange(4.0).reshape(2, 2),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "scalar": np.float32(1.5),
        "none": np.zeros((0, 3)),
    }


def plain() -> dict[str, Any]:
    tied = np.arange(3)
    return {
        "numbers": [1, -2.5, True, None, 10**30, float("nan"), 1 - 2j],
        "texts": ["é", "\ud800", b"\0\xff", Path("a/b")],
        "times": [datetime.datetime(2026, 1, 2), datetime.date(2026, 1, 2), datetime.timedelta(1)],
        "nested": ({"x": (1, [2, (3,)])}, {4, "5"}, frozenset({6})),
        7: {None: 1, (1, "x"): tied, b"k": tied},
    }


def objects() -> dict[str, Any]:
    return {
        "numpy": np.random.Generator(np.random.PCG64(1)),
        "python": random.Random(1),
        "deque": collections.deque([1, 2], 5),
        "ordered": collections.OrderedDict(a=1),
        "counter": collections.Counter("aab"),
        "default": collections.defaultdict(list, a=[1]),
        "range": range(1, 5, 2),
        "buffer": bytearray(b"ab"),
        "size": torch.Size([1, 2]),
        "dtype": torch.float16,
    }


STATES = (arrays, plain, objects)
NASTY: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 64, 65, 255, 4096, 1 << 31, 1 << 32, (1 << 62) + 1, (1 << 63) - 1, -(1 << 63), 1 << 64),
    *(0.0, -0.0, 1.5, 1e308, 5e-324, "", "a", "é", "../x", "/etc/passwd", "a\0b", "\x1b[2J", "%", "a/b", "x" * 300, "0" * 32),
    *("float64", "int8", "|O", "<U0", "<U5", "|V0", "<M8[D]", "complex32", "bfloat16", "[]", '[["a","<f4"]]', '[["a","<f4",[3]]]'),
    *("numpy", "torch", "scalar", "bytes", "F", "C", "F32", "U8", "collections.deque", "collection", "random.Random"),
    *([], {}, [[]], [1, 2], [0, 0], [1 << 62], {"a": 1}, {"map": {}}, {"tuple": []}, {"set": [1]}, {"dict": [[1, 2]]}),
    *({"i": "9" * 30}, {"f": "7ff8000000000000"}, {"s": "edb0"}, {"bytes": "AA=="}, {"alias": "weight"}, {"path": "x"}),
    *({"complex": [1.0, 2.0]}, {"timedelta": [1, 2, 3]}, {"datetime": "2026-01-01"}, {"date": "2026-01-01"}, {"time": "01:02"}),
    {"array": {"dtype": "int8", "shape": [0], "kind": "numpy", "pieces": []}},
    {"object": {"adapter": "collection", "type": "collections.deque", "state": [1], "about": {"maxlen": 1}}},
)  # fmt: skip
PARTS = ("record", "tree", "header")
TEXTS = [json.dumps(value) for value in NASTY]
BYTES = b'"{}[]:,\\0189-.eE+ntf/%\x00\x1b\xff\xc3 '


class Fuzzer:
    """Mutated bundles, and what is done to each."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._bases = [Forgery(files_of_state(make())) for make in STATES]
        self._texts = [
            {part: json.dumps(getattr(base, part)).replace(base.record["id"], "a" * 32) for part in PARTS}
            for base in self._bases
        ]  # with the same ids each time

    def bundle(self, number: int) -> Files:
        """The files of bundle `number`."""
        draw = random.Random(self._seed * 1_000_003 + number)
        which = draw.randrange(len(self._bases))
        forged = Forgery.__new__(Forgery)
        forged.data, forged.text = self._bases[which].data, {}
        for part, text in self._texts[which].items():
            setattr(forged, part, json.loads(text))
        for _ in range(draw.choice((1, 1, 1, 2, 2, 3, 6))):
            part = draw.choice(("tree", "tree", "tree", "record", "header", "data"))
            if part == "data":
                forged.data = _bytes_mutated(forged.data, draw)
            elif draw.random() < 0.3:
                text = (
                    forged.text.get(part) or json.dumps(getattr(forged, part), separators=(",", ":")).encode()
                )
                forged.text[part] = _bytes_mutated(text, draw)
            else:
                setattr(forged, part, _mutated(getattr(forged, part), draw))
        files = forged.sealed()
        if draw.random() < 0.1:  # after the digests
            name = draw.choice([*files])
            files[name] = _bytes_mutated(files[name], draw)
        return files

    def run(self, first: int, last: int) -> collections.Counter[str]:
        """Read bundles `first` to `last - 1` in every way; counts what became of them.

        AssertionError: an exception that is not the library's, or a hang; the message tells which bundle.
        """
        outcomes: collections.Counter[str] = collections.Counter()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with mock.patch("holdfast.bundle._open._ATTEMPTS", 1):  # nobody overwrites these
            for number in range(first, last):
                began_s = time.process_time()
                try:
                    outcomes[read_all(self.bundle(number), listed=number % 4 == 0)] += 1
                except Exception as err:
                    raise AssertionError(
                        f"bundle {number} of seed {self._seed}: {type(err).__name__}: {err}"
                    ) from err
                assert time.process_time() - began_s < HANG_S, (
                    f"bundle {number} of seed {self._seed} takes too long"
                )
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        assert grown < GROWTH_BYTES, f"memory grew by {grown:,} bytes"
        return outcomes


def read_all(files: Files, *, listed: bool = True) -> str:
    """Do to a bundle all that can be done; what became of it: "loaded", or the first error.

    `listed`: scan for it and show its record too, which takes as long as all the rest.
    """
    disk = put(MemoryDisk(), BUNDLE, files)
    for found in bundle.scan(disk, "runs") if listed else ():
        ls._rows("runs", [found], 0.0)
        if found.record:
            list(show._facts(found.record, pinned=False))
            cli_json.dumps(cli_json.of_record(found.record))
    try:
        with holdfast.open(BUNDLE, disk=disk, max_bytes=MAX_BYTES) as checkpoint:
            tree = checkpoint.tree()
            for each in checkpoint.verify(deep=True):
                str(each)
            for cells in state_rows(tree, None, None):
                assert all(text.isprintable() for text, _ in cells)
            outcome = ""
            for act in (
                checkpoint.load,
                lambda: [checkpoint[leaf.path] for leaf in checkpoint.leaves()],
                lambda: digest(checkpoint.source),
                lambda: checkpoint.restore(live(tree), strict=False),
            ):
                try:
                    act()
                except HoldfastError as err:
                    outcome = outcome or type(err).__name__
            return outcome or "loaded"
    except HoldfastError as err:
        str(err)
        return type(err).__name__


def live(tree: Any) -> dict[str, Any]:
    """Objects for the state that was mutated, as far as it can still be recognised."""
    if isinstance(tree, dict):
        for make in STATES:
            fresh = {key: value for key, value in make().items() if isinstance(key, str)}
            if fresh.keys() & tree.keys():
                return fresh
    return {}


def _nasty(draw: random.Random) -> Any:
    return json.loads(draw.choice(TEXTS))  # anew, because what is put in may be mutated again


def _mutated(value: Any, draw: random.Random) -> Any:
    """A JSON value with one change somewhere."""
    found = draw.choice([*nodes(value)] or [None])
    if not found:
        return _nasty(draw)
    key = draw.choice([*found]) if isinstance(found, dict) else draw.randrange(len(found))
    match draw.randrange(8):
        case 0 | 1:
            found[key] = _nasty(draw)
        case 2:
            del found[key]
        case 3:
            found[key] = _perturbed(found[key], draw)
        case 4 if isinstance(found, dict):
            found[draw.choice(("a", "", "order", "about", "__metadata__", "map", "x" * 40))] = _nasty(draw)
        case 4:
            found.insert(key, _nasty(draw))
        case 5 if isinstance(found, dict):  # another name for the same
            found[str(_perturbed(key, draw))] = found.pop(key)
        case 5:
            found += found[: draw.randrange(1, 4)]
        case 6:
            other = draw.choice([*nodes(value)])
            found[key] = json.loads(json.dumps(other))
        case _:
            other = draw.choice([*nodes(value)])
            there = (
                draw.choice([*other] if isinstance(other, dict) else [*range(len(other))] or [0])
                if other
                else None
            )
            if there is not None:
                found[key], other[there] = json.loads(json.dumps([other[there], found[key]]))
    return value


def _perturbed(value: Any, draw: random.Random) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return draw.choice(
                (value + 1, value - 1, -value, value * 2, value // 2, 1 << draw.randrange(70), float(value))
            )
        case float():
            return draw.choice((-value, value * 1e300, int(value) if abs(value) < 1e18 else 0))
        case str() if value:
            at = draw.randrange(len(value))
            return draw.choice(
                (value[:at], value[at:], value[:at] + draw.choice("0af/%~.\0é[") + value[at + 1 :], value * 2)
            )
        case list():
            return draw.choice((value[::-1], value[1:], value * 2))
        case _:
            return _nasty(draw)


def _bytes_mutated(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data) + 1)
    end = min(len(data), at + draw.choice((1, 1, 2, 8, 100)))
    match draw.randrange(6):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[end:]
        case 2:
            return data[:at] + data[at:end] * draw.choice((2, 3, 50)) + data[end:]
        case 3:
            return data[:at] + bytes([draw.choice(BYTES)]) + data[at:]
        case 4 if at < len(data):
            return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]
        case _:
            return data[:at] + bytes([draw.choice(BYTES)]) + data[at + 1 :]
