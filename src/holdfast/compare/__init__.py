"""Comparing checkpoints: what differs, since when, and their average. Nothing in them is run."""

from .._shown import shown_in as _shown_in
from ._arrays import ArrayChange
from ._average import Averaged, average
from ._diff import ABSENT, Diff, Entry, ValueChange, diff
from ._finite import FiniteCheck, NonFinite
from ._same import unlike
from ._search import Search, Verdict, first_bad

__all__ = [
    "ABSENT",
    "ArrayChange",
    "Averaged",
    "Diff",
    "Entry",
    "FiniteCheck",
    "NonFinite",
    "Search",
    "ValueChange",
    "Verdict",
    "average",
    "diff",
    "first_bad",
    "unlike",
]

_shown_in(__name__, *map(globals().__getitem__, __all__))
