"""What a batch is here: columns by name, whatever the loader gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from ..errors import UsageError

Batch: TypeAlias = Mapping[str, Any]
"""Arrays or tensors by column; the first dimension is the sample."""


def namer(columns: Sequence[str] | None) -> Callable[[Any], dict[str, Any]]:
    """A function that turns a loader's batch into named columns.

    A mapping keeps its keys (only those of `columns`, if given), a named tuple its fields; the items
    of a list or tuple get the names in `columns`, and so does a single array. It raises `UsageError`
    where the names are missing or their number does not fit.
    """
    names = None if columns is None else (columns,) if isinstance(columns, str) else tuple(columns)

    def as_batch(given: Any) -> dict[str, Any]:
        if isinstance(given, Mapping):
            return _chosen(given, names)
        if names is None and hasattr(given, "_fields"):
            return given._asdict()
        items = list(given) if isinstance(given, list | tuple) else [given]
        if names is None:
            raise UsageError(
                f"the loader gives batches of {len(items)} {'items' if len(items) != 1 else 'item'} without "
                "names; name them in order, such as columns=('pixels', 'digit')"
            )
        if len(items) != len(names):
            raise UsageError(
                f"the loader gives batches of {len(items)} items, and columns names {len(names)}: {names}"
            )
        return dict(zip(names, items, strict=True))

    return as_batch


def _chosen(given: Mapping[str, Any], names: tuple[str, ...] | None) -> dict[str, Any]:
    if missing := [name for name in names or () if name not in given]:
        raise UsageError(f"the loader's batches have no {missing}; they have {list(given)}")
    return {name: given[name] for name in names or given}
