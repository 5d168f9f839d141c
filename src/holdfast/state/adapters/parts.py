"""Objects that name their own parts: `records.Parts`."""

from __future__ import annotations

from typing import Any

from ...records import Parts
from .dataclass import Fields


class _Parts(Fields):
    name = "parts"

    def claims(self, kind: type) -> bool:
        return hasattr(kind, "state_parts") and hasattr(kind, "adopt_parts")

    def fields_of(self, value: Parts) -> dict[str, Any]:
        return dict(value.state_parts())

    def fill(self, live: Parts, fields: dict[str, Any]) -> Any:
        live.adopt_parts(fields)
        return live


ADAPTERS = (_Parts(),)
