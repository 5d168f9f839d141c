"""What a script gives to an experiment: its data, and what its own variables are as a call begins.

A script that is started again makes its calls again, and those that were done train nothing. What it computes between them from
the weights or the random states then comes out otherwise: it has those of the checkpoint before its eyes.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any, final

from modularml.core.data.featureset import FeatureSet

from ...data import digest_of_contents, is_fixed, spread, unlike
from ...plain_attributes import PlainAttributes
from ...variables import scopes

_RANDOM = "sample_uuids"


def describe_data(nodes: Iterable[Any]) -> dict[str, dict[str, str]]:
    """By label of a feature set and column the digest of 256 of its samples, spread evenly."""
    return {
        node.label: {
            name: digest_of_contents([len(table), *table.column(name).take(spread(len(table))).to_pylist()])
            for name in table.column_names
            if name != _RANDOM
        }
        for node in nodes
        if isinstance(node, FeatureSet)
        for table in (node.collection.table,)
    }


def differences_of_data(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A sentence for each feature set that holds other values."""
    return [
        f"the values of {label} have changed: {', '.join(columns)}"
        for label, digests in saved.items()
        if (columns := unlike(digests, now.get(label, {})))
    ]


@final
class AtCalls:
    """Digests of the script's variables that are plain data, as its calls begin.

    Attributes:
        changed: by name, those that are not what they were at the first call.
    """

    def __init__(self) -> None:
        self._at_first: dict[str, str] | None = None
        self.changed: dict[str, str] = {}

    def look(self) -> None:
        """A call begins."""
        owners = {scope.name: SimpleNamespace(**scope.variables()) for scope in reversed(scopes())}
        now = {
            name: digest_of_contents(value)
            for variables in PlainAttributes(owners, takes_tensors=True).all().values()
            for name, value in variables.items()
            if not name.startswith("__") and (not isinstance(value, float | str) or is_fixed(value))
        }
        if self._at_first is None:
            self._at_first = now
        self.changed = {name: each for name, each in now.items() if self._at_first.get(name) != each}

    def unlike(self, saved: Mapping[str, str]) -> list[str]:
        """The variables that are not what they were at this call in the process that saved."""
        return sorted(name for name in {*saved, *self.changed} if saved.get(name) != self.changed.get(name))
