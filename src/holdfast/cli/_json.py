"""Records for other programs: JSON in ASCII, one object a line, so that no text can reach a terminal raw."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from ..records import CheckpointRecord


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False).replace("\x7f", "\\u007f")


def of_record(record: CheckpointRecord) -> dict[str, Any]:
    """Every field of the record; JSON has no NaN and infinities, so such a metric is a string."""
    fields: dict[str, Any] = msgspec.to_builtins(record)
    fields["metrics"] = {
        name: value if math.isfinite(value) else str(value) for name, value in record.metrics.items()
    }
    fields["size_bytes"] = record.size_bytes
    return fields
