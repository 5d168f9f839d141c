"""Random generators of torch, of any device."""

from __future__ import annotations

from typing import Any

import torch

from ....records import Node, Object
from ..._fit import Fit, Make
from ..._kinds import type_name
from ..._walk import Walk


class Generator:
    """`torch.Generator`, of any device; a live one is set in place."""

    name = "torch.Generator"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, torch.Generator)

    def capture(self, value: torch.Generator, walk: Walk, path: str) -> Node:
        state = {"state": walk.node(value.get_state(), walk.child(path, "state"))}
        return Object(self.name, type_name(type(value)), state, {"device": value.device.type})

    def plan(self, live: torch.Generator, node: Node, fit: Fit, path: str) -> Make:
        taken = fit.object_of(self.name, live, node, path, holds=dict)
        if taken is None:
            return fit.keep(live)
        if taken.about.get("device") != live.device.type:
            what = (
                f"a generator of {taken.about.get('device')} was saved, the live one is of {live.device.type}"
            )
            return fit.misfit(live, path, what)
        state = fit.into(live.get_state(), taken.state.get("state"), f"{path}/state" if path else "state")

        def act() -> torch.Generator:
            live.set_state(state())
            return live

        return act

    def fresh(self, state: Any, taken: Object) -> Any:
        if taken.about.get("device") != "cpu":
            return state
        return torch.Generator().set_state(torch.as_tensor(state["state"]))
