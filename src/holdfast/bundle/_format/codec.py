"""Compressed pieces: byte planes, then one Zstandard frame. For archives only; saves write plain bytes.

The planes put first bytes of all items together, then all second ones, and so on: sign and exponent of floats
are alike from item to item, and their last bits are not. The idea is Blosc's shuffle filter. What comes out of
a frame is never larger than requested: the frame says its size, which is compared before memory is taken.
"""

from __future__ import annotations

from functools import lru_cache
from threading import local
from types import ModuleType
from typing import Final

import numpy as np

from ...dtypes import item_size
from ...errors import UsageError
from ...records import Bytes

PLANES_ZSTD: Final = "planes+zstd"
_LEVEL = 3  # level 19 is far slower and gains two percent on weights
_MAGIC = b"\x28\xb5\x2f\xfd"
_MAX_WIDTH = 16
_kept = local()


def max_stored_bytes(size: int) -> int:
    """More than any frame of `size` bytes needs; a longer one is not worth reading."""
    return size + size // 128 + 1024


def compress(data: Bytes, dtype: str) -> bytes:
    """The frame of a piece of an array of this element type.

    Raises:
        UsageError: the package `zstandard` is not installed.
    """
    if not hasattr(_kept, "compressor"):
        _kept.compressor = _zstandard().ZstdCompressor(level=_LEVEL, write_content_size=True)
    planes = np.ascontiguousarray(data.reshape(-1, num_planes(dtype)).T)
    return _kept.compressor.compress(planes)


def decompress(frame: Bytes, dtype: str, out: memoryview) -> None:
    """Fill `out` with the piece.

    Raises:
        ValueError: this is not one frame of exactly that many bytes.
        UsageError: the package `zstandard` is not installed.
    """
    zstandard = _zstandard()
    try:
        if frame[:4].tobytes() != _MAGIC or zstandard.get_frame_parameters(frame).content_size != len(out):
            raise ValueError(f"no frame of {len(out)} bytes")
        if not hasattr(_kept, "decompressor"):
            _kept.decompressor = zstandard.ZstdDecompressor()
        planes = _kept.decompressor.decompress(frame, read_across_frames=False, allow_extra_data=False)
    except zstandard.ZstdError as err:
        raise ValueError(f"it cannot be decompressed ({err})") from None
    if len(planes) != len(out):
        raise ValueError(f"no frame of {len(out)} bytes")
    width = num_planes(dtype)
    np.frombuffer(out, np.uint8).reshape(-1, width).T[...] = np.frombuffer(planes, np.uint8).reshape(
        width, -1
    )


def num_planes(dtype: str) -> int:
    """Bytes of an item, but 1 for long ones such as texts."""
    size = item_size(dtype)
    return size if size <= _MAX_WIDTH else 1


@lru_cache(maxsize=1)
def _zstandard() -> ModuleType:
    try:
        import zstandard
    except ImportError:
        raise UsageError(
            "compressed arrays need the package zstandard: `pip install 'holdfast[zstd]'`"
        ) from None
    return zstandard
