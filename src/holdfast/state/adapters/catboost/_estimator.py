"""The adapter of CatBoost's estimators. A live one, of the same parameters, gets the saved model."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ....records import Node, Object
from ..._fit import Fit, Make
from ..._kinds import type_name
from ..._walk import Walk

catboost: Any = import_module("catboost")  # not there where types are checked

_KINDS: dict[str, Any] = {
    f"catboost.core.{name}": getattr(catboost, name)
    for name in ("CatBoost", "CatBoostClassifier", "CatBoostRanker", "CatBoostRegressor")
}
_FREE = ("thread_count", "verbose", "silent", "logging_level", "task_type", "devices")
_OF_THE_TRAINING = ("model_guid", "train_finish_time")  # metadata that no two trainings have in common


class _Estimator:
    """Its state is the parameters, and the bytes of the model; None before it is fitted."""

    name = "catboost"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, catboost.CatBoost)

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        parts = {"params": _params(value), "model": _model(value) if value.is_fitted() else None}
        state = {name: walk.node(part, walk.child(path, name)) for name, part in parts.items()}
        return Object(self.name, type_name(type(value)), state)

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        saved = fit.object_of(self.name, live, node, path, same_class=True, holds=dict)
        if saved is None:
            return fit.keep(live)
        params, model = fit.value(saved.state["params"]), saved.state["model"]
        if params != (now := _params(live)):
            changed = [name for name in {**params, **now} if params.get(name) != now.get(name)]
            return fit.misfit(live, path, f"was saved with other parameters: {', '.join(sorted(changed))}")
        if model is None:
            return fit.misfit(live, path, "was not fitted yet") if live.is_fitted() else fit.keep(live)
        make = fit.fresh(model)

        def act() -> Any:
            _load(live, make())
            return live

        return act

    def fresh(self, state: Any, taken: Object) -> Any:
        made = _KINDS[taken.type]().set_params(**state["params"])
        if state["model"] is not None:
            _load(made, state["model"])
        return made

    def makes(self, taken: Object) -> bool:
        return taken.type in _KINDS


def _params(value: Any) -> dict[str, Any]:
    """But for how much it computes at once, where, and what it prints."""
    return {name: each for name, each in sorted(value.get_params().items()) if name not in _FREE}


def _model(value: Any) -> bytes:
    again = catboost.CatBoost()
    again.load_model(blob=value._serialize_model())
    about = again.get_metadata()
    for name in _OF_THE_TRAINING:
        if name in about.keys():  # noqa: SIM118 - it is no dict
            del about[name]
    return again._serialize_model()


def _load(value: Any, model: bytes) -> None:
    try:
        value.load_model(blob=bytes(model))
    except catboost.CatBoostError as err:
        raise ValueError(f"CatBoost cannot read it: {err}") from err


ADAPTERS = (_Estimator(),)
