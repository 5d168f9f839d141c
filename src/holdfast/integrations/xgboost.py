"""XGBoost: `train` is `xgboost.train`, saved by a policy round by round, and resumes after a kill.

The model is saved as XGBoost's own binary JSON. Resuming is exact unless rows, columns or pairs are sampled, or the bias of
positions is learned: XGBoost hands out neither the state of its generator nor that bias, and the verdict says so.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import xgboost
from xgboost.callback import EarlyStopping, LearningRateScheduler, TrainingCallback

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


_SAMPLING = ("subsample", "colsample_bytree", "colsample_bylevel", "colsample_bynode")
_DRAWS = "rows or columns are sampled by a random generator that XGBoost keeps to itself: as good a model, but not the same"
_RACES = "a linear model (gblinear) is updated by threads that race, unless updater is coord_descent: as good a model, but not the same"
_PAIRS = (
    "pairs are sampled by a random generator that XGBoost keeps to itself: as good a model, but not the same"
)
_BIAS = "the bias of positions (lambdarank_unbiased) is not in XGBoost's models, and is learned anew"
_MOST_FEATURES = 64 << 20  # XGBoost hands them over as a copy
_STOPS = ("stopping_history", "best_scores", "current_rounds")


@final
class Trained(_boosting.Trained[xgboost.Booster]):
    """What came of it: the `booster` of all rounds, the `scores` of each, and whence it was resumed (`last_resume`)."""


def train(
    params: Mapping[str, Any],
    dtrain: xgboost.DMatrix,
    directory: str | os.PathLike[str],
    *,
    checkpointing: Checkpointing | None = None,
    resume: bool | Place | Resume = True,
    label: str = "train",
    allow_reread: bool = False,
    share_directory: bool = False,
    variables: Mode = "save",
    on_rollback: Callable[[Any], None] | None = None,
    num_boost_round: int = 10,
    callbacks: Sequence[TrainingCallback] = (),
    early_stopping_rounds: int | None = None,
    **options: Any,
) -> Trained:
    """Boost for `num_boost_round` rounds in all, those before a kill included.

    Args:
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
        callbacks: as of `xgboost.train`.
        **options: as of `xgboost.train`.

    Raises:
        UsageError: `dtrain` is no DMatrix, or an argument has no meaning.
        RunActiveError: another live run uses the directory.
        DamagedError: the checkpoint that `resume` names is not what was saved.
        SaveError: a save failed.
    """
    stopping = [each for each in callbacks if isinstance(each, EarlyStopping)]
    if early_stopping_rounds is not None:
        stopping.append(EarlyStopping(rounds=early_stopping_rounds))
        callbacks = [*callbacks, stopping[-1]]
    saves = _Saves()
    arguments = ABILITIES.check(
        directory, checkpointing, resume, label, allow_reread, share_directory, variables, on_rollback
    )
    if not isinstance(dtrain, xgboost.DMatrix):
        raise UsageError(f"dtrain must be an xgboost.DMatrix, not {dtrain!r}.")
    initial = _booster_of(options.pop("xgb_model", None))
    rounds = saves.rounds = Rounds(
        arguments,
        wanted=num_boost_round,
        dump=lambda: bytes(saves.model.save_raw("ubj")) if saves.model is not None else b"",
        stops=lambda: [
            {name: vars(each)[name] for name in _STOPS if name in vars(each)} for each in stopping
        ],
        exactness=_exactness(params),
        facts=_boosting.facts_of(params, {**_given(dtrain), "the trees of xgb_model": _as_bytes(initial)}),
        callbacks=callbacks,
        calls=[params, options],
        data=[dtrain, *(each for each, _ in options.get("evals") or ())],
    )
    with rounds.loop.holding():
        saved = rounds.resume()
        start = None if saved is None else xgboost.Booster(params=dict(params), model_file=bytearray(saved))
        if rounds.loop.last_resume is not None:
            saves.stops = list(zip(stopping, rounds.given["stops"], strict=True))
        saves.model = start
        if rounds.num_left or start is None:
            start = xgboost.train(
                dict(params),
                dtrain,
                rounds.num_left,
                xgb_model=initial if start is None else start,
                callbacks=[_InOrder(callbacks, saves, num_before=rounds.num_done)],
                **options,
            )
            saves.model = start
        else:
            saves.before_training(start)
        rounds.end()
        if (found := options.get("evals_result")) is not None:
            found.update(copy.deepcopy(rounds.scores))
        return Trained(start, rounds)


def _given(data: xgboost.DMatrix) -> dict[str, Any]:
    """What the rounds to come learn from."""
    of_rows = {
        "the labels": data.get_label(),
        "the weights": data.get_weight(),
        "the base margins": data.get_base_margin(),
        "the bounds of the labels": [
            data.get_float_info(f"label_{side}_bound") for side in ("lower", "upper")
        ],
        "the groups": data.get_group() if hasattr(data, "get_group") else None,
    }
    try:
        rows = data.get_data() if data.num_nonmissing() <= _MOST_FEATURES else None
    except xgboost.core.XGBoostError:  # they are not in memory
        rows = None
    return {**of_rows, "the features": rows}


def _booster_of(model: Any) -> xgboost.Booster | None:
    """What the script begins with: a booster, or a file or the bytes of one."""
    if model is None or isinstance(model, xgboost.Booster):
        return model
    return xgboost.Booster(model_file=model)


def _as_bytes(model: xgboost.Booster | None) -> bytes:
    return b"" if model is None else bytes(model.save_raw("ubj"))


def _exactness(params: Mapping[str, Any]) -> str:
    if _is_sampled(params):
        return _DRAWS
    if params.get("booster") == "gblinear" and params.get("updater") != "coord_descent":
        return _RACES
    if str(params.get("objective")).startswith("rank:"):
        if params.get("lambdarank_pair_method") == "mean":
            return _PAIRS
        if str(params.get("lambdarank_unbiased", False)).lower() not in ("false", "0"):
            return _BIAS
    return "exact"


def _is_sampled(params: Mapping[str, Any]) -> bool:
    if params.get("booster") == "gblinear" and params.get("feature_selector") in ("shuffle", "random"):
        return True
    return any(float(params.get(name, 1)) < 1 for name in _SAMPLING) or params.get("booster") == "dart"


class _InOrder(TrainingCallback):
    """Callbacks as they were given: older versions of XGBoost (3.0) call theirs in the order of a set.

    Ours restores what they have before any of them is called in the first round, and saves after all of them.

    A schedule of learning rates is one for all rounds, and is told so; XGBoost would begin it again.
    """

    def __init__(self, callbacks: Sequence[TrainingCallback], ours: _Saves, num_before: int) -> None:
        self._callbacks, self._ours, self._num_before = [*callbacks, ours], ours, num_before

    def before_training(self, model: Any) -> Any:
        for each in self._callbacks:
            model = each.before_training(model)
            if isinstance(each, LearningRateScheduler) and self._num_before:
                each.after_iteration(model, self._num_before - 1, {})  # the rate is not in the model
        return model

    def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        self._ours.rounds.begin()
        return any(
            each.before_iteration(model, self._number(epoch, each), evals_log) for each in self._callbacks
        )

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        return any(
            each.after_iteration(model, self._number(epoch, each), evals_log) for each in self._callbacks
        )

    def _number(self, epoch: int, callback: TrainingCallback) -> int:
        return epoch + self._num_before if isinstance(callback, LearningRateScheduler) else epoch

    def after_training(self, model: Any) -> Any:
        for each in self._callbacks:
            model = each.after_training(model)
        return model


class _Saves(TrainingCallback):
    rounds: Rounds
    model: Any = None
    stops: Sequence[tuple[EarlyStopping, Mapping[str, Any]]] = ()

    def before_training(self, model: Any) -> Any:
        for stopping, saved in self.stops:
            vars(stopping).update(saved)
        return model

    def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        if self.rounds.num_done:
            self.model = model
        self.rounds.check()
        return False

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        self.model = model
        each = ((data, *found) for data, by_metric in evals_log.items() for found in by_metric.items())
        self.rounds.add({(data, metric): values[-1] for data, metric, values in each})
        return False
