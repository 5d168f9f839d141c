"""`import_checkpoint`: a file or directory of another format becomes a checkpoint."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

from ..checkpoint import Part, StreamedSnapshot, save_alone
from ..errors import UsageError
from ..records import CheckpointRecord, Node
from ..storage import local_path
from . import _npz_in, _orbax_in, _safetensors_in, _torch_in

_FILES = {
    ".safetensors": _safetensors_in.opened,
    ".npz": _npz_in.opened,
    ".pt": _torch_in.opened,
    ".pth": _torch_in.opened,
    ".bin": _torch_in.opened,
}


def import_checkpoint(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    trusted: bool = False,
    overwrite: bool = False,
) -> CheckpointRecord:
    """Make a checkpoint `out` (`….ckpt.mml`) from a file or directory of another format; returns its record.

    Read are `.safetensors` (with `….safetensors.index.json`, or a directory with one, all its shards), `.npz`,
    `.pt`, and directories of torch's DCP and of Orbax where these are installed. Arrays keep names, shapes and
    dtypes; `holdfast.open(out).load()` gives them back. Files are streamed, an array at a time; directories
    of DCP and Orbax are read at once.

    No code from the source is run, except that the metadata of a DCP directory is a pickle: it is refused
    unless `trusted`.

    Raises:
        ForeignFileError: it cannot be read, or not without running code.
        UsageError: the format is unknown, or its library is missing.
        CheckpointExistsError: `out` exists, and `overwrite` is False.
        SaveError: the disk refused; nothing was written.
    """
    place = local_path("source", source).rstrip("/")
    with _opened(place, trusted) as (tree, part):
        return save_alone(
            out,
            StreamedSnapshot(tree, part),
            reason=f"import of {os.path.basename(place)}",
            details={"import": {"source": os.path.basename(place)}},
            overwrite=overwrite,
        )


def _opened(place: str, trusted: bool) -> AbstractContextManager[tuple[Node, Part]]:
    if not os.path.exists(place):
        raise UsageError(f"{place}: there is no such file or directory.")
    if os.path.isdir(place):
        if os.path.exists(os.path.join(place, ".metadata")):
            return _torch_in.opened_dcp(place, trusted)
        if _orbax_in.is_orbax(place):
            return _orbax_in.opened(place)
        index = _safetensors_in.index_in(place)
        if index is not None:
            return _safetensors_in.opened(index)
        raise UsageError(
            f"{place}: neither a DCP nor an Orbax directory, nor one with an index of .safetensors."
        )
    if place.endswith(".safetensors.index.json"):
        return _safetensors_in.opened(place)
    ending = os.path.splitext(place)[1]
    if ending not in _FILES:
        raise UsageError(
            f"{place}: the file extension decides the format, and must be one of {', '.join(_FILES)}."
        )
    return _FILES[ending](place)
