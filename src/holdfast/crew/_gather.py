"""All ranks hear what each of them says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress

from ..errors import CrewError
from ._crew import Crew


def gathered(crew: Crew, mine: str) -> list[str]:
    """What each rank says, by rank. Rank 0 collects it and tells it to all, so that all hear the same.

    Raises:
        CrewError: a rank has said nothing in time; the error names it, on all ranks.
    """
    talk = crew.talk()
    crew.tell(f"{talk}/said/{crew.rank}", b"+" + mine.encode(errors="surrogatepass"))
    return _collected(crew, talk) if crew.rank == 0 else _heard(crew, talk)


def _collected(crew: Crew, talk: str) -> list[str]:
    keys = [f"{talk}/said/{rank}" for rank in range(crew.size)]
    try:
        found = crew.wait(keys, crew.timeout_s)
    except BaseException:
        with suppress(CrewError):
            crew.tell(f"{talk}/heard", _encoded([], [0]))
        raise
    missing = [rank for rank, key in enumerate(keys) if key not in found]
    said = [] if missing else [found[key][1:].decode(errors="surrogatepass") for key in keys]
    if not missing:
        crew.forget_earlier()
    crew.tell(f"{talk}/heard", _encoded(said, missing))
    if missing:
        raise CrewError.silent(missing, crew.timeout_s)
    return said


def _heard(crew: Crew, talk: str) -> list[str]:
    heard = json.loads(crew.heard(f"{talk}/heard"))
    if heard["missing"]:
        raise CrewError.silent(heard["missing"], crew.timeout_s)
    crew.forget_earlier()
    return heard["said"]


def _encoded(said: Sequence[str], missing: Sequence[int]) -> bytes:
    """Rank 0 to all: what each has said, by rank; or who has said nothing in time."""
    return json.dumps({"said": said, "missing": missing}).encode()
