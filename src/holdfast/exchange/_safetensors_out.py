"""Writing `.safetensors`: one file, or several with an index, as `transformers` and others read them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .. import dtypes
from ..bundle import Bundle
from ..errors import UsageError
from ..records import Leaf
from ..storage import NewFiles
from ._choose import Chosen
from ._stream import plain_dtype, runs

_PAIRS = "float4_e2m1fn_x2"
_ALIGNMENT = 8  # of the data, as the reference writer has it


def write(source: Bundle, chosen: Chosen, files: NewFiles, name: str, shard_bytes: int | None) -> list[str]:
    """Write `name` (`….safetensors`), or if that is longer than `shard_bytes` its shards and their index.

    Returns the names of the files. Raises UsageError if the format has no name for a dtype.
    """
    chosen.check("safetensors", _is_writable)
    if "__metadata__" in (*chosen.arrays, *chosen.tied):
        raise UsageError("safetensors reserves the name '__metadata__': leave it out with only=.")
    shards = _shards(chosen.arrays, shard_bytes)
    if len(shards) == 1:
        _write_file(source, shards[0], chosen.tied, files, name)
        return [name]
    stem = name.removesuffix(".safetensors")
    parts = [f"{stem}-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    for part, shard in zip(parts, shards, strict=True):
        _write_file(source, shard, chosen.tied, files, part)
    homes = {array: part for part, shard in zip(parts, shards, strict=True) for array in shard}
    total = sum(leaf.size_bytes for leaf in chosen.arrays.values())
    index = {"metadata": {"total_size": total}, "weight_map": homes}
    files.create(f"{name}.index.json").write(json.dumps(index, indent=2).encode())
    return [*parts, f"{name}.index.json"]


def _is_writable(leaf: Leaf) -> bool:
    is_known = dtypes.safetensors_name_now(plain_dtype(leaf)) is not None
    return is_known and (leaf.dtype != _PAIRS or bool(leaf.shape))


def _counted(leaf: Leaf) -> tuple[int, ...]:
    """The shape as the format has it, which counts the single numbers of pairs."""
    return (*leaf.shape[:-1], 2 * leaf.shape[-1]) if leaf.dtype == _PAIRS else leaf.shape


def _shards(arrays: Mapping[str, Leaf], limit: int | None) -> Sequence[dict[str, Leaf]]:
    shards: list[dict[str, Leaf]] = [{}]
    size = 0
    for name, leaf in arrays.items():
        if limit is not None and shards[-1] and size + leaf.size_bytes > limit:
            shards.append({})
            size = 0
        shards[-1][name] = leaf
        size += leaf.size_bytes
    return shards


def _write_file(
    source: Bundle, arrays: Mapping[str, Leaf], tied: Mapping[str, str], files: NewFiles, name: str
) -> None:
    # Falling size of the items aligns every array without holes, which the format forbids.
    ordered = sorted(arrays, key=lambda array: -dtypes.item_size(arrays[array].dtype))
    # The format has no shared storage: a tied array is written once, and its other names are recorded here, as
    # `safetensors.torch.save_model` does.
    notes = {other: kept for other, kept in tied.items() if kept in arrays}
    table: dict[str, Any] = {"__metadata__": {"format": "pt", **notes}}
    offset = 0
    for array in ordered:
        leaf = arrays[array]
        end = offset + leaf.size_bytes
        dtype = dtypes.safetensors_name_now(plain_dtype(leaf))
        table[array] = {"dtype": dtype, "shape": _counted(leaf), "data_offsets": (offset, end)}
        offset = end
    try:
        header = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise UsageError("a name cannot be encoded as UTF-8: pass names='slashes'.") from None
    header = header.ljust(-(-len(header) // _ALIGNMENT) * _ALIGNMENT)
    file = files.create(name)
    file.write(len(header).to_bytes(8, "little") + header)
    for array in ordered:
        for run in runs(source, arrays[array]):
            file.write(run)
