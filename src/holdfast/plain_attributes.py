"""Attributes of live objects that are plain data: which of them have changed, and putting them back.

A counter that a module, a sampler or a dataset keeps for itself stands in no `state_dict`. Only what has changed since
a training began is part of its state: the rest is the script's, and a script that is changed must win.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, final

_SCALARS: Final = (bool, int, float, complex, str, bytes, type(None))
_MOST_ITEMS: Final = 1_000  # of a container, all levels together; more are data
_LONGEST_TEXT: Final = 100_000
_NONE: Final = object()


@final
class PlainAttributes:
    """The plain attributes of `owners`, by name, as they are now; what `get_state` gives is what changes from here on.

    `but`: names of attributes that are somebody else's.
    """

    def __init__(self, owners: Mapping[str, Any], but: Collection[str] = ()) -> None:
        self._owners, self._but = dict(owners), frozenset(but)
        self._at_first = self.all()

    def all(self) -> dict[str, dict[str, Any]]:
        """Copies of all, by owner and name of the attribute."""
        return {name: self._copies(owner, {}) for name, owner in self._owners.items()}

    def get_state(self) -> dict[str, dict[str, Any]]:
        """Copies of those that have changed."""
        first = self._at_first
        return different(
            {name: self._copies(owner, first[name]) for name, owner in self._owners.items()}, first
        )

    def _copies(self, owner: Any, known: Mapping[str, Any]) -> dict[str, Any]:
        """Of what is not the very value in `known`, which most are and nothing need be done for."""
        return {
            attribute: copied
            for attribute, value in vars(owner).items()
            if attribute not in self._but
            and not (type(value) in _SCALARS and value is known.get(attribute, _NONE))
            and (copied := _copied(value)) is not _NONE
        }

    def put(self, saved: Mapping[str, Mapping[str, Any]]) -> None:
        """Put these back, where their owners are here; lists and dicts stay the same objects."""
        for name, attributes in saved.items():
            if (owner := self._owners.get(name)) is not None:
                for attribute, value in attributes.items():
                    _put(owner, attribute, _copied(value))

    def set_state(self, saved: Mapping[str, Mapping[str, Any]]) -> None:
        """Let these be all that has changed."""
        self.put(different(self._at_first, self.all()))
        self.put(saved)


def different(
    these: Mapping[str, Mapping[str, Any]], others: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Of `these` attributes those that are not the same in `others`."""
    found = {
        name: {
            attribute: value
            for attribute, value in attributes.items()
            if attribute not in others.get(name, {}) or repr(others[name][attribute]) != repr(value)
        }
        for name, attributes in these.items()
    }
    return {name: attributes for name, attributes in found.items() if attributes}


def _copied(value: Any) -> Any:
    """A copy that shares nothing that can change; `_NONE` if it is not plain, or too large."""
    room = [_MOST_ITEMS]

    def copied(value: Any) -> Any:
        if type(value) in _SCALARS:
            return value if not isinstance(value, str | bytes) or len(value) <= _LONGEST_TEXT else _NONE
        if type(value) not in (list, tuple, dict):
            return _NONE
        room[0] -= len(value)
        if room[0] < 0:
            return _NONE
        if type(value) is dict:
            if not all(type(key) in (str, int, float, bool) for key in value):
                return _NONE
            entries = {key: copied(each) for key, each in value.items()}
            return _NONE if any(each is _NONE for each in entries.values()) else entries
        items = [copied(each) for each in value]
        return _NONE if any(each is _NONE for each in items) else type(value)(items)

    return copied(value)


def _put(owner: Any, attribute: str, value: Any) -> None:
    live = vars(owner).get(attribute)
    if type(live) is list and type(value) is list:
        live[:] = value
    elif type(live) is dict and type(value) is dict:
        live.clear()
        live.update(value)
    else:
        vars(owner)[attribute] = value
