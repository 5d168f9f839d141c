"""Binary search for the first bad checkpoint of a run, where some cannot be judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["good", "bad", "skip"]


@dataclass(frozen=True, slots=True)
class Search:
    """The result of a search, by indices from the oldest on.

    Attributes:
        first_bad: the first that is bad; None if none was found.
        last_good: the last that is good before it; None if even the oldest that can be judged is bad.
        verdicts: of all that were judged, in that order.
    """

    first_bad: int | None
    last_good: int | None
    verdicts: Mapping[int, Verdict]

    @property
    def suspects(self) -> tuple[int, ...]:
        """Those between the last good and the first bad one that could not be judged: one of them may be the first bad one."""
        if self.first_bad is None or self.last_good is None:
            return ()
        return tuple(range(self.last_good + 1, self.first_bad))


def first_bad(number: int, check: Callable[[int], Verdict]) -> Search:
    """Search `number` items, the oldest first, for the first for which `check` says "bad".

    Both ends are judged first: if the oldest is bad or the newest is good there is nothing to search. Then
    about log2(number) checks follow; each "skip" costs one more. As in any such search, all before the first bad
    one are taken to be good, and all after it bad.
    """
    verdicts: dict[int, Verdict] = {}

    def judge(index: int) -> Verdict:
        verdicts[index] = check(index)
        return verdicts[index]

    good = next((index for index in range(number) if judge(index) != "skip"), None)
    if good is None:
        return Search(None, None, verdicts)
    if verdicts[good] == "bad":
        return Search(good, None, verdicts)
    bad = next((index for index in range(number - 1, good, -1) if judge(index) != "skip"), None)
    if bad is None:
        return Search(None, good, verdicts)
    if verdicts[bad] == "good":
        return Search(None, bad, verdicts)
    while candidates := [index for index in range(good + 1, bad) if index not in verdicts]:
        ends = good + bad
        middle = min(candidates, key=lambda index: abs(2 * index - ends))
        match judge(middle):
            case "good":
                good = middle
            case "bad":
                bad = middle
    return Search(bad, good, verdicts)
