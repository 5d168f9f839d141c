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
    ".npy": _npz_in.opened_npy,
    **dict.fromkeys((".pt", ".pth", ".bin", ".ckpt", ".tar"), _torch_in.opened),
}

_WEIGHTS = ("pytorch_model.bin", "adapter_model.bin")
"""What hubs call a model's weights where they are no `.safetensors`; beside them may lie other files of torch."""


def import_checkpoint(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    trusted: bool = False,
    overwrite: bool = False,
) -> CheckpointRecord:
    """Make a checkpoint `out` (`….ckpt.mml`) from a file or directory of another format; returns its record.

    Read are `.safetensors` (with `….safetensors.index.json`, or a directory with one, all its shards), `.npz`,
    `.npy`, what torch wrote as `.pt`, `.pth`, `.ckpt`, `.bin` or `.pth.tar`, directories with one such file of weights,
    and directories of torch's DCP and of Orbax where these are installed; of several checkpoints or items of Orbax
    name one. Arrays keep names, shapes and dtypes; `holdfast.open(out).load()` gives them back. Files are streamed, an
    array at a time; directories of DCP and Orbax are read at once.

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
        return _opened_directory(place, trusted)
    if place.endswith(".safetensors.index.json"):
        return _safetensors_in.opened(place)
    return _opened_file(place)


def _opened_directory(place: str, trusted: bool) -> AbstractContextManager[tuple[Node, Part]]:
    if os.path.exists(os.path.join(place, ".metadata")):
        return _torch_in.opened_dcp(place, trusted)
    if _orbax_in.is_orbax(place):
        return _orbax_in.opened(place)
    index = _safetensors_in.index_in(place)
    if index is not None:
        return _safetensors_in.opened(index)
    if steps := _orbax_in.steps_in(place):
        if len(steps) == 1:
            return _orbax_in.opened(os.path.join(place, *steps))
        each = ", ".join(steps)
        raise UsageError(
            f"{place}: it holds the checkpoints {each} of Orbax: import one, such as {place}/{steps[-1]}."
        )
    return _opened_file(os.path.join(place, _only_weights(place)))


def _only_weights(place: str) -> str:
    """The name of the file of weights in a directory such as a model hub's.

    Raises:
        UsageError: there is none, or more than one that is as good.
    """
    names = sorted(os.listdir(place))
    found = [name for name in names if name.endswith(".safetensors")]
    found = found or [name for name in names if name in _WEIGHTS]
    if len(found) > 1:
        raise UsageError(f"{place}: it holds {', '.join(found)}: import one, such as {place}/{found[0]}.")
    if not found:
        raise UsageError(
            f"{place}: neither a DCP nor an Orbax directory, nor one with .safetensors or {' or '.join(_WEIGHTS)}."
        )
    return found[0]


def _opened_file(place: str) -> AbstractContextManager[tuple[Node, Part]]:
    ending = os.path.splitext(place)[1]
    if ending not in _FILES:
        raise UsageError(
            f"{place}: the file extension decides the format, and must be one of {', '.join(_FILES)}."
        )
    return _FILES[ending](place)
