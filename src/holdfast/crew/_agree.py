"""All ranks do something, or none does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ..errors import CrewError
from ._crew import Crew


@contextmanager
def agreeing(crew: Crew, about: str) -> Iterator[Callable[[], None]]:
    """Gives what each rank calls once it is ready; it returns when rank 0 has found that all are. `about` must be equal on all.

    What is raised before that is told to the others.

    Raises (when called):
        CrewError: a rank cannot go ahead, or did not answer; the error names it. No rank goes ahead.
    """
    talk = crew.talk()
    has_told = False

    def ready() -> None:
        nonlocal has_told
        has_told = True
        crew.tell(f"{talk}/ready/{crew.rank}", b"+" + about.encode())
        if crew.rank == 0:
            why = _why_not(crew, talk, about)
            crew.tell(f"{talk}/verdict", why.encode() or b"+")
            if why:
                raise CrewError(why)
            return
        if (verdict := crew.heard(f"{talk}/verdict")) != b"+":
            raise CrewError(verdict.decode())

    try:
        yield ready
    except BaseException as err:
        if not has_told:
            with suppress(CrewError):
                crew.tell(f"{talk}/ready/{crew.rank}", f"-{err}".encode(errors="replace"))
                if crew.rank == 0:
                    crew.tell(f"{talk}/verdict", f"rank 0: {err}".encode(errors="replace"))
        raise


def _why_not(crew: Crew, talk: str, about: str) -> str:
    """Why not all ranks are ready; empty if they are."""
    keys = [f"{talk}/ready/{rank}" for rank in range(crew.size)]
    found = crew.wait(keys, crew.timeout_s, lambda found: any(each[:1] == b"-" for each in found.values()))
    for rank, key in enumerate(keys):
        said = found.get(key, b"+").decode(errors="replace")
        if said[0] == "-":
            return f"rank {rank}: {said[1:]}"
        if key in found and said[1:] != about:
            return f"rank {rank} is about {said[1:]}, rank 0 about {about}"
    missing = [rank for rank, key in enumerate(keys) if key not in found]
    if missing:
        return str(CrewError.silent(missing, crew.timeout_s))
    crew.forget_earlier()
    return ""
