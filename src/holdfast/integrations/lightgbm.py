"""LightGBM: `train` is `lightgbm.train`, saved by a policy round by round, and resumes after a kill.

The model is saved as LightGBM's own text. Resuming is exact unless rows or columns are sampled, or something is learned
that LightGBM does not keep in its models: it hands out neither, and the verdict says so.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import lightgbm
import numpy as np

from ..checkpoint import Place
from ..errors import UsageError
from ..policy import Checkpointing
from ..runtime import Resume
from ..variables import Mode
from . import _boosting
from ._boosting import ABILITIES, Rounds

__all__ = ["Trained", "train"]


def __dir__() -> list[str]:
    return __all__


_FRACTIONS = (
    *("feature_fraction", "sub_feature", "colsample_bytree"),
    *("feature_fraction_bynode", "sub_feature_bynode", "colsample_bynode"),
)
_ROW_FRACTIONS = (
    *("bagging_fraction", "subsample", "sub_row", "bagging"),
    *("pos_bagging_fraction", "pos_sub_row", "pos_subsample", "pos_bagging"),
    *("neg_bagging_fraction", "neg_sub_row", "neg_subsample", "neg_bagging"),
)
_DRAWS = "rows or columns are sampled by random generators that LightGBM keeps to itself: as good a model, but not the same"
_OBJECTIVES = ("objective", "objective_type", "app", "application", "loss")
_RANKS_AT_RANDOM = {"rank_xendcg", "xendcg", "xe_ndcg", "xe_ndcg_mart", "xendcg_mart"}
_PENALTIES = ("cegb_penalty_feature_lazy", "cegb_penalty_feature_coupled")
_OFFSET = (
    "LightGBM adds init_score to what the trees predict in another order: the same model but for rounding"
)
_ORDER = 100  # beyond those of all callbacks of LightGBM


@final
class Trained(_boosting.Trained[lightgbm.Booster]):
    """What came of it: the `booster` of all rounds, the `scores` of each, and whence it was resumed (`last_resume`)."""


def train(
    params: Mapping[str, Any],
    train_set: lightgbm.Dataset,
    directory: str | os.PathLike[str],
    *,
    checkpointing: Checkpointing | None = None,
    resume: bool | Place | Resume = True,
    label: str = "train",
    allow_reread: bool = False,
    share_directory: bool = False,
    variables: Mode = "save",
    on_rollback: Callable[[Any], None] | None = None,
    num_boost_round: int = 100,
    callbacks: Sequence[Callable[[Any], Any]] = (),
    **options: Any,
) -> Trained:
    """Boost for `num_boost_round` rounds in all, those before a kill included.

    Args:
        train_set: with `free_raw_data=False`, for resuming computes what the trees so far predict.
        directory: where checkpoints are saved, and looked for.
        checkpointing: when to save and what to keep; by default `Checkpointing.default()`.
            A round is a "batch", and there are no epochs.
        resume: True: resume from the newest complete checkpoint, or start from scratch if there is none. A name or path:
            from that checkpoint. False: start from scratch. A `Resume` says how as well.
        label: what is trained, in names such as `train_epoch3`.
        allow_reread: whether data without a position may be read again from the start of an epoch, to skip what was done.
            Refused: every round reads all of the data.
        share_directory: run even though another live run uses the directory.
        variables: "save": variables of the script that have changed since the loop began are saved and put back, too,
            and those that cannot be are named. "watch": all of them are only named. "off": they are the script's affair.
        on_rollback: called with the callback or run after each rollback (`on_divergence="rollback"`), once everything is
            as it was in the checkpoint: the place to lower a learning rate.
            Refused: the same rounds would come again.
        num_boost_round: rounds in all, those before a kill included.
        callbacks: as of `lightgbm.train`.
        **options: as of `lightgbm.train`.

    Raises:
        UsageError: early stopping is wanted, whose counts LightGBM cannot restore, or a random forest, or the raw
            data are freed.
        RunActiveError: another live run uses the directory.
        DamagedError: the checkpoint that `resume` names is not what was saved.
        SaveError: a save failed.
    """
    arguments = ABILITIES.check(
        directory, checkpointing, resume, label, allow_reread, share_directory, variables, on_rollback
    )
    if not isinstance(train_set, lightgbm.Dataset):
        raise UsageError(f"train_set must be a lightgbm.Dataset, not {train_set!r}.")
    if any("EarlyStopping" in type(each).__name__ for each in callbacks) or _stops_early(params):
        raise UsageError(
            "early stopping of LightGBM cannot resume after a kill: train all rounds, and predict with num_iteration= the best of `scores`"
        )
    if _kinds(params) & {"rf", "random_forest"}:
        raise UsageError(
            "a random forest of LightGBM (boosting='rf') cannot resume from some of its trees: LightGBM refuses to"
        )
    if train_set.free_raw_data:
        raise UsageError("resuming needs the raw data: Dataset(…, free_raw_data=False)")
    initial = _booster_of(options.pop("init_model", None))
    num_before = 0 if initial is None else initial.current_iteration()
    now: list[lightgbm.Booster] = []
    given: list[str] = []
    rounds = Rounds(
        arguments,
        wanted=num_boost_round,
        dump=lambda: _text(now[0], rounds.in_all, *given) if now else b"",
        stops=lambda: None,
        exactness=_exactness(params, train_set),
        facts=_boosting.facts_of(params, {**_given(train_set), "the trees of init_model": _text_of(initial)}),
        callbacks=callbacks,
        calls=[params, options],
        data=_data_sets(train_set, options),
    )

    def save(env: Any) -> None:
        now[:] = [env.model]
        rounds.add({(each[0], each[1]): each[2] for each in env.evaluation_result_list or ()})

    def begin(env: Any) -> None:
        if not given:
            given.append(_parameters(env.model.model_to_string()))
        rounds.begin()

    def check(env: Any) -> None:
        if rounds.num_done:
            now[:] = [env.model]
        rounds.check()

    begin.before_iteration = check.before_iteration = True  # type: ignore[attr-defined]
    begin.order, check.order, save.order = -_ORDER, _ORDER, _ORDER  # type: ignore[attr-defined]
    with rounds.loop.holding():
        saved = rounds.resume()
        if saved is not None:
            now[:] = [lightgbm.Booster(model_str=saved.decode())]
        if rounds.num_left:
            start = now[0] if now else initial
            with _keeping_offsets(_data_sets(train_set, options)):
                now[:] = [
                    lightgbm.train(
                        dict(params),
                        *(train_set, rounds.num_left),
                        init_model=start,
                        callbacks=[
                            *(_of_all_rounds(each, num_before, num_boost_round) for each in callbacks),
                            begin,
                            check,
                            save,
                        ],
                        keep_training_booster=True,
                        **options,
                    )
                ]
            now[0].reset_parameter({"num_iterations": num_boost_round})  # of all, not those after a resume
        rounds.end()
        for each in callbacks:
            if "RecordEvaluation" in type(each).__name__:
                vars(each)["eval_result"].update(copy.deepcopy(rounds.scores))
        return Trained(now[0], rounds)


def _text(booster: lightgbm.Booster, num_boost_round: int, parameters: str | None = None) -> bytes:
    """The entire model, with the parameters of the script: not those of a callback, or of the rounds left after a resume."""
    text = booster.model_to_string(num_iteration=-1)
    if parameters is not None:
        text = text.replace(_parameters(text), parameters)
    return re.sub(r"(?m)^\[num_iterations: \d+\]$", f"[num_iterations: {num_boost_round}]", text).encode()


def _parameters(text: str) -> str:
    found = re.search(r"(?ms)^parameters:.*?^end of parameters$", text)
    return "" if found is None else found[0]


def _stops_early(params: Mapping[str, Any]) -> bool:
    names = ("early_stopping_round", "early_stopping_rounds", "early_stopping", "n_iter_no_change")
    return any(int(params.get(name) or 0) > 0 for name in names)


def _of_all_rounds(
    callback: Callable[[Any], Any], num_before: int, num_boost_round: int
) -> Callable[[Any], Any]:
    """One that resets parameters by the round counts all of them; LightGBM would begin its list or schedule again."""
    if "ResetParameter" not in type(callback).__name__:
        return callback

    def counting(env: Any) -> Any:
        all_rounds = {"begin_iteration": num_before, "end_iteration": num_before + num_boost_round}
        if hasattr(env, "_replace"):  # a named tuple, in older versions
            return callback(env._replace(**all_rounds))
        return callback(dataclasses.replace(env, **all_rounds))

    vars(counting).update({name: getattr(callback, name) for name in ("order", "before_iteration")})
    return counting


def _given(data: lightgbm.Dataset) -> dict[str, Any]:
    """What the rounds to come learn from. LightGBM keeps it as it was given until it is used, then as arrays of its types."""
    kinds = {"label": np.float32, "weight": np.float32, "group": np.int32, "position": np.int32}
    of_rows: dict[str, Any] = {
        f"the {name}s": () if (value := getattr(data, name)) is None else np.asarray(value, kind).ravel()
        for name, kind in kinds.items()
    }
    if np.all(of_rows["the weights"] == 1):  # LightGBM drops such weights
        of_rows["the weights"] = ()
    offset = _offset(data)
    return of_rows | {
        "the initial scores": () if offset is None else offset,
        "the features": None if data.used_indices is not None else _features(data.data),
    }


def _features(table: Any) -> Any:
    """Arrays of what is in the table; None if it is a file, or of another library."""
    if all(hasattr(table, name) for name in ("indptr", "indices", "data")):  # of SciPy
        return [table.indptr, table.indices, table.data]
    if hasattr(table, "items") and hasattr(table, "dtypes"):  # of pandas
        return {str(name): np.asarray(column) for name, column in table.items()}
    return np.asarray(table) if isinstance(table, list | np.ndarray) else None


def _booster_of(model: Any) -> lightgbm.Booster | None:
    """What the script begins with: a booster, or the file of one."""
    if model is None or isinstance(model, lightgbm.Booster):
        return model
    return lightgbm.Booster(model_file=model)


def _text_of(model: lightgbm.Booster | None) -> str:
    return "" if model is None else model.model_to_string(num_iteration=-1)


def _data_sets(train_set: lightgbm.Dataset, options: Mapping[str, Any]) -> list[Any]:
    held = options.get("valid_sets") or ()
    every = [train_set, *([held] if isinstance(held, lightgbm.Dataset) else held)]
    return [each for each in every if isinstance(each, lightgbm.Dataset)]


@contextmanager
def _keeping_offsets(data_sets: Sequence[Any]) -> Iterator[None]:
    """What data sets have as `init_score` is added to what the trees so far predict, which LightGBM puts in its place."""
    offsets = [(each, _offset(each)) for each in dict.fromkeys(data_sets)]
    offsets = [(each, offset) for each, offset in offsets if offset is not None]

    def adding(data: Any, offset: np.ndarray) -> Callable[[Any], Any]:
        def set_init_score(score: Any) -> Any:
            if data._predictor is not None:
                score = np.asarray(score, np.float64).ravel(order="F") + offset
            return lightgbm.Dataset.set_init_score(data, score)

        return set_init_score

    for data, offset in offsets:
        vars(data)["set_init_score"] = adding(data, offset)
    try:
        yield
    finally:
        for data, offset in offsets:
            del data.set_init_score
            data._predictor = None
            data.set_init_score(offset)  # for another training with the same data


def _offset(data: Any) -> np.ndarray | None:
    """The script's `init_score`, class by class; None without one."""
    if data._predictor is not None:  # of a training before: what its trees predicted
        return None
    score = data.get_init_score() if data._handle is not None else data.init_score
    if score is None and data.used_indices is not None and data._handle is None:  # a subset
        entire = _offset(data.reference)
        if entire is not None:
            return entire.reshape(-1, np.size(data.reference.label))[:, data.used_indices].ravel()
    return None if score is None else np.asarray(score, np.float64).ravel(order="F")


def _exactness(params: Mapping[str, Any], train_set: Any) -> str:
    if _is_sampled(params):
        return _DRAWS
    objective = str(next((params[name] for name in _OBJECTIVES if name in params), ""))
    if objective in _RANKS_AT_RANDOM:
        return f"{objective} draws random numbers from a generator that LightGBM keeps to itself: as good a model, but not the same"
    if train_set.position is not None:
        return "the bias of positions is not in LightGBM's models, and is learned anew"
    if params.get("linear_tree") or params.get("linear_trees"):
        return "the text of LightGBM's models rounds the coefficients of linear trees"
    if any(params.get(name) for name in _PENALTIES):
        return (
            "which features have been used, and are no longer penalized (cegb_…), is not in LightGBM's models"
        )
    return "exact" if _offset(train_set) is None else _OFFSET


def _is_sampled(params: Mapping[str, Any]) -> bool:
    names = _FRACTIONS
    if int(params.get("bagging_freq", params.get("subsample_freq", 0))) > 0:
        names += _ROW_FRACTIONS
    if any(float(params.get(name, 1)) < 1 for name in names):
        return True
    rounds_at_random = params.get("use_quantized_grad") and params.get("stochastic_rounding", True)
    return bool(_kinds(params) & {"dart", "goss"} or _has_extra(params) or rounds_at_random)


def _has_extra(params: Mapping[str, Any]) -> bool:
    return bool(params.get("extra_trees") or params.get("extra_tree"))


def _kinds(params: Mapping[str, Any]) -> set[str]:
    return {str(params.get(name)) for name in ("boosting", "boosting_type", "boost", "data_sample_strategy")}
