"""Values that JSON lacks and that have no parts of their own: an object with one key that says what it is."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path, PurePath
from typing import Any

from ...records import Alias
from .numbers import decode_integer, encode_float, from_bits


def encode_scalar(value: Any) -> dict[str, Any]:
    """The object that stands for `value`; ValueError if no state tree has such values."""
    match value:
        case Alias():
            return {"alias": value.path}
        case bytes():
            return {"bytes": base64.b64encode(value).decode()}
        case complex():
            return {"complex": [encode_float(value.real), encode_float(value.imag)]}
        case datetime():
            return {"datetime": value.isoformat()}
        case date():
            return {"date": value.isoformat()}
        case time():
            return {"time": value.isoformat()}
        case timedelta():
            return {"timedelta": [value.days, value.seconds, value.microseconds]}
        case PurePath():
            return {"path": encode_text(value.as_posix())}
    raise ValueError(f"a {type(value).__name__} cannot be part of a state tree")


def encode_text(value: str) -> str | dict[str, str]:
    """The text itself, or its bytes in hex if it has lone surrogates."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # lone surrogates have no UTF-8
            return {"s": value.encode("utf-8", "surrogatepass").hex()}
    return str(value)


def _text(content: Any) -> str:
    if type(content) is not str:
        raise ValueError("a text was expected")
    return content


def _float(content: Any) -> float:
    value = from_bits(content)
    if math.isfinite(value) and value != 0:
        raise ValueError("a finite float written by its bits")
    return value


def _any_float(content: Any) -> float:
    return content if type(content) is float else _float(content["f"])


def _decode_surrogates(content: Any) -> str:
    return bytes.fromhex(_text(content)).decode("utf-8", "surrogatepass")


def _bytes(content: Any) -> bytes:
    try:
        return base64.b64decode(_text(content), validate=True)
    except binascii.Error as err:
        raise ValueError(str(err)) from None


def _complex(content: Any) -> complex:
    real, imaginary = content
    return complex(_any_float(real), _any_float(imaginary))


def _timedelta(content: Any) -> timedelta:
    days, seconds, microseconds = content
    if not all(type(part) is int for part in content):
        raise ValueError("a duration is three integers")
    return timedelta(days, seconds, microseconds)


def _path(content: Any) -> Path:
    return Path(content if type(content) is str else _decode_surrogates(content["s"]))


DECODERS: dict[str, Callable[[Any], Any]] = {
    "f": _float,
    "i": decode_integer,
    "s": _decode_surrogates,
    "bytes": _bytes,
    "complex": _complex,
    "datetime": lambda content: datetime.fromisoformat(_text(content)),
    "date": lambda content: date.fromisoformat(_text(content)),
    "time": lambda content: time.fromisoformat(_text(content)),
    "timedelta": _timedelta,
    "path": _path,
}
"""By its key, what makes the value of an object; it refuses anything else by a ValueError or TypeError."""
