"""Writing a run of items into an array or tensor that is not one run in memory."""

from __future__ import annotations

from math import prod
from typing import Any


def put_run(rows: Any, first: int, items: Any) -> None:
    """Set `items` (one-dimensional) from the flat C-order index `first` on, whatever the strides of `rows`.

    `rows` is an ndarray or a tensor on any device; whole rows are copied at once.
    """
    if rows.ndim == 0:
        rows[...] = items[0]
        return
    row = prod(rows.shape[1:])
    index, begun = divmod(first, row)
    if begun:
        rest = min(row - begun, len(items))
        put_run(rows[index], begun, items[:rest])
        index, items = index + 1, items[rest:]
    whole = len(items) // row
    if whole:
        rows[index : index + whole] = items[: whole * row].reshape(whole, *rows.shape[1:])
    if len(items) > whole * row:
        put_run(rows[index + whole], 0, items[whole * row :])
