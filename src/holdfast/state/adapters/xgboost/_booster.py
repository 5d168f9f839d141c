"""The adapter of boosters. A live one becomes the saved one in place, and trains on from there with the saved parameters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import xgboost

from ....records import Node, Object
from ..._fit import Fit, Make
from ..._walk import Walk
from ._check import check_model

_OF_THE_MACHINE = ("device", "fail_on_invalid_gpu_id", "n_jobs", "nthread")
_FRACTIONS = ("subsample", "colsample_bytree", "colsample_bylevel", "colsample_bynode")
_GROWING = {"grow_quantile_histmaker", "grow_gpu_hist", "grow_histmaker", "grow_colmaker,prune"}


class _Booster:
    """Its state is the bytes of `save_raw("ubj")` and the text of `save_config()`; of one that knows no data yet, None.

    How much it computes at once, and on which device, a live one decides for itself.
    """

    name = "xgboost.booster"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, xgboost.Booster)

    def capture(self, value: xgboost.Booster, walk: Walk, path: str) -> Node:
        if (config := _config(value)) is None:
            return Object(self.name, "xgboost.core.Booster", None)
        parts = {"model": bytes(value.save_raw("ubj")), "config": json.dumps(config, sort_keys=True)}
        state = {name: walk.node(part, walk.child(path, name)) for name, part in parts.items()}
        why = "; ".join(_inexact(config["learner"]))
        return Object(self.name, "xgboost.core.Booster", state, {"inexact": why} if why else {})

    def plan(self, live: xgboost.Booster, node: Node, fit: Fit, path: str) -> Make:
        saved = fit.object_of(self.name, live, node, path)
        if saved is None:
            return fit.keep(live)
        if saved.state is None:
            if _config(live) is None:
                return fit.keep(live)
            return fit.misfit(live, path, "was saved before it knew any data, and the live booster does")
        make = fit.fresh(node)

        def act() -> xgboost.Booster:
            made = make()
            made.set_param(_of_the_machine(live))
            # What a live one has been told explicitly would stay, whatever it loads.
            live.handle, made.handle = made.handle, live.handle
            return live

        return act

    def fresh(self, state: Any, taken: Object) -> xgboost.Booster:
        made = xgboost.Booster()
        if state is None:
            return made
        if not state["model"]:  # the parser would end the process
            raise ValueError("the model is empty")
        try:
            made.load_model(bytearray(state["model"]))
            made.load_config(json.dumps(json.loads(state["config"])))
        except xgboost.core.XGBoostError as err:
            raise ValueError(f"XGBoost cannot read it: {str(err).splitlines()[0]}") from err
        check_model(json.loads(bytes(made.save_raw("json"))))
        return made


def _config(booster: xgboost.Booster) -> Any:
    """What it has been set to, but for what belongs to the machine; None if it knows no data yet."""
    try:
        config = json.loads(booster.save_config())
    except xgboost.core.XGBoostError:
        return None
    for name in _OF_THE_MACHINE:
        config["learner"]["generic_param"].pop(name, None)
    return config


def _of_the_machine(live: xgboost.Booster) -> dict[str, str]:
    try:
        found = json.loads(live.save_config())["learner"]["generic_param"]
    except xgboost.core.XGBoostError:
        return {}
    return {name: found[name] for name in ("device", "nthread") if name in found}


def _inexact(learner: Mapping[str, Any]) -> Iterator[str]:
    """Why training it further would not give the model of an uninterrupted training. Exact is only what is known to be."""
    trained = learner["gradient_booster"]
    if trained["name"] == "gblinear":
        selector = trained["updater"]["linear_train_param"]["feature_selector"]
        if (trained["gblinear_train_param"]["updater"], selector) != ("coord_descent", "cyclic"):
            yield "XGBoost updates a linear model by threads that race, or in an order that it keeps to itself"
        return
    if trained["name"] != "gbtree" or any(
        float(trained["tree_train_param"].get(name, 0)) < 1 for name in _FRACTIONS
    ):
        yield "rows, columns or trees are sampled by a random generator that XGBoost keeps to itself"
    elif trained["gbtree_train_param"]["updater"] not in _GROWING:
        yield f"it is not known to be so for XGBoost's updater {trained['gbtree_train_param']['updater']!r}"
    ranking = learner["objective"].get("lambdarank_param", {})
    if ranking.get("lambdarank_pair_method", "topk") != "topk":
        yield "pairs are sampled by a random generator that XGBoost keeps to itself"
    if ranking.get("lambdarank_unbiased", "0") != "0":
        yield "the bias of positions (lambdarank_unbiased) is not in XGBoost's models, and is learned anew"


ADAPTERS = (_Booster(),)
