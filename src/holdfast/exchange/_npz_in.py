"""Reading `.npz` as `numpy.load(allow_pickle=False)` would, an array at a time."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from math import prod
from typing import IO, Any

import numpy as np

from .. import dtypes, paths
from ..checkpoint import Part
from ..errors import ForeignFileError
from ..records import Bytes, Leaf, Node
from ._value import one_at_a_time

_SENSELESS = (ValueError, EOFError, OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError)
_CHUNK_BYTES = 1 << 20


@contextlib.contextmanager
def opened(place: str) -> Iterator[tuple[Node, Part]]:
    """The tree of its arrays by name, and what makes their bytes."""
    try:
        archive = zipfile.ZipFile(place)
    except _SENSELESS as err:
        raise ForeignFileError(place, f"it is not a zip archive ({err}).") from err
    with archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
        tree = {name: _leaf(place, archive, name, member) for name, member in members.items()}
        names = {leaf.path: members[name] for name, leaf in tree.items()}

        def fill(leaf: Leaf, out: Bytes) -> None:
            try:
                with archive.open(names[leaf.path]) as file:
                    _header(file)
                    _read(file, out)
            except _SENSELESS as err:
                raise ForeignFileError(place, f"{leaf.path!r} cannot be read: {err}") from err

        yield tree, one_at_a_time(fill)


def _leaf(place: str, archive: zipfile.ZipFile, name: str, member: str) -> Leaf:
    try:
        with archive.open(member) as file:
            shape, is_fortran, dtype, header_size = _header(file)
        described = dtypes.name_of(dtype)
    except _SENSELESS as err:
        raise ForeignFileError(place, f"{name!r}: {err}.") from err
    # Before memory is allocated for what a header claims.
    if prod(shape) * dtype.itemsize + header_size != archive.getinfo(member).file_size:
        raise ForeignFileError(place, f"{name!r} does not have the size of its shape.")
    return Leaf(paths.child("", name), described, shape, "F" if is_fortran and len(shape) > 1 else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(
        version
    )
    if read is None:
        raise ValueError(f"a header of version {version}")
    shape, is_fortran, dtype = read(file)
    return tuple(map(int, shape)), is_fortran, dtype, file.tell()


def _read(file: IO[bytes], out: Bytes) -> None:
    rest = out.data
    while rest:
        chunk = file.read(min(len(rest), _CHUNK_BYTES))
        if not chunk:
            raise EOFError("it is truncated")
        rest[: len(chunk)] = chunk
        rest = rest[len(chunk) :]
