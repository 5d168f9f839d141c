"""Comparing checkpoints: what differs, since when, and their average. Nothing in them is run."""

from ._arrays import ArrayChange as ArrayChange
from ._average import Averaged as Averaged
from ._average import average as average
from ._diff import ABSENT as ABSENT
from ._diff import Diff as Diff
from ._diff import Entry as Entry
from ._diff import ValueChange as ValueChange
from ._diff import diff as diff
from ._finite import FiniteCheck as FiniteCheck
from ._finite import NonFinite as NonFinite
from ._same import unlike as unlike
from ._search import Search as Search
from ._search import Verdict as Verdict
from ._search import first_bad as first_bad

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
