"""What takes objects of some types apart and puts them back: `Adapter`, and how to add one."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, Protocol

from ..errors import UsageError
from ..records import Node
from ._fit import Fit, Make
from ._registry import add_type, register
from ._walk import Walk


class Adapter(Protocol):
    """Takes objects of some types apart, and puts a state back into a live one.

    One whose objects others may refer to has `introduce(value, names, path)` too, which names these.
    """

    @property
    def name(self) -> str:
        """What `Object.adapter` says; part of the format, so never changed."""
        ...

    def claims(self, kind: type) -> bool:
        """Whether values of exactly this type are its own."""
        ...

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        """The state of `value`: plain data, or what `walk.node` and `walk.array` gave for its parts.

        Raises:
            UnsupportedStateError: it cannot be saved; say so through `walk.refuse`.
        """
        ...

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        """Compare `live` with the saved `node` and return what will fill it; change nothing yet.

        What does not fit is told to `fit.problem`, and `fit.keep(live)` is returned in its place.
        """
        ...


def register_type(*kinds: type) -> None:
    """Let named tuples, dataclasses and members of an Enum of these classes be made again where no live one is there.

    A checkpoint names classes, and nothing is imported because it does. So a deque of named tuples that is empty when the
    run begins, or a list of dataclasses that grows, comes back only once their class has been registered, in every process:

        Transition = namedtuple("Transition", "state action reward")
        holdfast.register_type(Transition)

    A class is known by its name, wherever it is defined. Dataclasses are filled without their `__init__`.

    Raises:
        UsageError: a class is none of these kinds; nothing was registered.
    """
    for kind in kinds:
        is_class = isinstance(kind, type)
        is_named = is_class and issubclass(kind, tuple) and hasattr(kind, "_make")
        if not (is_class and (is_named or dataclasses.is_dataclass(kind) or issubclass(kind, enum.Enum))):
            raise UsageError(
                f"register_type() takes named tuples, dataclasses and Enums; for {kind!r} write an adapter "
                "(register_adapter), or hand its objects over by attributes()."
            )
    for kind in kinds:
        add_type(kind)


def register_adapter(adapter: Adapter) -> None:
    """Let `adapter` take the types it claims, before all that were there; `docs/adapters.md` tells more.

    Needed for classes that have no `state_dict` and `load_state_dict`, and cannot be given them:

        class Thermostat:
            __slots__ = ("degrees",)

            def __init__(self, degrees):
                self.degrees = degrees

        class ThermostatAdapter:
            name = "mylab.thermostat"  # is written into checkpoints: never change it

            def claims(self, kind):
                return kind is Thermostat

            def capture(self, value, walk, path):
                part = walk.node(value.degrees, walk.child(path, "degrees"))
                return Object(self.name, "Thermostat", {"degrees": part})

            def plan(self, live, node, fit, path):
                saved = fit.object_of(self.name, live, node, path, holds=dict)
                if saved is None:
                    return fit.keep(live)
                degrees = fit.into(live.degrees, saved.state["degrees"], f"{path}/degrees")

                def put_back():
                    live.degrees = degrees()
                    return live

                return put_back

        holdfast.register_adapter(ThermostatAdapter())

    with `from holdfast.records import Object`.
    """
    register(adapter)
