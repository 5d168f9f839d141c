"""Metrics as plain numbers, those of a device not before somebody needs them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final, final

import numpy as np

from ..errors import UsageError

_PLAIN: Final = frozenset((float, int, bool))


@final
class OnDevice:
    """A number that is still on its device: a copy there, so that nothing waits for it until `float` asks."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value.detach().clone()

    def __float__(self) -> float:
        if type(self._value) is not float:
            self._value = float(self._value)
        return self._value


@final
class Numbers(Mapping[str, float]):
    """Numbers by name, each a float when it is looked at."""

    def __init__(self, found: Mapping[str, float | OnDevice]) -> None:
        self._found = found

    def __getitem__(self, name: str) -> float:
        return float(self._found[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics as plain numbers: Python's, or arrays of one element.

    Raises:
        UsageError: it is not a mapping from names to numbers.
    """
    return {name: float(value) for name, value in logged(metrics).items()}


def logged(metrics: Mapping[str, Any]) -> dict[str, float | OnDevice]:
    """As `numbers`, without waiting for a device."""
    try:
        found = {
            name: float(value) if type(value) in _PLAIN else _number(value) for name, value in metrics.items()
        }
        if not all(isinstance(name, str) and name for name in found):
            raise TypeError("a name is a text")
        return found
    except (AttributeError, TypeError, ValueError, RuntimeError) as err:
        raise UsageError(
            f'metrics must be numbers by name, such as {{"val_loss": 0.31}}, not {metrics!r}.'
        ) from err


def _number(value: Any) -> float | OnDevice:
    torch: Any = sys.modules.get("torch")
    if isinstance(value, np.ndarray):  # NumPy no longer likes `float` of one with axes
        return float(value.item())
    if torch is None or not isinstance(value, torch.Tensor):
        return float(value)
    if value.is_cpu or value.is_meta or value.numel() != 1 or value.is_complex():
        return float(value.detach())  # torch warns of one that requires a gradient
    return OnDevice(value)
