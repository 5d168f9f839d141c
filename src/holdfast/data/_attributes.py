"""What the samplers and datasets of a loader count for themselves, in attributes."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..plain_attributes import PlainAttributes, different
from ._parts import parts_of

_INSTALLED = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))


class OwnAttributes:
    """Plain attributes of a loader's parts that change while it is used; those of installed libraries are their affair."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._attributes = PlainAttributes(_owners(loader))
        self._at_workers_start: Mapping[str, Mapping[str, Any]] | None = (
            None  # which outlive an epoch, and have copies of their own
        )

    def get_state(self) -> dict[str, Any]:
        return self._attributes.get_state()

    def set_state(self, saved: Mapping[str, Any]) -> None:
        self._attributes.set_state(saved)

    def workers_start(self) -> None:
        """Persistent workers start now, with copies of all parts."""
        self._at_workers_start = self._attributes.all()

    @property
    def of_workers(self) -> dict[str, Any]:
        """Of persistent workers: the attributes as they were at their start, and those that are others by now."""
        if self._at_workers_start is None:
            return {}
        return {
            "then": self._at_workers_start,
            "changed": different(self._at_workers_start, self._attributes.all()),
        }

    def differences(self, of_workers: Mapping[str, Any]) -> list[str]:
        """What new workers get that those of the checkpoint did not have, a sentence each."""
        return [
            f"persistent workers started when {name}.{attribute} was {value!r}, and start now with another"
            for name, attributes in different(of_workers.get("then", {}), self._attributes.all()).items()
            for attribute, value in attributes.items()
            if attribute not in of_workers["changed"].get(name, {})
        ]

    @contextmanager
    def as_for(self, saved: Mapping[str, Any]) -> Iterator[None]:
        """Inside, these attributes are as they were then."""
        now = self._attributes.all()
        self._attributes.put(saved)
        try:
            yield
        finally:
            self._attributes.put({name: now[name] for name in saved if name in now})


def _owners(loader: Any) -> dict[str, Any]:
    parts = parts_of(loader)
    return {
        name: part
        for name, part in parts.items()
        if part is not loader
        and hasattr(part, "__dict__")
        and not _is_function(part)
        and not _is_installed(type(part))
    }


def _is_function(part: Any) -> bool:
    """A function or class: its attributes are no state of a loader."""
    return isinstance(part, type) or hasattr(part, "__code__") or hasattr(part, "__func__")


def _is_installed(kind: type) -> bool:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return kind.__module__ == "builtins" or (file is not None and file.startswith(_INSTALLED))
