"""An array's bytes as other programs expect them: in C order, little-endian, piece by piece where that is possible."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from .. import dtypes
from ..bundle import Bundle
from ..errors import HoldfastError, OutputExistsError, SaveError, UsageError
from ..records import Bytes, Leaf
from ..storage import LocalDisk, NewFiles


def plain_dtype(leaf: Leaf) -> str:
    """The leaf's dtype, little-endian; `float32` for `>f4`."""
    if leaf.dtype.startswith(">"):
        return dtypes.name_of(dtypes.to_numpy(leaf.dtype).newbyteorder("<"))
    return leaf.dtype


def runs(source: Bundle, leaf: Leaf, *, keep_order: bool = False) -> Iterator[memoryview]:
    """The checked bytes as a stream; an F-ordered array at once, unless its order is kept.

    Raises:
        PieceDamagedError: they are not what was saved.
    """
    swap = dtypes.to_numpy(leaf.dtype).itemsize if leaf.dtype.startswith(">") else 0
    if leaf.order == "F" and not keep_order:
        rows = source.in_c_order(leaf)
        yield _swapped(rows, leaf) if swap else rows.data
        return
    for run in runs_as_saved(source, leaf):
        yield _swapped(run, leaf) if swap else run.data


def runs_as_saved(source: Bundle, leaf: Leaf) -> Iterator[Bytes]:
    """The leaf's bytes piece by piece, checked, in memory of their own.

    Raises:
        PieceDamagedError: they are not what was saved.
    """
    for piece in source.pieces(leaf):
        yield source.piece_bytes(leaf, piece)


def _swapped(raw: Bytes, leaf: Leaf) -> memoryview:
    return raw.view(dtypes.to_numpy(leaf.dtype)).byteswap().view(np.uint8).data


class OutputFiles:
    """New files in one folder, atomic; failures raise our own errors. Use it as a context manager.

    Raises: OutputExistsError, SaveError, UsageError (there is no such folder).
    """

    def __init__(self, folder: str, overwrite: bool) -> None:
        self._folder = folder or "."
        try:
            self._files = NewFiles(LocalDisk(), self._folder, overwrite=overwrite)
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(f"{self._folder}: there is no such directory.") from None
        except OSError as err:
            raise SaveError(self._folder, err.strerror or str(err)) from err

    def __enter__(self) -> NewFiles:
        return self._files.__enter__()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self._files.__exit__(kind, error, trace)
            if isinstance(error, OSError) and not isinstance(error, HoldfastError):
                raise error
        except FileExistsError as err:
            raise OutputExistsError(os.path.join(self._folder, str(err.filename or ""))) from None
        except OSError as err:
            raise SaveError(self._folder, err.strerror or str(err)) from err
