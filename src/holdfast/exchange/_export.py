"""`export`: a checkpoint's arrays as a plain file of another format."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import get_args

from ..checkpoint import Place, source_of
from ..errors import OutputExistsError, UsageError
from ..storage import local_path
from . import _npz_out, _orbax_out, _safetensors_out, _torch_out
from ._choose import Names, choose
from ._stream import OutputFiles

_FORMATS = {".safetensors": "safetensors", ".npz": "npz", ".pt": "pt", ".pth": "pt", ".orbax": "orbax"}


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        files: their paths; of a sharded export the index comes last.
        arrays: the names of the arrays in them. tied: further names of some of these.
        left_out: how many values below `prefix` were not exported: plain ones, and an optimizer's with the models.
    """

    files: tuple[str, ...]
    arrays: tuple[str, ...]
    tied: dict[str, str]
    left_out: int


def export(
    checkpoint: Place,
    out: str | os.PathLike[str],
    *,
    prefix: str = "",
    only: str | None = None,
    names: Names = "dots",
    shard_bytes: int | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write the arrays of a checkpoint to `out`: `.safetensors`, `.npz`, `.pt` or `.orbax`, by its ending.

    For an experiment these are the models (parameters and buffers), named as in a `state_dict` of the graph; for a
    state without a model graph every array. Select others with `prefix` or `only`; `only="**"` means all.

    Each file appears complete or not at all. Bytes are checked as they are read, and streamed: memory holds a
    piece at a time, or one array if it is in F order. A `.pt` is for `torch.load(weights_only=True)`. An `.orbax` is
    a directory, written by Orbax from arrays that are all in memory; its tree is that of the paths below `prefix`.

    Args:
        prefix: only what is below this path; names are relative to it.
        only: a pattern of paths (`model_graph/*/**`, see `holdfast.paths.matches`).
        names: "dots" as in a `state_dict`, or "slashes" for the paths themselves.
        shard_bytes: of `.safetensors`, write files of at most this size (a larger array gets one of its own)
            and `….safetensors.index.json`.

    Raises:
        UsageError: nothing to export, two arrays with the same name, an unknown file extension, or a dtype that the format lacks.
        OutputExistsError: a file exists, and `overwrite` is False.
        DamagedError: bytes are not what was saved; nothing was written.
        SaveError: the disk refused; nothing was written.
    """
    place = local_path("out", out)
    folder, name = os.path.split(place)
    kind = _FORMATS.get(os.path.splitext(name)[1])
    if kind is None:
        raise UsageError(
            f"{place!r}: the file extension decides the format, and must be one of {', '.join(_FORMATS)}."
        )
    if names not in get_args(Names):
        raise UsageError(f"names={names!r}: it must be 'dots' or 'slashes'.")
    if shard_bytes is not None and (shard_bytes < 1 or kind != "safetensors"):
        raise UsageError("shard_bytes= is for .safetensors files, and is at least 1.")
    if not overwrite and os.path.lexists(place):
        raise OutputExistsError(place)  # before hours of work; checked again at the end
    with contextlib.ExitStack() as closing:
        source = source_of(checkpoint, closing)
        names = "slashes" if kind == "orbax" else names
        chosen = choose(source.tree, prefix=prefix, only=only, names=names)
        if kind == "orbax":
            written = _orbax_out.write(source, chosen, place, overwrite)
        else:
            files = closing.enter_context(OutputFiles(folder, overwrite))
            if kind == "safetensors":
                names_written = _safetensors_out.write(source, chosen, files, name, shard_bytes)
            else:
                names_written = (_npz_out if kind == "npz" else _torch_out).write(source, chosen, files, name)
            written = [os.path.join(folder, each) for each in names_written]
    return Exported(tuple(written), tuple(chosen.arrays), dict(chosen.tied), chosen.left_out)
