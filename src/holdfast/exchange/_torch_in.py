"""Reading what torch has written: `.pt` by its weights-only reader, and DCP directories."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from ..checkpoint import Part
from ..errors import ForeignFileError, UsageError
from ..records import Node
from ._value import of_value

_MODELS_OWN = ("weights_only", "Weights only")


@contextlib.contextmanager
def opened(place: str) -> Iterator[tuple[Node, Part]]:
    """The tree of a `.pt` file: whatever plain data and tensors it holds; mapped into memory where the file allows."""
    torch = _torch()
    try:
        try:
            value = torch.load(place, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as err:
            if "mmap can only be used" not in str(err):
                raise
            value = torch.load(place, map_location="cpu", weights_only=True)  # of before torch 1.6
    except Exception as err:  # its reader raises anything, and only the text is informative
        why = str(err).strip().split("\n")[0] or type(err).__name__
        if any(word in str(err) for word in _MODELS_OWN):
            why = "it holds more than tensors and plain data, and reading that would run code from it"
        raise ForeignFileError(place, f"{why}.") from err
    yield of_value(value, place)


@contextlib.contextmanager
def opened_dcp(place: str, trusted: bool) -> Iterator[tuple[Node, Part]]:
    """The flat state of a directory of `torch.distributed.checkpoint`; all of it is in memory meanwhile."""
    if not trusted:
        raise UsageError(
            f"{place}: the metadata of a DCP directory is a pickle, which can run any code when torch reads it. "
            "If you know who wrote it, pass trusted=True (--trusted)."
        )
    torch = _torch()
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata
    from torch.distributed.checkpoint.state_dict_loader import load

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a single process is what we want
            known = FileSystemReader(place).read_metadata().state_dict_metadata
            state: dict[str, Any] = {
                name: torch.empty(about.size, dtype=about.properties.dtype)
                if isinstance(about, TensorStorageMetadata)
                else None
                for name, about in known.items()
            }
            load(state, checkpoint_id=place)
    except (Exception, CheckpointException) as err:  # which is no `Exception`
        why = str(err).strip().split("\n")[0] or type(err).__name__
        raise ForeignFileError(place, f"torch cannot read it: {why}.") from err
    yield of_value(state, place)


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise UsageError("this needs torch: pip install 'holdfast[torch]'.") from None
    return torch
