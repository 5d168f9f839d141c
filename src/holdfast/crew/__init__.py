"""Crews: processes that save and restore together, and how they tell each other what they have done.

They agree through a key-value store with a time limit, never through collectives: those hang when a process is lost, and
must not be mixed with those of the training.
"""

from .._shown import shown_in as _shown_in
from ..records import ByRank
from ._agree import agreeing
from ._board import Board, FolderBoard, StoreBoard
from ._crew import Crew
from ._gather import gathered
from ._torch import torch_crew

__all__ = ["Board", "ByRank", "Crew", "FolderBoard", "StoreBoard", "agreeing", "gathered", "torch_crew"]

_shown_in(__name__, *map(globals().__getitem__, __all__))
