"""Rebuilds the state of a bundle with nothing but json, numpy and safetensors.

`load("runs/digits/head.ckpt.mml")` returns it as dicts, lists, scalars and NumPy arrays; element types that NumPy lacks
(bfloat16, float8, int4) come as unsigned integers that hold their bits. What is read: docs/format.md, but for compressed arrays.
Of a bundle that several processes saved together, arrays come entire, and what each had for itself as a list by rank.
"""

import json

import numpy as np
from safetensors import deserialize

BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
NOT_IN_NUMPY = {"bfloat16": "<u2", "complex32": "<u4", "float8_": "u1", "float6_": "u1", "float4_": "u1"}
NOT_IN_NUMPY |= {f"{name}.": "u1" for name in ("int1", "int2", "int4", "uint1", "uint2", "uint4")}


def load(path):
    with open(f"{path}/checkpoint.json", "rb") as file:
        record = json.load(file)
    parts = []
    for entry in record.get("parts", ()):
        with open(f"{path}/{entry['name']}", "rb") as file:
            parts.append(json.load(file))
    packs, seen = {}, {}
    names = [entry["name"] for entry in record["packs"]] + [
        name for part in parts for name, *_ in part["files"]
    ]
    for name in names:
        with open(f"{path}/{name}", "rb") as file:
            packs[name] = {key: value["data"] for key, value in deserialize(file.read())}
    with open(f"{path}/{record['tree']['name']}", "rb") as file:
        stored = json.load(file)
    files, num_own, boxes = (
        [stored["files"]],
        [0],
        [{} for _ in parts],
    )  # by rank, and for each array with a layout
    for part, found in zip(parts, boxes, strict=True):
        for index, pieces in part["boxes"]:
            found.setdefault(index, []).append(pieces)
    laid = []

    def node(path, value):
        if isinstance(value, list):
            return [node(item(path, index), each) for index, each in enumerate(value)]
        if not isinstance(value, dict):
            return value
        ((kind, content),) = value.items()
        if kind == "map":
            return {key: node(item(path, escape(key)), each) for key, each in content.items()}
        if kind == "dict":
            return {(key := node(None, raw)): node(item(path, element(key)), each) for raw, each in content}
        if kind in ("tuple", "set", "frozenset"):
            return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](node(path, content))
        if parts and kind == "object" and content["adapter"] == "by rank":
            return own(path)
        if kind in ("object", "array"):
            return seen.setdefault(path, array(content) if kind == "array" else node(path, content["state"]))
        if kind == "alias":
            return seen[content]
        if kind == "f":
            return float(np.frombuffer(bytes.fromhex(content), ">f8")[0])
        if kind == "s":
            return bytes.fromhex(content).decode("utf-8", "surrogatepass")
        if kind == "complex":
            return complex(*(node(None, part) for part in content))
        if kind == "bytes":
            bits = "".join(f"{BASE64.index(c):06b}" for c in content.rstrip("="))
            return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) // 8 * 8, 8))
        return integer(content) if kind == "i" else content  # dates, times and paths stay texts

    def array(content):
        if "codec" in content:
            raise ValueError("compressed arrays: read a copy that `holdfast archive BUNDLE TO` makes")
        data = b"" if "layout" in content else joined(content["pieces"])
        if content["kind"] == "bytes":
            return data
        dtype, shape = content["dtype"], content["shape"]
        short = next((NOT_IN_NUMPY[name] for name in NOT_IN_NUMPY if f"{dtype}.".startswith(name)), dtype)
        kind = np.lib.format.descr_to_dtype(fields(json.loads(dtype))) if dtype[0] == "[" else np.dtype(short)
        if "layout" not in content:
            return np.ndarray(shape, kind, data, order=content.get("order", "C"))
        laid.append(np.empty(shape, kind))
        for rank, offset, extent in stored["layouts"][content["layout"]]:
            files.append(parts[rank]["files"])
            box = np.ndarray(extent, kind, joined(boxes[rank][len(laid) - 1].pop(0)))
            laid[-1][tuple(slice(o, o + e) for o, e in zip(offset, extent, strict=True))] = box
            files.pop()
        return laid[-1]

    def joined(pieces):
        return b"".join(bytes(packs[files[-1][file][0]][key]) for file, key, *_ in pieces)

    def own(path):
        found = []
        for rank, part in enumerate(parts):
            files.append(part["files"])
            found.append(node(item(path, rank), part["own"][num_own[0]]))
            files.pop()
        num_own[0] += 1
        return found

    return node("", stored["tree"])


def fields(described):  # NumPy's tuples from the JSON form of a structured element type
    def field(name, kind, *shape):
        named = tuple(name) if isinstance(name, list) else name
        return named, kind if isinstance(kind, str) else fields(kind), *map(tuple, shape)

    return [field(*each) for each in described]


def integer(digits):  # what int() says, but for its limit on long texts
    if digits[0] == "-":
        return -integer(digits[1:])
    return integer(digits[:-4000]) * 10**4000 + int(digits[-4000:]) if digits[4000:] else int(digits)


def item(path, name):
    return f"{path}/{name}" if path else str(name) if name != "__metadata__" else "%5F_metadata__"


def escape(key):
    """An element of a state path; only aliases need it, which name the path of what they repeat."""
    marked = [c in "%/[]" or ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in key]
    codes = ["".join(f"%{byte:02X}" for byte in c.encode("utf-8", "surrogatepass")) for c in key]
    return "".join(code if mark else c for c, code, mark in zip(key, codes, marked, strict=False)) or "%"


def element(key):
    if isinstance(key, str):
        return escape(key)
    if isinstance(key, tuple):
        return "%t:" + ",".join(element(part).replace(",", "%2C") for part in key)
    if isinstance(key, float | bytes):
        return f"%{'f' if isinstance(key, float) else 'y'}:{key.hex()}"
    return "%n:" if key is None else f"%b:{str(key).lower()}" if isinstance(key, bool) else f"%i:{key}"
