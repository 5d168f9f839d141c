"""Checkpoints to and from plain files of other formats, streamed and without running code."""

from ._export import Exported, export
from ._import import import_checkpoint

__all__ = [
    "Exported",
    "export",
    "import_checkpoint",
]
