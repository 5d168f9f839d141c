"""The adapter of boosters: one that predicts becomes the saved one in place; one that trains goes through its data again."""

from __future__ import annotations

import re
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from typing import Any

import lightgbm

from ....records import Node, Object
from ..._fit import Fit, Make
from ..._walk import Walk
from ._check import check_model

_ATTRIBUTES = ("best_iteration", "best_score")
_FRACTIONS = ("feature_fraction", "feature_fraction_bynode")
_ROW_FRACTIONS = ("bagging_fraction", "pos_bagging_fraction", "neg_bagging_fraction")
_ROUNDED = "the text of LightGBM's models rounds the coefficients of linear trees"
_FREED = (
    "Training it further after a restore needs the raw data: Dataset(…, free_raw_data=False); one that is trained and "
    "only predicts: booster.free_dataset()."
)
_LOST = "holdfast.integrations.lightgbm.train() can resume a training with such data."


class _Booster:
    """Its state is the text of `model_to_string`, and what an early stopping has found."""

    name = "lightgbm.booster"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, lightgbm.Booster)

    def capture(self, value: lightgbm.Booster, walk: Walk, path: str) -> Node:
        data = _data(value)
        if data is not None and (data.data is None or isinstance(data.data, str)):
            walk.refuse(path, "lightgbm.Booster in training whose data have been freed", _FREED)
        if data is not None and any(each is not None for each in _lost_by(data)):
            walk.refuse(
                path, "lightgbm.Booster in training whose data have an init_score or positions", _LOST
            )
        text = _text(value)
        state = {"model": walk.node(text.encode(), walk.child(path, "model"))}
        found = {name: getattr(value, name, None) for name in _ATTRIBUTES}
        found["best_score"] = {name: dict(scores) for name, scores in value.best_score.items()}
        state |= {name: walk.node(each, walk.child(path, name)) for name, each in found.items()}
        why = "; ".join(_inexact(text))
        return Object(self.name, "lightgbm.basic.Booster", state, {"inexact": why} if why else {})

    def plan(self, live: lightgbm.Booster, node: Node, fit: Fit, path: str) -> Make:
        saved = fit.object_of(self.name, live, node, path)
        if saved is None:
            return fit.keep(live)
        data = _data(live)
        if data is not None and (data.data is None or isinstance(data.data, str)):
            return fit.misfit(live, path, f"the data of the live booster have been freed. {_FREED}")
        make = fit.fresh(node)

        def act() -> lightgbm.Booster:
            made = make()
            _take_over(live, made if data is None else _training(live, made, data))
            return live

        return act

    def fresh(self, state: Any, taken: Object) -> lightgbm.Booster:
        text = bytes(state["model"]).decode()
        check_model(text)
        try:
            made = lightgbm.Booster(model_str=text)
        except lightgbm.basic.LightGBMError as err:
            raise ValueError(f"LightGBM cannot read it: {err}") from err
        for name in _ATTRIBUTES:
            setattr(made, name, state[name])
        scores = {name: OrderedDict(each) for name, each in state["best_score"].items()}
        made.best_score = defaultdict(OrderedDict, scores)
        return made


def _data(booster: lightgbm.Booster) -> Any:
    """What it is trained on; None if it only predicts."""
    return getattr(booster, "train_set", None)


def _lost_by(data: Any) -> tuple[Any, Any]:
    """What data are given that a training from a restored model could not take into account."""
    return data.position, None if data._predictor is not None else data.init_score


def _text(booster: lightgbm.Booster) -> str:
    """All of the model, written as one that has been read: otherwise trees of a single leaf differ, which no prediction does."""
    text = booster.model_to_string(num_iteration=-1)
    if "\nleaf_weight=0\n" in text:
        text = lightgbm.Booster(model_str=text).model_to_string(num_iteration=-1)
    return text


def _take_over(live: Any, made: Any) -> None:
    old = live._handle
    vars(live).update(vars(made))
    made._handle = old  # freed with it


def _training(live: Any, made: Any, data: Any) -> Any:
    """A booster that continues from the trees of `made` with the live one's parameters and data."""
    params = dict(live.params)
    again = lightgbm.Dataset(
        *(data.data, data.label),
        weight=data.weight,
        group=data.group,
        feature_name=data.feature_name,
        categorical_feature=data.categorical_feature,
        params=dict(data.params or {}),
        free_raw_data=False,
    )
    if made.num_trees():
        again._set_predictor(lightgbm.basic._InnerPredictor.from_booster(booster=made, pred_parameter={}))
    begun = lightgbm.Booster(params, again)
    for name in _ATTRIBUTES:
        setattr(begun, name, getattr(made, name))
    return begun


def _inexact(text: str) -> Iterator[str]:
    """Why training it further would not give the model of an uninterrupted training. Exact is only what is known to be."""
    found = dict(re.findall(r"(?m)^\[(\w+): ?(.*)\]$", text))

    def number(name: str, default: float) -> float:
        return float(found.get(name) or default)

    rows = _ROW_FRACTIONS if number("bagging_freq", 0) > 0 else ()
    is_sampled = any(number(name, 1) < 1 for name in (*_FRACTIONS, *rows)) or number("extra_trees", 0) > 0
    if found.get("boosting", "gbdt") != "gbdt" or found.get("data_sample_strategy", "bagging") != "bagging":
        is_sampled = True
    if number("use_quantized_grad", 0) and number("stochastic_rounding", 1):
        is_sampled = True
    if is_sampled or found.get("objective") == "rank_xendcg":
        yield "rows, columns or trees are sampled by random generators that LightGBM keeps to itself"
    if number("linear_tree", 0):
        yield _ROUNDED
    if any(found.get(f"cegb_penalty_feature_{name}") for name in ("lazy", "coupled")):
        yield "which features have been used (cegb_…) is not in LightGBM's models"


ADAPTERS = (_Booster(),)
