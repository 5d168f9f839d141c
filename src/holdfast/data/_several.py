"""Batches of several sources side by side, each with a position of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, final

from blake3 import blake3

from ..errors import UsageError
from ._batch import Batch
from ._source import BatchSource, Position, foreign_state, kept_by_others, without_position

_KIND = "several"
Until = Literal["shortest", "longest"]


@final
class SeveralBatches:
    """Tuples of batches, one of each source, as `zip` gives them.

    Args:
        until: "shortest": an epoch ends with the first source that ends, and in the next all start over. "longest": it ends with
            the longest; the others start over as soon as they end, and continue from epoch to epoch.

    Raises:
        UsageError: a source does not say how long it is, which "longest" needs.
    """

    def __init__(self, sources: Sequence[BatchSource], until: Until) -> None:
        self._sources, self._until = sources, until
        self._position = Position()
        self._rounds = [0] * len(sources)  # which of its own epochs each is in, or comes to next
        self._rests: list[Iterator[Any]] = []
        if until == "longest" and (self.num_batches is None or not all(s.num_batches for s in sources)):
            raise UsageError('until="longest" needs data that say by len() how many batches they have.')

    @property
    def num_batches(self) -> int | None:
        numbers = [source.num_batches for source in self._sources]
        known = [each for each in numbers if each is not None]
        if len(known) < len(numbers):
            return None
        return min(known) if self._until == "shortest" else max(known)

    @property
    def without_position(self) -> str | None:
        """As `without_position`, of the first source that has none."""
        return next(filter(None, map(without_position, self._sources)), None)

    @property
    def exactness(self) -> str:
        return next((said for each in self._sources if (said := each.exactness) != "exact"), "exact")

    @property
    def foreign_state(self) -> str | None:
        said = [each for each in self._sources if each.exactness != "exact"]
        return foreign_state(said[0]) if said and all(map(foreign_state, said)) else None

    @property
    def differences(self) -> Sequence[str]:
        return [said for each in self._sources for said in each.differences]

    @property
    def generators(self) -> Mapping[str, Any]:
        return {
            f"{index}: {name}": generator
            for index, each in enumerate(self._sources)
            for name, generator in each.generators.items()
        }

    def begin(self, epoch: int) -> Iterator[Batch]:
        self._position = Position(epoch, 0, finished=False)
        if self._until == "shortest":
            self._rests = [source.begin(epoch) for source in self._sources]
        elif not self._rests:
            self._rests = [iter(()) for _ in self._sources]
        return self._counted()

    def get_state(self) -> dict[str, Any]:
        return self._position.to_state(_KIND) | {
            "until": self._until,
            "rounds": [*self._rounds],
            "sources": [source.get_state() for source in self._sources],
        }

    def resume(self, state: Mapping[str, Any]) -> Iterator[Batch]:
        position = Position.from_state(state, _KIND)
        saved = state["sources"]
        if (len(saved), state["until"]) != (len(self._sources), self._until):
            raise UsageError(
                f"{len(saved)} loaders were gone through until the {state['until']}, and now {len(self._sources)} until the "
                f"{self._until}. Give the same data as when it was saved."
            )
        is_anew = (
            self._until == "shortest" and not position.mid_epoch
        )  # what is left of the longer ones is not read
        self._rests = [
            source.resume({**each, "finished": True} if is_anew else each)
            for source, each in zip(self._sources, saved, strict=True)
        ]
        self._rounds = [*state["rounds"]]
        self._position = position
        return self._counted() if position.mid_epoch else iter(())

    @contextmanager
    def kept(self, is_kept: Callable[[Any], bool]) -> Iterator[None]:
        with ExitStack() as stack:
            for each in self._sources:
                stack.enter_context(kept_by_others(each, is_kept))
            yield

    def describe(self) -> dict[str, Any]:
        described = {f"loader {index + 1}": each.describe() for index, each in enumerate(self._sources)}
        return {"kind": _KIND, "until": self._until, **described}

    def fingerprint(self) -> str | None:
        if not self._position.mid_epoch:
            return None
        each = [source.fingerprint() for source in self._sources]
        return None if None in each else blake3(repr(each).encode()).hexdigest()

    def _counted(self) -> Iterator[Batch]:
        return self._position.count(self._tuples(self._position.batch), tuple, self.num_batches)

    def _tuples(self, done: int) -> Iterator[Any]:
        number = self.num_batches
        while number is None or done < number:
            try:
                batches = [self._next(index) for index in range(len(self._sources))]
            except StopIteration:
                return
            done += 1
            yield batches

    def _next(self, index: int) -> Any:
        try:
            return next(self._rests[index])
        except StopIteration:
            if self._until == "shortest":
                raise
        self._rests[index] = self._sources[index].begin(self._rounds[index])
        self._rounds[index] += 1
        return next(self._rests[index])
