"""Records for other programs: JSON in ASCII, one object a line, so that no raw text reaches a terminal."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from ...records import PLAIN, Alias, CheckpointRecord, Leaf, Object


def dumps(value: Any) -> str:
    """One line. JSON has no NaN and infinities, so such a number is a string, wherever it stands."""
    try:
        text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    except ValueError:
        text = json.dumps(_nameable(value), ensure_ascii=True, allow_nan=False)
    return text.replace("\x7f", "\\u007f")


def _nameable(value: Any) -> Any:
    match value:
        case float():
            return number(value)
        case list() | tuple():
            return [_nameable(each) for each in value]
        case dict():
            return {key: _nameable(each) for key, each in value.items()}
    return value


def of_record(record: CheckpointRecord) -> dict[str, Any]:
    """Every field of the record; JSON has no NaN and infinities, so such a metric is a string."""
    fields: dict[str, Any] = msgspec.to_builtins(record)
    fields["metrics"] = {
        name: value if math.isfinite(value) else str(value) for name, value in record.metrics.items()
    }
    fields["size_bytes"] = record.size_bytes
    return fields


def number(value: float | None) -> float | str | None:
    """`value`, or its name where JSON has none: "nan", "inf", "-inf"."""
    return value if value is None or math.isfinite(value) else str(value)


def plain(value: Any) -> Any:
    """A plain value of a state: as JSON where that can express it, else as readable text."""
    match value:
        case float():
            return number(value)
        case int() if value.bit_length() > 63:
            return hex(value)
        case None | bool() | int() | str():
            return value
        case list() | tuple():
            return [plain(each) for each in value]
        case dict():
            return {key if isinstance(key, str) else repr(key): plain(each) for key, each in value.items()}
        case Leaf():
            return {"array": {"dtype": value.dtype, "shape": value.shape}}
        case Alias():
            return {"alias": value.path}
        case Object() if value.state is not None and type(value.state) in PLAIN:
            return {"object": value.type, "value": plain(value.state)}
        case Object():
            return {"object": value.type}
    return str(value)
