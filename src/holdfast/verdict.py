"""`Verdict`: how exactly a run resumes, in words that are ordered, so that a script can compare them."""

from __future__ import annotations

import re
from enum import Enum
from functools import total_ordering
from typing import final


@final
@total_ordering
class Verdict(Enum):
    """How exactly a run resumes; the later in this list, the more is known to be right.

    Attributes:
        NOT_COMPARED: what comes next has not been compared with what should.
        NOT_EXACT: something differs, or is not as it was, that decides what comes next.
        EXACT_BUT_FOR: all that was handed over came back, and what comes next is as expected; variables of the script
            that could not be saved begin as the script makes them.
        EXACT: all came back that is known to decide what comes next, and it is as expected.
        PROVED: a part of the run was done again, in another process, from a checkpoint, and ended in the same bits.
    """

    NOT_COMPARED = "not compared yet"
    NOT_EXACT = "not exact"
    EXACT_BUT_FOR = "exact but for"
    EXACT = "exact"
    PROVED = "proved"

    @classmethod
    def of(cls, text: str) -> Verdict:
        """That of a sentence such as `"exact but for: env"`, or `"exact; …"`, as it stands in a record.

        Raises:
            ValueError: it begins with none of the words.
        """
        return cls(re.split("[:;]", text, maxsplit=1)[0])

    def __str__(self) -> str:
        return self.value

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Verdict):
            return NotImplemented
        order = list(Verdict)
        return order.index(self) < order.index(other)


Verdict.__module__ = "holdfast"  # from where it is imported
