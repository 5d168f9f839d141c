"""The ranks of a run, as one of them sees it; most runs have one, which agrees with itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, final

from ...crew import Crew, gathered
from ...errors import CheckpointDamagedError, CrewError, PlanMismatchError
from ...records import BY_RANK, Node, Object, OwnPart

Kinds = tuple[type[Exception], ...]

_AS_MANY: Final = (
    "Start as many as there were; or begin a new run from its arrays, in another directory: "
    "holdfast.load(path, into=state, crew=torch_crew()) before Run(…)."
)
_DONE: Final = "+"
_SKIPPED: Final = "s"
_REFUSED: Final = "-"


class _Elsewhere(Exception):
    """What another rank has said decides."""

    def __init__(self, error: Exception) -> None:
        self.error = error


@final
class Ranks:
    """All of them make the same calls in the same order, and what one cannot do none does.

    Args:
        crew: the processes; None: there is only this one.
        beside: the same, for what is talked of in another thread.
    """

    def __init__(self, crew: Crew | None = None, beside: Crew | None = None) -> None:
        self._crew = crew
        self.beside = beside

    @property
    def crew(self) -> Crew:
        """Those of a run of several."""
        assert self._crew is not None
        return self._crew

    @property
    def are_several(self) -> bool:
        return self._crew is not None

    @property
    def leads(self) -> bool:
        """Whether this one does what one does for all: holds the directory, deletes what is given up."""
        return self._crew is None or self._crew.rank == 0

    @property
    def rank(self) -> int:
        return 0 if self._crew is None else self._crew.rank

    # --- agreeing ---------------------------------------------------------------------------------

    def each(self, do: Callable[[], str]) -> list[str]:
        """What `do` gives on each rank, by rank.

        Raises: what `do` raises; CrewError where it has raised on another rank, which the error names.
        """
        if self._crew is None:
            return [do()]
        try:
            mine = do()
        except BaseException as err:
            with suppress(CrewError):
                gathered(self._crew, _REFUSED + str(err))
            raise
        found = gathered(self._crew, _DONE + mine)
        _raise_first(found, _REFUSED)
        return [each[1:] for each in found]

    def first(self, do: Callable[[], str]) -> str:
        """What `do` gives on rank 0, where alone it is called."""
        return self.each(do if self.leads else str)[0]

    def in_turn(self, do: Callable[[], object]) -> None:
        """Rank 0 does it, and then the others.

        Raises: as `each`.
        """

        def done() -> str:
            do()
            return ""

        self.first(done)
        if self._crew is not None:
            self.each(str if self.leads else done)

    @contextmanager
    def attempt(self, place: str, damage: Kinds) -> Iterator[Callable[[], None]]:
        """A checkpoint at `place` is restored inside, on all ranks or none; gives what each calls once it has found that it fits.

        Raises: what is raised inside; where that is on another rank, CheckpointDamagedError if it is one of `damage`, else CrewError.
        """
        if self._crew is None:
            yield lambda: None
            return
        crew, has_met = self._crew, False

        def meet(mine: str) -> None:
            found = gathered(crew, mine)
            try:
                _raise_first(found, _REFUSED)
            except CrewError as err:
                raise _Elsewhere(err) from None
            for rank, each in enumerate(found):
                if each[0] == _SKIPPED:
                    raise _Elsewhere(CheckpointDamagedError(place, f"rank {rank} cannot use it: {each[1:]}"))

        def ready() -> None:
            nonlocal has_met
            has_met = True
            meet(_DONE)

        try:
            yield ready
        except _Elsewhere as err:  # all have heard it
            raise err.error from None
        except CrewError:
            raise
        except BaseException as err:
            try:
                meet((_SKIPPED if isinstance(err, damage) else _REFUSED) + str(err))
            except _Elsewhere as other:
                if isinstance(other.error, CrewError) and isinstance(err, damage):
                    raise other.error from err  # what cannot be used here is refused there
            except CrewError:
                pass
            raise
        try:
            if not has_met:
                meet(_DONE)
            meet(_DONE)
        except _Elsewhere as err:
            raise err.error from None

    # --- what each has for itself -----------------------------------------------------------------

    def own(self, value: Any) -> Any:
        """`value` as a part of a checkpoint, of which each rank has one of its own."""
        return value if self._crew is None else OwnPart(value, self._crew)

    def mine(self, tree: Mapping[str, Node], names: Callable[[str], bool], path: str) -> dict[str, Any]:
        """The tree of a checkpoint, in which what each rank has for itself is that of this one, under such names.

        Raises:
            PlanMismatchError: another number of ranks saved it.
        """
        own = {
            name: node.state
            for name, node in tree.items()
            if isinstance(node, Object) and node.adapter == BY_RANK and names(name)
        }
        then = len(own["run"]) if "run" in own else 1  # it is in every checkpoint of a run
        now = 1 if self._crew is None else self._crew.size
        if then != now:
            raise _other_number(path, then, now)
        return {**tree, **{name: of_ranks[self.rank] for name, of_ranks in own.items()}}


def _raise_first(found: list[str], kind: str) -> None:
    for rank, each in enumerate(found):
        if each[0] == kind:
            raise CrewError(f"rank {rank}: {each[1:]}")


def _other_number(path: str, then: int, now: int) -> PlanMismatchError:
    saved = "1 process" if then == 1 else f"{then} processes together"
    there = "there is 1 process" if now == 1 else f"there are {now} processes"
    return PlanMismatchError([f"{path} was saved by {saved}, and now {there}"], "run", _AS_MANY)


ALONE: Final = Ranks()
