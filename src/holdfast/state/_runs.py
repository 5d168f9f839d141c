"""Runs of items, counted in C order, out of and into arrays and tensors that are not one run in memory."""

from __future__ import annotations

from math import prod
from typing import Any


def put_run(rows: Any, first: int, items: Any) -> None:
    """Set `items` (one-dimensional) from the flat C-order index `first` on, whatever the strides of `rows`.

    `rows` is an ndarray or a tensor on any device; complete rows are copied at once.
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
    full = len(items) // row
    if full:
        rows[index : index + full] = items[: full * row].reshape(full, *rows.shape[1:])
    if len(items) > full * row:
        put_run(rows[index + full], 0, items[full * row :])


def copy_run(rows: Any, first: int, out: Any) -> None:
    """Fill the flat array `out` with items of `rows`, counted in C order from item `first` on.

    Both are of one framework (NumPy, torch). Only what is needed is touched, so an array of any strides
    can be copied piece by piece.
    """
    if not rows.shape:
        rows = rows.reshape(1)
    shape = tuple(rows.shape[1:])
    row, done = prod(shape), 0
    while done < len(out):
        index, offset = divmod(first + done, row)
        full = 0 if offset else (len(out) - done) // row
        if full:
            out[done : done + full * row].reshape(full, *shape)[...] = rows[index : index + full]
            done += full * row
        else:
            part = min(row - offset, len(out) - done)
            copy_run(rows[index], offset, out[done : done + part])
            done += part
