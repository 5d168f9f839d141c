"""A table that only grows, so that checkpoints can share it.

A column is saved in segments of `SEGMENT_ROWS` rows. A full segment never changes again, so the next
checkpoint finds its bytes already stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, SupportsFloat, final

import numpy as np
import numpy.typing as npt

SEGMENT_ROWS = 8192
_MOST_WAITING = 256


@final
class Table:
    """Rows of named numbers, appended and never changed. A row without some name has NaN there."""

    def __init__(self) -> None:
        self._num_filed = 0
        self._filed: dict[str, list[npt.NDArray[np.float64]]] = {}
        self._waiting: list[Mapping[str, SupportsFloat]] = []  # rows that are in no segment yet

    def append(self, row: Mapping[str, SupportsFloat]) -> None:
        """Add a row, which must not change; names that were not there before become columns."""
        self._waiting.append(row)
        if len(self._waiting) >= _MOST_WAITING:
            self._file()

    @contextmanager
    def with_row(self, row: Mapping[str, SupportsFloat]) -> Iterator[None]:
        """Inside, this is the last row."""
        self.append(row)
        try:
            yield
        finally:
            if self._waiting:
                self._waiting.pop()
            else:  # filed meanwhile: the next one takes its place
                self._num_filed -= 1

    def _file(self) -> None:
        waiting, self._waiting = self._waiting, []
        for row in waiting:
            for name in row:
                if name not in self._filed:
                    num_segments = -(-self._num_filed // SEGMENT_ROWS)
                    self._filed[name] = [_empty_segment() for _ in range(num_segments)]
            index, offset = divmod(self._num_filed, SEGMENT_ROWS)
            for name, segments in self._filed.items():
                if index == len(segments):
                    segments.append(_empty_segment())
                segments[index][offset] = float(row.get(name, math.nan))
            self._num_filed += 1

    @property
    def _segments(self) -> dict[str, list[npt.NDArray[np.float64]]]:
        """All rows, by column."""
        if self._waiting:
            self._file()
        return self._filed

    @property
    def _num_rows(self) -> int:
        return self._num_filed + len(self._waiting)

    def __len__(self) -> int:
        return self._num_rows

    def __iter__(self) -> Iterator[dict[str, float]]:
        """Row by row, as `row` gives them."""
        return map(self.row, range(self._num_rows))

    def __contains__(self, name: object) -> bool:
        return name in self._segments

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns' names, in the order in which they first came."""
        return tuple(self._segments)

    def __getitem__(self, name: str) -> npt.NDArray[np.float64]:
        """A copy of a column, `(rows,)` float64.

        Raises:
            KeyError: there is none of that name.
        """
        if name not in self._segments:
            raise KeyError(
                f"there is no {name!r} among the results; there are {', '.join(self.columns) or 'none'}"
            )
        return np.concatenate([np.empty(0), *self._segments[name]])[: self._num_rows]

    def row(self, index: int) -> dict[str, float]:
        """One row by name; negative indices count from the end.

        Raises:
            IndexError: there is no such row.
        """
        at = range(self._num_rows)[index]
        return {
            name: float(parts[at // SEGMENT_ROWS][at % SEGMENT_ROWS])
            for name, parts in self._segments.items()
        }

    def get_state(self) -> dict[str, Any]:
        """Plain data: the number of rows, and each column's segments, cut to the rows there are."""
        cut = [min(SEGMENT_ROWS, self._num_rows - at) for at in range(0, self._num_rows, SEGMENT_ROWS)]
        return {
            "rows": self._num_rows,
            "columns": {
                name: [part[:size].copy() for part, size in zip(segments, cut, strict=True)]
                for name, segments in self._segments.items()
            },
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._num_filed, self._waiting = int(state["rows"]), []
        self._filed = {name: [_segment(part) for part in parts] for name, parts in state["columns"].items()}


def _empty_segment() -> npt.NDArray[np.float64]:
    return np.full(SEGMENT_ROWS, math.nan)


def _segment(part: Any) -> npt.NDArray[np.float64]:
    segment = _empty_segment()
    segment[: len(part)] = part
    return segment
