"""What differs first between two lives of a script, by name, and what was most often the cause of such a difference."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ._hints import ORDER, Kind, hint, kind_of_named
from ._look import Look, is_environment
from ._trace import RANDOM, Glimpse


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that differs, or that may be why something does.

    Attributes:
        name: a variable of the script, `obj.attribute`, or a random state.
        kind: what sort of thing it is.
        is_seen: whether it was seen to differ; if not it only can be the cause, as its place cannot be looked at.
        then: it in the uninterrupted run, in short; "" if that says nothing.
        now: it in the resumed run.
        hint: what to do.
        is_left: whether the run was told to leave it to the script.
    """

    name: str
    kind: Kind
    is_seen: bool
    then: str
    now: str
    hint: str
    is_left: bool = False

    @property
    def may_decide_nothing(self) -> bool:
        """Whether it is what scripts keep for their logs, too, and not only for training: plain data."""
        return self.kind in ("number", "variable")


def findings(
    expected: Sequence[Glimpse],
    found: Sequence[Glimpse],
    again: Sequence[Glimpse] = (),
    *,
    only_first: bool = False,
    named: Collection[str] = (),
    holds: Collection[str] = (),
) -> list[Finding]:
    """What differs at the first hook that both lives came to and at which anything does, the likeliest cause first.

    Iterators and environments that cannot be looked into, and what the run itself names, are suspects; they come last.

    Args:
        expected: what was seen in the uninterrupted life.
        found: what was seen in the other one, from its resume on.
        again: what was seen in a second uninterrupted life; what differs there too, such as a time, is no cause.
        only_first: at the first hook, or not at all.
        named: the variables that the run itself says were lost.
        holds: the names of what a checkpoint of the script holds, which tell its framework.
    """
    known: dict[object, Glimpse] = {_place(each): each for each in expected}
    arbitrary = _unused(expected) | _changing(known, again)
    pairs = [(known[_place(each)].things, each.things) for each in found if _place(each) in known]
    differing = [
        {
            name: (one[name], look)
            for name, look in other.items()
            if name in one and look.is_live and name not in arbitrary and _differs(one[name], look)
        }
        for one, other in pairs
    ]
    suspects = _suspects(found, named)
    # What differs only after a step is what came of it, if there is anything else that it may have come of.
    is_first = only_first or suspects or any(differing[:1])
    seen = differing[:1] if is_first else [each for each in differing if each][:1]
    indices = [] if only_first else _indices(pairs[1:])
    everything = {each.name: each for each in [*suspects, *indices, *_causes(seen)]}
    hinted = [replace(each, hint=hint(name, each.kind, holds)) for name, each in everything.items()]
    return sorted(hinted, key=lambda each: (not each.is_seen, ORDER.index(each.kind)))


def _causes(differing: Sequence[Mapping[str, tuple[Look, Look]]]) -> list[Finding]:
    """What differs, without what is a part of another thing that does, and without models that may have been changed by it."""
    return [
        _finding(name, then, now)
        for pairs in differing
        for name, (then, now) in pairs.items()
        if not any(parent in pairs and not pairs[parent][1].is_model for parent in _parents(name))
        and not (now.is_model and any(not each.is_model for _, each in pairs.values()))
    ]


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _suspects(glimpses: Sequence[Glimpse], named: Collection[str]) -> list[Finding]:
    """What is there at the first hook, and may be in a place or a state that cannot be looked at, or was named by the run."""
    things = glimpses[0].things if glimpses else {}
    hidden = [
        _finding(name, look, look, is_seen=False)
        for name, look in things.items()
        if look.is_hidden or name in named
    ]
    elsewhere = [name for name in named if name not in things]
    return [*(Finding(name, kind_of_named(name), False, "", "", "") for name in elsewhere), *hidden]


def _indices(pairs: Sequence[tuple[Mapping[str, Look], Mapping[str, Look]]]) -> list[Finding]:
    """Integers that the first resumed step wrote, and that are others than they were uninterrupted."""
    return [
        _finding(name, one[name], look)
        for one, other in pairs[:1]
        for name, look in other.items()
        if name in one and not look.is_live and _differs(one[name], look)
    ]


def _changing(known: Mapping[object, Glimpse], again: Sequence[Glimpse]) -> set[str]:
    pairs = [(known[_place(each)].things, each.things) for each in again if _place(each) in known]
    return {
        name for one, other in pairs for name in one.keys() & other.keys() if _differs(one[name], other[name])
    }


def _unused(glimpses: Sequence[Glimpse]) -> set[str]:
    """The random states that nothing was drawn from: their seeds are arbitrary."""
    first = glimpses[0].things if glimpses else {}
    return {
        name
        for name, look in first.items()
        if name.startswith(RANDOM) and all(each.things.get(name) == look for each in glimpses)
    }


def _place(glimpse: Glimpse) -> tuple[int, tuple[tuple[str, object], ...]]:
    moment = {name: value for name, value in glimpse.moment.items() if name != "step"}
    return glimpse.number, tuple(sorted(moment.items()))


def _differs(one: Look, other: Look) -> bool:
    return one.digest is not None and other.digest is not None and one.digest != other.digest


def _finding(name: str, then: Look, now: Look, *, is_seen: bool = True) -> Finding:
    kind = _kind(name, now)
    shown = (then.shown, now.shown) if is_seen else ("", "")
    return Finding(name, kind, is_seen, *shown, hint="", is_left=now.is_left)


def _kind(name: str, look: Look) -> Kind:
    if name.startswith(RANDOM):
        return "random state"
    if not look.is_live:
        return "index"
    if look.is_iterator:
        return "iterator"
    if look.is_array:
        return "array"
    if look.kind in ("int", "float", "bool"):
        return "number"
    if look.has_state:
        return "object"
    return "environment" if is_environment(look.kind) else "variable"
