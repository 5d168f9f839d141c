"""Bundles that somebody made up: what is wrong with each is its name. Their digests fit, where they have any.

`REFUSED` must end in an error of the library, whatever is asked of them; `LEGAL` are odd but right, and are read.
"""

from __future__ import annotations

import json
import os
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import torch
from blake3 import blake3
from xxhash import xxh3_128_hexdigest

from tests.support.reliability.forging import RECORD, Files, Forgery, files_of_state
from tests.support.reliability.hostile_sharded import SHARDED, sound

ESCAPES = "\x1b[2J\x1b]0;owned\x07\r\n\x9b31m\u202e<script>alert(1)</script>[red]"
MERSENNE = (1 << 61) - 1  # integers are hashed modulo this


def state() -> dict[str, Any]:
    """What the bundle holds before it is forged."""
    return {
        "weight": np.arange(12, dtype="float32").reshape(3, 4),
        "bias": np.arange(5.0),
        "flags": np.array([True, False, True]),
        "tensor": torch.arange(6.0).reshape(2, 3),
        "bfloat16": np.array([1.5, -0.0], ml_dtypes.bfloat16),
        "scalar": np.float32(1.5),
        "long": bytes(range(250)) * 8,
        "step": 7,
        "note": "é",
        "numbers": np.random.Generator(np.random.MT19937(1)),
        "philox": np.random.Generator(np.random.Philox(1)),
        "python": random.Random(1),
        "torch": torch.Generator().manual_seed(1),
        "buffer": bytearray(b"abc"),
        "range": range(3),
    }


def sealed(*edits: Callable[[Forgery], Any]) -> Callable[[], Files]:
    def make() -> Files:
        forgery = Forgery(files_of_state(state()))
        for edit in edits:
            edit(forgery)
        return forgery.sealed()

    return make


def text(part: str, data: bytes) -> Callable[[], Files]:
    return sealed(lambda f: f.text.__setitem__(part, data))


def record(**changes: Any) -> Callable[[], Files]:
    return sealed(lambda f: f.record.update(changes))


def node(value: Any, name: str = "x") -> Callable[[], Files]:
    """A node more in the state."""
    return sealed(lambda f: f.state.__setitem__(name, value))


def array(name: str, **changes: Any) -> Callable[[], Files]:
    return sealed(lambda f: f.array(name).update(changes))


def entry(**changes: Any) -> Callable[[], Files]:
    """Another entry for `bias` in the pack's table."""
    return sealed(lambda f: f.header["bias"].update(changes))


def piece(at: int, value: Any) -> Callable[[], Files]:
    return sealed(lambda f: f.array("bias")["pieces"][0].__setitem__(at, value))


def raw(change: Callable[[Files], Any]) -> Callable[[], Files]:
    """Files as they are saved, and then changed: digests do not fit."""

    def make() -> Files:
        files = files_of_state(state())
        change(files)
        return files

    return make


def name_of(files: Files, suffix: str) -> str:
    return next(name for name in files if name.endswith(suffix) and name != RECORD)


def framed(change: Callable[[bytes], bytes], suffix: str = ".safetensors") -> Callable[[], Files]:
    """A pack (or tree) of other bytes, while the record says what it said."""

    def edit(files: Files) -> None:
        name = name_of(files, suffix)
        files[name] = change(files[name])

    return raw(edit)


def objects(adapter: str, state: Any, kind: str = "os.system", **about: Any) -> dict[str, Any]:
    return {"object": {"adapter": adapter, "type": kind, "state": state, "about": about}}


def empty(dtype: str, shape: list[int], kind: str = "numpy") -> dict[str, Any]:
    return {"array": {"dtype": dtype, "shape": shape, "kind": kind, "pieces": []}}


def retold(name: str, change: Callable[[Any], Any]) -> Callable[[], Files]:
    """Another state of an object."""
    return sealed(lambda f: change(f.state[name]["object"]["state"]))


def deep(levels: int) -> bytes:
    return b'{"format":1,"files":[],"tree":' + b"[" * levels + b"]" * levels + b"}"


def tree_of(inner: str) -> bytes:
    return f'{{"format":1,"files":[],"tree":{inner}}}'.encode("utf-8", "surrogatepass")


def long_paths() -> Any:
    """Few bytes, but the long key is in the path of every node below, at every level anew."""
    below: Any = [[] for _ in range(1500)]
    for _ in range(8):
        below = {"map": {"k" * 8000: below}}
    return below


def many_pieces(f: Forgery) -> None:
    """Eight gigabytes made of one piece of 4 MiB."""
    f.data += bytes(4 << 20)
    end = len(f.data)
    f.header["zeros"] = {"dtype": "U8", "shape": [4 << 20], "data_offsets": [end - (4 << 20), end]}
    part = [0, "zeros", *ZEROS, 1]
    f.state["x"] = {
        "array": {"dtype": "uint8", "shape": [(4 << 20) * 1900], "kind": "numpy", "pieces": [part] * 1900}
    }


def many_leaves(f: Forgery) -> None:
    many_pieces(f)
    content = f.state.pop("x")["array"] | {"shape": [4 << 20]}
    content["pieces"] = content["pieces"][:1]
    f.state["x"] = [{"array": content} for _ in range(500)]


ZEROS = blake3(bytes(4 << 20)).hexdigest(), xxh3_128_hexdigest(bytes(4 << 20))
ID = "0123456789abcdef" * 2
DIGEST = "f" * 64

FRAMING: dict[str, Callable[[], Files]] = {
    "an empty record": raw(lambda f: f.update({RECORD: b""})),
    "a record of zeros": raw(lambda f: f.update({RECORD: bytes(4096)})),
    "a record of a mebibyte of spaces": raw(lambda f: f.update({RECORD: b" " * (1 << 20)})),
    "a record above its limit": raw(lambda f: f.update({RECORD: bytes((16 << 20) + 1)})),
    "a record cut in half": raw(lambda f: f.update({RECORD: f[RECORD][: len(f[RECORD]) // 2]})),
    "a record with a line feed after it": raw(lambda f: f.update({RECORD: f[RECORD] + b"\n"})),
    "a record that is a zip": raw(lambda f: f.update({RECORD: b"PK\x03\x04" + bytes(100)})),
    "a record that is a pickle": raw(lambda f: f.update({RECORD: b"cposix\nsystem\n(S'touch owned'\ntR."})),
    "a record with a wrong digest": raw(lambda f: f.update({RECORD: f[RECORD][:-66] + b"0" * 64 + b'"}'})),
    "a record with an upper-case digest": raw(lambda f: f.update({RECORD: f[RECORD][:-66] + f[RECORD][-66:].upper()})),
    "an empty tree": framed(lambda data: b"", ".json"),
    "a tree cut by a byte": framed(lambda data: data[:-1], ".json"),
    "a tree of as many zeros": framed(lambda data: bytes(len(data)), ".json"),
    "an empty pack": framed(lambda data: b""),
    "a pack of 7 bytes": framed(lambda data: data[:7]),
    "a pack cut in its header": framed(lambda data: data[:100]),
    "a pack cut in its data": framed(lambda data: data[:-1]),
    "a pack with a byte more": framed(lambda data: data + b"\0"),
    "a pack of as many zeros": framed(lambda data: bytes(len(data))),
    "a header of length 0": text("length", bytes(8)),
    "a header of length 1": text("length", (1).to_bytes(8, "little")),
    "a header a byte too long": text("length", (4089).to_bytes(8, "little")),
    "a header longer than the file": text("length", (1 << 40).to_bytes(8, "little")),
    "a header of 2**63 bytes": text("length", (1 << 63).to_bytes(8, "little")),
    "a header of 2**64 - 1 bytes": text("length", b"\xff" * 8),
    "a header in big-endian": text("length", (4088).to_bytes(8, "big")),
    "a header of spaces": text("header", b" " * 64),
    "a header that is a list": text("header", b"[]"),
    "a header that does not cover the file": text("header", b"{}"),
    "a header that is not UTF-8": text("header", b'{"\xff\xfe":0}'),
    "a header with bytes after it": sealed(lambda f: f.text.update(header=json.dumps(f.header).encode() + b"\0\0")),
}  # fmt: skip

JSON: dict[str, Callable[[], Files]] = {
    "a field twice in a record": sealed(lambda f: f.text.update(record=json.dumps(f.record).encode()[:-1] + b',"seq":1}')),
    "a key twice in a tree": text("tree", tree_of('{"map":{"a":1,"a":2}}')),
    "a key twice by an escape": text("tree", tree_of('{"map":{"a":1,"\\u0061":2}}')),
    "a key twice in a header": sealed(lambda f: f.text.update(header=json.dumps(f.header).encode()[:-1] + b',"bias":1}')),
    "a tree 257 deep": text("tree", deep(256)),
    "a tree 100,000 deep": text("tree", deep(100_000)),
    "a tree that opens 300,000 times": text("tree", b"[" * 300_000),
    "a tree that closes first": text("tree", b"]" * 1000),
    "a record 100,000 deep": text("record", b'{"a":' * 100_000 + b"}" * 100_000),
    "a header 100,000 deep": text("header", b"[" * 100_000 + b"]" * 100_000),
    "an integer of a million digits": text("tree", tree_of("9" * 1_000_000)),
    "an integer of a million digits, marked": node({"i": "9" * 1_000_000}),
    "many integers of 150,000 digits": node([{"i": "9" * 150_000}] * 3),
    "a float of a million digits": text("tree", tree_of("1." + "0" * 1_000_000 + "e400")),
    "NaN": text("tree", tree_of("NaN")),
    "minus Infinity": text("tree", tree_of("-Infinity")),
    "a float out of range": text("tree", tree_of("1e999")),
    "a lone surrogate": text("tree", tree_of('"\\ud800"')),
    "a surrogate in UTF-8": text("tree", tree_of('"\ud800"')),
    "sixty thousand keys in a record": sealed(lambda f: f.text.update(record=b"{" + b",".join(b'"%d":0' % n for n in range(60_000)) + b"}")),
    "sixty thousand entries in a header": text("header", b"{" + b",".join(b'"%d":0' % n for n in range(60_000)) + b"}"),
    "comments": text("tree", tree_of("1/*one*/")),
    "a comma at the end": text("tree", tree_of("[1,]")),
    "single quotes": text("tree", tree_of("'a'")),
    "a byte order mark": sealed(lambda f: f.text.update(tree=b"\xef\xbb\xbf" + json.dumps(f.tree).encode())),
    "UTF-16": sealed(lambda f: f.text.update(tree=json.dumps(f.tree).encode("utf-16"))),
    "two values": sealed(lambda f: f.text.update(tree=json.dumps(f.tree).encode() * 2)),
    "a NUL after the tree": sealed(lambda f: f.text.update(tree=json.dumps(f.tree).encode() + b"\0")),
    "a string that does not end": text("tree", tree_of('"abc')),
    "colliding keys": node({"dict": [[{"i": str(MERSENNE * n)}, 0] for n in range(8, 2000)]}),
    "colliding members": node({"set": [{"i": str(MERSENNE * n)} for n in range(8, 2000)]}),
    "colliding keys in tuples": node({"dict": [[{"tuple": [{"i": str(MERSENNE * n)}]}, 0] for n in range(8, 2000)]}),
    "a key of a mebibyte": node({"map": {"k" * (1 << 20): 0}}),
    "long keys above many nodes": node(long_paths()),
}  # fmt: skip

RECORDS: dict[str, Callable[[], Files]] = {
    "a record that is a list": text("record", b"[1]"),
    "a record without fields": text("record", b'{"a":1}'),
    "a format of text": record(format="1"),
    "a format below the first": record(format=0),
    "a negative format": record(format=-1),
    "a newer format": record(format=3),
    "a format of parts without parts": record(format=2),
    "a much newer format with other fields": record(format=1 << 60, new={"a": []}),
    "an unknown field": record(more=1),
    "an id that is a path": record(id="../../../../etc/passwd"),
    "a parent that is a path": record(parent="../x"),
    "a name with escapes": record(name=ESCAPES),
    "a name that leads out": record(name="../../x"),
    "an absolute name": record(name="/etc/passwd"),
    "a name with NUL": record(name="a\0b"),
    "a name with a line feed": record(name="a\nb"),
    "a name of 4,096 bytes": record(name="n" * 4096),
    "an empty name": record(name=""),
    "a kind of its own": record(kind="pickle"),
    "a seq of 2**63": record(seq=1 << 63),
    "a negative seq": record(seq=-1),
    "a reason of a mebibyte": record(reason="x" * (1 << 20)),
    "metrics that are texts": record(metrics={"loss": "0.1"}),
    "metrics of bits that are none": record(metrics={"loss": {"f": "xyz"}}),
    "versions that are code": record(versions={"a": {"__reduce__": "os.system"}}),
    "a moment that is a list": record(moment=[]),
    "seconds without end": record(blocked_s={"f": "7ff0000000000000"}),
    "no tree": record(tree=None),
    "packs that are a dict": record(packs={"name": "x"}),
    "a pack named twice": sealed(lambda f: f.record.update(packs=f.record["packs"] * 2)),
    "five thousand packs": record(packs=[{"name": f"{ID}.{n}.safetensors", "size": 1, "digest": DIGEST} for n in range(5000)]),
    "a pack that is not there": sealed(lambda f: f.record["packs"].append({"name": f"{ID}.1.safetensors", "size": 1, "digest": DIGEST})),
    "a tree that is not there": raw(lambda f: f.pop(name_of(f, ".json"))),
    "a pack of a negative size": record(packs=[{"name": f"{ID}.0.safetensors", "size": -1, "digest": DIGEST}]),
    **{
        f"a pack named {name!r:.30}": sealed(lambda f, name=name: f.record["packs"].append({"name": name, "size": 0, "digest": DIGEST}))
        for name in ("../x.safetensors", "/etc/passwd", "a/b.safetensors", f"{ID}.0.safetensors\0", f"{ID}.0.safetensors\n",
                     f"{ID}.0.pkl", "\x1b[2J.safetensors", "x" * 4096, "", ".", "..", "checkpoint.json", f"{ID.upper()}.0.safetensors",
                     f"{ID}.0.SAFETENSORS", f"{'0１２３４５６７８９abcdef' * 2}.0.safetensors")
    },
    "a record of another checkpoint": raw(lambda f: f.update({RECORD: files_of_state(state(), name="other")[RECORD]})),
}  # fmt: skip

TABLES: dict[str, Callable[[], Files]] = {
    "pieces that overlap": sealed(lambda f: f.header["weight"].update(data_offsets=[0, 48])),
    "a hole between pieces": sealed(lambda f: f.header.pop("weight")),
    "a piece that ends before it begins": entry(data_offsets=[40, 0]),
    "a piece that begins below 0": entry(data_offsets=[-40, 0]),
    "a piece beyond the file": entry(data_offsets=[1 << 40, (1 << 40) + 40]),
    "offsets beyond 64 bits": entry(data_offsets=[0, 1 << 64]),
    "offsets that are floats": entry(data_offsets=[0.0, 40.0]),
    "offsets that are true": entry(data_offsets=[False, True]),
    "three offsets": entry(data_offsets=[0, 40, 80]),
    "a shape that overflows 64 bits": entry(shape=[1 << 32, 1 << 32]),
    "a shape that overflows to the right size": entry(shape=[(1 << 62) + 5, 4]),
    "a negative shape": entry(shape=[-1, -5]),
    "65 dimensions": entry(shape=[1] * 64 + [5]),
    "an element type of objects": entry(dtype="O"),
    "an element type that is unknown": entry(dtype="F128"),
    "an element type that is a list": entry(dtype=["F64"]),
    "an entry with more": entry(code="x"),
    "an entry that is null": sealed(lambda f: f.header.update(bias=None)),
    "metadata": sealed(lambda f: f.header.update(__metadata__={"a": "b"})),
    "an empty piece": sealed(lambda f: f.header.update(zero={"dtype": "U8", "shape": [0], "data_offsets": [0, 0]})),
    "an array of objects": array("bias", dtype="|O"),
    "an array of objects in a structure": array("bias", dtype='[["a","|O"]]'),
    "an array of code": array("bias", dtype="os.system"),
    "an array of a structure 100,000 deep": array("bias", dtype="[" * 60_000),
    "an array of a structure of numbers": array("bias", dtype="[[1,2,3]]"),
    "an array of a structure of a huge shape": array("bias", dtype='[["a","<f8",[1000000000,1000000000]]]'),
    "an array of a structure with a field twice": array("bias", dtype='[["a","<f4"],["a","<f4"]]'),
    "an array of empty extents": node(empty("float64", [0, 1 << 62, 1 << 62])),
    "an array of 65 dimensions": array("bias", shape=[1] * 64 + [5]),
    "an array of a negative shape": array("bias", shape=[-5]),
    "an array of 2**62 items": array("bias", shape=[1 << 62]),
    "an array that is larger than its piece": array("bias", shape=[6]),
    "an array that is smaller than its piece": array("bias", shape=[4]),
    "an array of an order of its own": array("bias", order="K"),
    "an array of another type, as large": array("bias", dtype="<M8[s]", shape=[10]),
    "a tensor of dates": array("tensor", dtype="<M8[D]", shape=[3]),
    "a tensor of texts": node(empty("<U5", [0], "torch")),
    "a tensor of a structure": node(empty('[["a","<f4"]]', [0], "torch")),
    "a scalar with a shape": array("bias", kind="scalar"),
    "an array of what NumPy lacks": node(empty("float4_e2m1fn_x2", [0])),
    "no pieces": array("bias", pieces=[]),
    "an array of one piece, 1,900 times": sealed(many_pieces),
    "five hundred arrays of one piece": sealed(many_leaves),
    "a piece in a file that is not listed": piece(0, 7),
    "a piece in file -1": piece(0, -1),
    "a piece in file true": piece(0, True),
    "a piece of no such key": piece(1, "nothing"),
    "a piece of another key": piece(1, "weight"),
    "a piece of a key that is a number": piece(1, 5),
    "a piece of another XXH3": piece(3, "0" * 32),
    "a piece of an XXH3 that is none": piece(3, "x" * 32),
    "a piece born below 0": piece(4, -1),
    "a piece with more": sealed(lambda f: f.array("bias")["pieces"][0].append(1)),
    "files that lead out": sealed(lambda f: f.tree.update(files=[["../x.safetensors", 0]])),
    "files that the record does not name": sealed(lambda f: f.tree.update(files=[[f"{ID}.5.safetensors", 0]])),
    "files that are the tree": sealed(lambda f: f.tree.update(files=[[f.record["tree"]["name"], 0]])),
}  # fmt: skip

NODES: dict[str, Callable[[], Files]] = {
    "a pickle as a node": node({"pickle": "gASVFAAA"}),
    "a module as a node": node({"py/object": "os.system"}),
    "two kinds in a node": node({"tuple": [], "set": []}),
    "an alias of itself": node({"alias": "x"}),
    "an alias of what comes later": sealed(lambda f: f.tree["tree"].update(map={"a": {"alias": "bias"}, **f.state})),
    "an alias of a list": node({"alias": ["bias"]}),
    "base64 of nothing": node({"bytes": "===="}),
    "a date of month 13": node({"date": "2026-13-01"}),
    "a duration of an eternity": node({"timedelta": [1 << 62, 0, 0]}),
    "a path of a number": node({"path": 5}),
    "a surrogate of half a byte": node({"s": "e"}),
    "a list as a key of a dict": node({"dict": [[[1], 1]]}),
    "a pair that is none": node({"dict": [[1]]}),
    "an object with code": node({"object": {"adapter": "a", "type": "t", "state": 0, "code": "x"}}),
    "a bytearray of a number": sealed(lambda f: f.state["buffer"]["object"].update(state=1 << 40)),
    "a range of texts": sealed(lambda f: f.state["range"]["object"].update(state=["a", "b"])),
    "a range by no step": sealed(lambda f: f.state["range"]["object"].update(state=[0, 5, 0])),
    "a generator beyond its words": retold("numbers", lambda s: s["map"]["state"]["map"].update(pos=1 << 20)),
    "a generator before its words": retold("numbers", lambda s: s["map"]["state"]["map"].update(pos=-5)),
    "a Philox generator beyond its words": retold("philox", lambda s: s["map"].update(buffer_pos=1 << 20)),
    "a Philox generator before its words": retold("philox", lambda s: s["map"].update(buffer_pos=-(1 << 20))),
    "a generator of another name": retold("numbers", lambda s: s["map"].update(bit_generator="os.system")),
    "a Python generator beyond its words": retold("python", lambda s: s["map"].update(words=[1] * 625 + [625])),
    "a torch generator of nothing": retold("torch", lambda s: s["map"].update(state=0)),
}  # fmt: skip

REFUSED = FRAMING | JSON | RECORDS | TABLES | NODES | SHARDED

LEGAL: dict[str, Callable[[], Files]] = {
    "a bundle of several processes": sound,
    "a tree 256 deep": node(json.loads("[" * 250 + "]" * 250)),
    "texts that would be code": node("__import__('os').system('touch owned')"),
    "an object of an unknown adapter": node(objects("os.system", "touch owned")),
    "an object whose type is code": node(objects("nobody", {"map": {"__reduce__": "os.system"}}, "subprocess.Popen")),
    "an object with facts of many kinds": node(objects("nobody", 1, a=[1, {"b": None}], __class__="x")),
    "a leaf of an unknown kind": array("bias", kind="os.system"),
    "keys that lead out": node({"map": {"../../x": 1, "/etc/passwd": {"map": {"..": 2}}, "": 3, "a\0b": 4}}),
    "keys with escapes": node({"map": {ESCAPES: {"map": {ESCAPES: ESCAPES}}}}),
    "keys that differ by their form only": node({"map": {"\u00e9": 1, "e\u0301": 2}}),
    "a key of 4,096 bytes": node({"map": {"k" * 4096: 1}}),
    "texts with HTML": record(reason="<img src=x onerror=alert(1)>", environment={"<b>": "</b>"}),
    "texts with escapes": record(reason=ESCAPES, run=ESCAPES, created=ESCAPES, commit=ESCAPES, versions={ESCAPES: ESCAPES}),
    "metrics with escapes": record(metrics={ESCAPES: {"f": "7ff8000000000000"}, "[link=x]": 1.0}),
    "a date that is a story": record(created="once upon a time"),
    "a seq at the end": record(seq=(1 << 63) - 1),
    "a name in two alphabets": record(name="ｂｅst-é"),
    "a path that leads out": node({"path": "../../../etc/passwd"}),
    "equal pieces": sealed(lambda f: f.state.update(again=f.state["bias"])),
    "an alias of an array, often": node([{"alias": "bias"}] * 1000),
    "truths of 2": array("flags", dtype="uint8"),
    "ten thousand small nodes": node([[n] for n in range(5000)]),
    "colliding keys, but few": node({"dict": [[{"i": str(MERSENNE * n)}, 0] for n in range(8, 60)]}),
    "a dict of odd keys": node({"dict": [[None, 1], [True, 2], [{"tuple": [1, "a"]}, 3], [{"bytes": ""}, 4], [{"f": "7ff8000000000000"}, 5]]}),
    "an empty array of 64 dimensions": node(empty("int8", [0] * 64)),
    "texts without length": node(empty("<U0", [10**9])),
    "items of no size": node(empty("|V0", [10**15])),
    "a structure without fields": node(empty("[]", [10**15])),
}  # fmt: skip


# What no text can be: objects of the file system where the files should be.


def instead(suffix: str, make: Callable[[Path], Any]) -> Callable[[Path], None]:
    """`make` something in the place of the file that ends so."""

    def plant(bundle: Path) -> None:
        found = RECORD if suffix == RECORD else name_of({path.name: b"" for path in bundle.iterdir()}, suffix)
        path = bundle / found
        path.rename(bundle.parent / "outside")
        make(path)

    return plant


def listen(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the path would be too long for a socket's name
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(here)


PLANTED: dict[str, Callable[[Path], None]] = {
    f"{what} for {whose}": instead(suffix, make)
    for suffix, whose in ((RECORD, "the record"), (".json", "the tree"), (".safetensors", "a pack"))
    for what, make in {
        "a link to the file": lambda path: path.symlink_to(path.parent.parent / "outside"),
        "a link to nowhere": lambda path: path.symlink_to("/nowhere"),
        "a link to itself": lambda path: path.symlink_to(path),
        "a link to a device": lambda path: path.symlink_to("/dev/zero"),
        "a FIFO": os.mkfifo,
        "a directory": os.mkdir,
        "a socket": listen,
    }.items()
}
