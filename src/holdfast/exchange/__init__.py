"""Checkpoints to and from plain files of other formats, streamed and without running code."""

from .._shown import shown_in as _shown_in
from ._export import Exported, export
from ._import import import_checkpoint

__all__ = [
    "Exported",
    "export",
    "import_checkpoint",
]

_shown_in(__name__, *map(globals().__getitem__, __all__))
