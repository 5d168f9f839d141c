"""What the processes of a race said they did, and whether what was seen can be true.

Each operation has a beginning and an end in one log, whose order is that of time. So of two operations one
came first if it ended before the other began; else either order is possible. Nobody who was killed was told
anything, but what they had begun may have happened at any time until they were dead.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

Value = tuple[int, int]
"""Which save a checkpoint is: the number of its writer, and of the save."""


class Log:
    """A file to which many processes append lines; a line is written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(self, who: str, what: str, **facts: Any) -> None:
        os.write(self._descriptor, json.dumps({"who": who, "what": what, **facts}).encode() + b"\n")

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]


@dataclass
class Done:
    """One save, deletion or look at a name; `value` is what was saved, deleted or seen (None: nothing)."""

    who: str
    what: str
    name: str
    value: Value | None
    began: float
    ended: float = inf
    acknowledged: bool = False


@dataclass
class Book:
    """All that was done, from the log."""

    done: list[Done] = field(default_factory=list)
    kills: int = 0
    cut_short: int = 0  # what was under way at a kill
    violations: list[str] = field(default_factory=list)

    def judge(self, final: dict[str, Value]) -> list[str]:
        """What cannot be true, in words: of what was seen on the way, and of `final`, what is there at the end."""
        found = [*self.violations]
        names = {each.name for each in self.done}
        for name in sorted(names | final.keys()):
            mine = [each for each in self.done if each.name == name]
            saves = [each for each in mine if each.what == "save"]
            deletions = [each for each in mine if each.what == "delete"]
            looks = [each for each in mine if each.what == "look" and each.acknowledged]
            looks.append(Done("the end", "look", name, final.get(name), inf, inf))
            found += [_tell(look, mine) for look in looks if not _is_possible(look, saves, deletions)]
        return found

    def count(self, what: str) -> int:
        return sum(each.what == what and each.acknowledged for each in self.done)


def read(lines: list[dict[str, Any]]) -> Book:
    book, open_ones = Book(), dict[str, Done]()
    for at, line in enumerate(lines):
        who, what = line["who"], line["what"]
        if what == "ended":
            done = open_ones.pop(who)
            done.ended, done.acknowledged = at, True
            if "value" in line:
                done.value = tuple(line["value"]) if line["value"] else None
        elif what in ("dead", "dropped", "left"):
            book.kills += what == "dead"
            if who in open_ones:
                book.cut_short += what == "dead"
                open_ones.pop(who).ended = at
        elif what == "violation":
            book.violations.append(f"{who}: {line['text']}")
        else:
            value = tuple(line["value"]) if line.get("value") else None
            done = open_ones[who] = Done(who, what, line["name"], value, at)
            book.done.append(done)
    return book


def _tell(look: Done, done: list[Done]) -> str:
    before = [each for each in done if each.what != "look" and each.began < look.ended][-8:]
    history = ", ".join(
        f"{each.who} {each.what} {each.value} {each.began}-{each.ended}{'' if each.acknowledged else ' unheard'}"
        for each in before
    )
    return f"{look.who} found {look.value} under {look.name!r} {look.began}-{look.ended}, after {history}"


def _is_possible(look: Done, saves: list[Done], deletions: list[Done]) -> bool:
    """Whether the name may have held `look.value` at some instant of the look."""
    before = [save.began for save in saves if save.acknowledged and save.ended < look.began]
    # What ended before a save began that was over before the look is certainly replaced.
    candidates = [
        save.value for save in saves if save.began < look.ended and save.ended >= max(before, default=-1)
    ]
    if look.value is None:
        deleted = {deletion.value for deletion in deletions if deletion.began < look.ended}
        return not before or not deleted.isdisjoint(candidates)
    # A save that is deleted before it has returned is made again: who saves is not told of a deletion.
    saved_by = {save.value: save.ended for save in saves}
    gone = {
        each.value
        for each in deletions
        if each.acknowledged and each.ended < look.began and each.began > saved_by.get(each.value, -1)
    }
    return look.value in candidates and look.value not in gone
