"""Reading `.npz` and `.npy` as `numpy.load(allow_pickle=False)` would, an array at a time."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from math import prod
from typing import IO, Any

import numpy as np

from .. import dtypes, paths
from ..checkpoint import Part
from ..errors import ForeignFileError
from ..records import Bytes, Leaf, Node
from ._value import one_at_a_time

_CHUNK_BYTES = 1 << 20
_MAX_SAID = 200  # characters of what NumPy says: it quotes entire headers


@contextlib.contextmanager
def opened(place: str) -> Iterator[tuple[Node, Part]]:
    """The tree of its arrays by name, and what makes their bytes."""
    try:
        archive = zipfile.ZipFile(place)
    except Exception as err:  # zlib, lzma, tokenize and NumPy raise anything
        raise ForeignFileError(place, f"it is not a zip archive ({err}).") from err
    with archive:
        for name, count in Counter(archive.namelist()).items():
            if count > 1:
                raise ForeignFileError(place, f"it holds {name!r} {count} times.")
        members = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
        tree = {name: _leaf(place, archive, name, member) for name, member in members.items()}
        names = {leaf.path: members[name] for name, leaf in tree.items()}

        def fill(leaf: Leaf, out: Bytes) -> None:
            try:
                with archive.open(names[leaf.path]) as file:
                    _header(file)
                    _read(file, out)
            except Exception as err:
                raise ForeignFileError(place, f"{leaf.path!r} cannot be read: {err}.") from err

        yield tree, one_at_a_time(fill)


@contextlib.contextmanager
def opened_npy(place: str) -> Iterator[tuple[Node, Part]]:
    """The one array of a file, which is all of the state."""
    try:
        with open(place, "rb") as file:
            leaf = _described(place, "", file, os.fstat(file.fileno()).st_size)
    except OSError as err:
        raise ForeignFileError(place, f"it cannot be opened ({err.strerror}).") from err

    def fill(leaf: Leaf, out: Bytes) -> None:
        try:
            with open(place, "rb") as file:
                _header(file)
                _read(file, out)
        except Exception as err:
            raise ForeignFileError(place, f"it cannot be read: {err}.") from err

    yield leaf, one_at_a_time(fill)


def _leaf(place: str, archive: zipfile.ZipFile, name: str, member: str) -> Leaf:
    try:
        with archive.open(member) as file:
            return _described(place, paths.child("", name), file, archive.getinfo(member).file_size)
    except ForeignFileError:
        raise
    except Exception as err:
        raise ForeignFileError(place, f"{name!r}: {err}.") from err


def _described(place: str, path: str, file: IO[bytes], size_bytes: int) -> Leaf:
    what = repr(path) if path else "its array"
    try:
        shape, is_fortran, dtype, header_size = _header(file)
        described = dtypes.name_of(dtype)
    except Exception as err:
        raise ForeignFileError(place, f"{what}: {str(err)[:_MAX_SAID]}.") from err
    # Before memory is allocated for what a header claims.
    if min(shape, default=0) < 0 or prod(shape) * dtype.itemsize + header_size != size_bytes:
        raise ForeignFileError(place, f"{what} does not have the size of its shape.")
    return Leaf(path, described, shape, "F" if is_fortran and len(shape) > 1 else "C")


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
