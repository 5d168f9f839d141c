"""The average of checkpoints, array by array: streamed, summed in float64, rounded once.

Model soups (M. Wortsman et al., ICML 2022) and stochastic weight averaging (P. Izmailov et al., UAI 2018) are
such averages.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, isfinite

import numpy as np

from ..bundle import SUFFIX, Bundle
from ..checkpoint import Pieces, Place, StreamedSnapshot, save_alone, source_of
from ..dtypes import item_size
from ..errors import StatesDifferError, UsageError
from ..numerics import narrow, widen
from ..records import CheckpointRecord, Leaf, Node, leaves
from ..state import in_optimizers
from ..storage import local_path
from ._reader import BLOCK_ITEMS
from ._scope import floating


@dataclass(frozen=True, slots=True)
class Averaged:
    """The result of an average.

    Attributes:
        path, record: the new checkpoint.
        paths: the arrays that were averaged.
        rest_from: the newest checkpoint, from which everything else comes.
    """

    path: str
    record: CheckpointRecord
    paths: tuple[str, ...]
    rest_from: str


def average(
    checkpoints: Sequence[Place],
    out: str | os.PathLike[str],
    *,
    weights: Sequence[float] | None = None,
    only: str | None = None,
    overwrite: bool = False,
) -> Averaged:
    """Average the floating arrays of checkpoints into a new one, `out` (`….ckpt.mml`).

    Averaged are the weights of the model graph, or all floating arrays of a state without one; nothing of an
    optimizer's state. `only` chooses others (a pattern of `holdfast.paths.matches`). Everything else (integers such as
    `num_batches_tracked`, optimizer, position) comes from the newest. dtypes stay. A piece of each
    checkpoint is in memory at a time.

    Args:
        weights: one for each checkpoint; they are divided by their sum. Equal ones by default.

    Raises:
        UsageError: fewer than two checkpoints, or invalid weights.
        StatesDifferError: an array to be averaged differs in shape, dtype or memory order.
        CheckpointExistsError: `out` exists, and `overwrite` is False.
        DamagedError: bytes are not what was saved; nothing was written.
    """
    if isinstance(checkpoints, str | os.PathLike) or not isinstance(checkpoints, Sequence):
        raise UsageError(f"checkpoints must be a list of at least two, not {checkpoints!r}.")
    place = local_path("out", out).rstrip("/").removesuffix(SUFFIX) + SUFFIX
    shares = _shares(weights, len(checkpoints))
    with contextlib.ExitStack() as opened:
        sources = [source_of(place, opened) for place in checkpoints]
        newest = max(sources, key=lambda source: _age(source, sources))
        averaged = _averaged(newest.tree, only)
        _check_alike(averaged, newest, sources, only)
        ids = [source.record.id for source in sources]
        state = _Average(sources, shares, newest, frozenset(leaf.path for leaf in averaged))
        record = save_alone(
            out,
            StreamedSnapshot(newest.tree, state.part),
            reason=f"average of {len(sources)} checkpoints",
            details={"average": {"of": ids, "weights": shares, "arrays": len(averaged)}},
            like=newest.record,
            overwrite=overwrite,
        )
        return Averaged(place, record, tuple(leaf.path for leaf in averaged), newest.path)


def _shares(weights: Sequence[float] | None, number: int) -> list[float]:
    if number < 2:
        raise UsageError("an average needs at least two checkpoints.")
    if weights is None:
        return [1.0] * number
    if len(weights) != number:
        raise UsageError(f"there are {number} checkpoints and {len(weights)} weights: pass one for each.")
    if not all(map(isfinite, weights)) or not isfinite(fsum(weights)) or fsum(weights) == 0:
        raise UsageError("weights must be finite and their sum must not be 0.")
    return [float(weight) for weight in weights]


def _age(source: Bundle, sources: Sequence[Bundle]) -> tuple[object, ...]:
    # Of several runs only the clock says which is newer.
    of_one_run = len({each.record.run for each in sources}) == 1
    return source.record.age_key if of_one_run else (source.record.created, source.record.id)


def _averaged(tree: Node, only: str | None) -> list[Leaf]:
    if only is not None:
        return [*floating(tree, only)]
    of_optimizers = in_optimizers(tree)
    found = [leaf for leaf in floating(tree, None) if leaf.path not in of_optimizers]
    if not found:
        raise UsageError("there are no floating arrays to average.")
    return found


def _check_alike(
    averaged: Sequence[Leaf], newest: Bundle, sources: Sequence[Bundle], only: str | None
) -> None:
    problems: list[str] = []
    known = {leaf.path for leaf in averaged}
    for source in sources:
        theirs = {leaf.path: leaf for leaf in leaves(source.tree)}
        for leaf in averaged:
            other = theirs.get(leaf.path)
            if other is None:
                problems.append(f"{leaf.path}: {source.path} does not have this array")
            elif (other.dtype, other.shape, other.order) != (leaf.dtype, leaf.shape, leaf.order):
                problems.append(
                    f"{leaf.path}: {_about(leaf)} in {newest.path}, {_about(other)} in {source.path}"
                )
        with contextlib.suppress(UsageError):  # it has none, which has been said
            more = (leaf.path for leaf in _averaged(source.tree, only) if leaf.path not in known)
            problems += [f"{path}: {newest.path} does not have this array" for path in more]
    if problems:
        raise StatesDifferError(problems)


def _about(leaf: Leaf) -> str:
    shape, order = " × ".join(map(str, leaf.shape)) or "scalar", " (F)" if leaf.order == "F" else ""
    return f"{leaf.dtype} {shape}{order}"


class _Average:
    """Makes the pieces of the new state; arrays of one dtype, shape and order are cut alike in all bundles."""

    def __init__(
        self, sources: Sequence[Bundle], shares: Sequence[float], newest: Bundle, averaged: frozenset[str]
    ) -> None:
        self._sources, self._newest = [Pieces(each) for each in sources], Pieces(newest)
        self._shares, self._averaged = shares, averaged

    def part(self, leaf: Leaf, start: int, size: int) -> memoryview:
        if leaf.path not in self._averaged:
            return self._newest(leaf, start, size)
        total = fsum(self._shares)
        pieces = [source.read(leaf, start) for source in self._sources]
        out = np.empty(size, np.uint8)
        step = BLOCK_ITEMS * item_size(leaf.dtype)
        for first in range(0, size, step):
            block = slice(first, first + step)
            with np.errstate(all="ignore"):
                mean = sum(
                    share * widen(piece[block], leaf.dtype)
                    for share, piece in zip(self._shares, pieces, strict=True)
                )
                out[block] = narrow(np.asarray(mean / total), leaf.dtype)
        return out.data
