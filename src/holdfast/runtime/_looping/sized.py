"""An iterator that says how many items it gives, as progress bars ask."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar, final

Item = TypeVar("Item")


@final
class Sized(Generic[Item]):
    """The items of `inner`; `len()` is how many it gives in all, as far as is known when it is asked first.

    Args:
        count: called for that number, before the first item or later; None if nobody knows.
    """

    def __init__(self, inner: Generator[Item, None, None], count: Callable[[], int | None]) -> None:
        self._inner, self._count = inner, count
        self._len: int | None = None
        self._has_begun = False

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        if not self._has_begun:
            self._has_begun = True
            self._len = self._count()
        return next(self._inner)

    def __len__(self) -> int:
        """Raises TypeError where it is not known, as `len` of a generator does."""
        number = self._len if self._has_begun else self._count()
        if number is None:
            raise TypeError("the data do not say how many batches they have")
        return number

    def close(self) -> None:
        """End the loop."""
        self._inner.close()
