"""What of an algorithm decides how its training continues, besides its networks and its environment."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, final

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule

from ... import state
from ...errors import UsageError
from ...plain_attributes import PlainAttributes
from ...plain_attributes import is_plain as is_plain_attribute
from ...policy import Checkpointing, Every, KeepLast, Limits, Overhead, Seconds
from .._common.arguments import Abilities
from .._common.script_settings import ScriptSettings, is_plain
from .._common.siblings import Siblings
from ._environment import LEFT, Environment, get_generators, put_generators, spaces_of
from ._rest import Rest

_FORWARD_ONLY: Final = (
    "no callback can send `learn` back; use 'stop', change what diverges, and start again: it resumes from the newest "
    "checkpoint that was finite"
)
_PARTS: Final = "networks, optimizers, buffers and environment belong together"
ABILITIES = Abilities(
    limits=Limits(
        where="stable-baselines3",
        hooks=frozenset({"phase_start", "batch_start", "batch_end", "phase_end"}),
        refused={
            "on_divergence='rollback'": _FORWARD_ONLY,
            "snapshot='lazy'": "buffers and environments are written in every step; leave it out",
        },
    ),
    refused={
        "strict": f"{_PARTS}; load what fits into a new model by Checkpoint.restore(…, strict=False)",
        "override": "the algorithm sets the learning rate before each update: give another `learning_rate` to the model",
        "allow_reread": "there is no loader here; leave it out",
        "on_rollback": _FORWARD_ONLY,
    },
    # The usual default, without the ends of epochs, of which there are none.
    default=lambda: Checkpointing(
        when=Every("phase_end") | Overhead(0.01) | Seconds(900), keep=KeepLast(3), save_on_preemption=True
    ),
)

_COUNTERS: Final = ("num_timesteps", "_n_updates", "_episode_num", "_current_progress_remaining")
_EPISODE: Final = ("_last_obs", "_last_episode_starts", "_last_original_obs")
_FINISHED: Final = ("ep_info_buffer", "ep_success_buffer")
_SCHEDULES: Final = ("lr_schedule", "clip_range", "clip_range_vf", "exploration_schedule")
_OF_THIS_PROCESS: Final = ("start_time", "_total_timesteps", "_num_timesteps_at_start")
_WITHOUT_EFFECT: Final = ("verbose", "tensorboard_log", "seed", "n_envs", "exploration_rate")
_EMPTY_BETWEEN: Final = ("stable_baselines3", "sb3_contrib")
"""Packages whose rollout buffers are emptied when a rollout begins, and that is where checkpoints are taken."""


def objects_of(model: BaseAlgorithm) -> dict[str, Any]:
    """The live objects of an algorithm: what it would save as states of torch, buffers, and noise."""
    names, tensors = model._get_torch_save_params()
    found = {name.replace(".", "_"): _at(model, name) for name in [*names, *tensors]}
    for name in ("replay_buffer", "rollout_buffer"):
        buffer = getattr(model, name, None)
        is_empty = name == "rollout_buffer" and type(buffer).__module__.partition(".")[0] in _EMPTY_BETWEEN
        if buffer is not None and not is_empty:
            found[name] = state.attributes(buffer, leave=[*LEFT, "env", "device"])
    if model.action_noise is not None:
        found["action_noise"] = state.attributes(model.action_noise, leave=LEFT)
    return {name: each for name, each in found.items() if each is not None}


def settings_of(model: BaseAlgorithm) -> ScriptSettings:
    """What the script says of the algorithm, as plain data."""
    but = {*_COUNTERS, *_OF_THIS_PROCESS, *_WITHOUT_EFFECT}
    found = {}
    for name, value in vars(model).items():
        if name in but or name.startswith("_"):
            continue
        if isinstance(value, tuple):  # such as a `TrainFreq`
            value = [each.value if isinstance(each, Enum) else each for each in value]
            found |= {name: value} if all(map(is_plain, value)) else {}
        elif is_plain(value):
            found[name] = value
        elif isinstance(value, FloatSchedule) and _is_constant(value):
            found[name] = value(1.0)
    return ScriptSettings(found)


def follows_its_end(model: BaseAlgorithm) -> bool:
    """Whether how it trains depends on how many timesteps there will be; of classes of the script that is unknown."""
    schedules = [getattr(model, name, None) for name in _SCHEDULES]
    is_known = type(model).__module__.startswith("stable_baselines3.")
    return not is_known or any(callable(each) and not _is_constant(each) for each in schedules)


def _is_constant(schedule: Any) -> bool:
    if isinstance(schedule, FloatSchedule):
        schedule = schedule.value_schedule
    return isinstance(schedule, ConstantSchedule)


@final
class Progress:
    """Where an algorithm is, for a `Handover`: values that it replaces, and never changes in place.

    Args:
        environments: the episode under way is saved if that of training is.
        rest: its attributes that are no plain data.
    """

    NAMES: Final = (
        "counters",
        "changed",
        "episode",
        "finished",
        "noise",
        "generators",
        "callbacks",
        "logged",
    )

    def __init__(
        self,
        model: BaseAlgorithm,
        environments: Mapping[str, Environment],
        siblings: Siblings,
        rest: Rest,
    ) -> None:
        self._model, self._siblings, self._rest = model, siblings, rest
        self._is_resumable = environments["env"].missing is None
        self._owners: dict[str, Any] = dict(spaces_of(model, "model"))
        for name, each in environments.items():
            self._owners |= {f"{name}/{path}": owner for path, owner in each.generators().items()}
        names = [*_COUNTERS, *_EPISODE, *_FINISHED, *_OF_THIS_PROCESS]
        self._attributes = PlainAttributes({"model": model}, but=names)

    def take(self) -> dict[str, Any]:
        model: Any = self._model
        return {
            "counters": {name: getattr(model, name) for name in _COUNTERS},
            "changed": self._attributes.get_state().get("model", {}) | self._rest.take(),
            "episode": {name: getattr(model, name) for name in _EPISODE} if self._is_resumable else {},
            "finished": {name: _without_times(getattr(model, name)) for name in _FINISHED},
            "noise": {name: list(each) for name, each in _noise_of(model).items()},
            "generators": get_generators(self._owners),
            "callbacks": self._siblings.take(),
            "logged": _logged(model),
        }

    def put(self, given: Mapping[str, Any]) -> list[str]:
        """Set all of it; returns what could not be, a sentence each."""
        model = self._model
        for name, value in {**given["counters"], **given["episode"]}.items():
            setattr(model, name, value)
        plain = {name: value for name, value in given["changed"].items() if is_plain_attribute(value)}
        self._attributes.put({"model": plain})
        self._rest.put({name: value for name, value in given["changed"].items() if name not in plain})
        for name, entries in given["finished"].items():
            live = getattr(model, name)
            live.clear()
            live.extend(entries)
        for distribution in _distributions(model):
            saved = given["noise"].get(type(distribution).__name__)
            if saved is not None:
                distribution.exploration_mat, distribution.exploration_matrices = saved
        put_generators(self._owners, given["generators"])
        for name, value in given["logged"].items():
            model.logger.record(name, value, model.logger.name_to_excluded.get(name))
        return self._siblings.put(given["callbacks"])


def metrics_of(model: BaseAlgorithm) -> dict[str, float]:
    """What the algorithm has logged last, without times, and the mean return of its last episodes."""
    found = _logged(model)
    returns = [info["r"] for info in model.ep_info_buffer or () if "r" in info]
    return found | ({"rollout/ep_rew_mean": sum(returns) / len(returns)} if returns else {})


def _logged(model: BaseAlgorithm) -> dict[str, float]:
    logged = model.logger.name_to_value
    return {
        name: float(value)
        for name, value in logged.items()
        if isinstance(value, int | float) or (hasattr(value, "dtype") and getattr(value, "size", 0) == 1)
        if not name.startswith("time/")
    }


def check(model: Any) -> None:
    """UsageError unless its training can be resumed."""
    if not isinstance(model, BaseAlgorithm) or model.env is None:
        raise UsageError(
            "a HoldfastCallback is for model.learn(…, callback=…) of stable-baselines3; around a loop of your own use holdfast.Run"
        )
    if not isinstance(model, OnPolicyAlgorithm | OffPolicyAlgorithm):
        raise UsageError(
            f"{type(model).__name__} has no rollouts between which it could be saved: that takes an algorithm with a "
            "rollout buffer or a replay buffer"
        )


def is_off_policy(model: Any) -> bool:
    return isinstance(model, OffPolicyAlgorithm)


def _at(model: Any, path: str) -> Any:
    for name in path.split("."):
        model = getattr(model, name)
    return model


def _without_times(entries: Any) -> list[Any]:
    """What episodes have told, without what a clock says (`t`), by which no two runs are alike."""
    return [
        {key: value for key, value in each.items() if key != "t"} if isinstance(each, Mapping) else each
        for each in entries
    ]


def _distributions(model: Any) -> list[Any]:
    """Those that explore by noise of their own, which was drawn when the rollout began."""
    owners = [model.policy, getattr(model, "actor", None)]
    found = [getattr(each, "action_dist", None) for each in owners]
    return [each for each in found if isinstance(getattr(each, "exploration_mat", None), torch.Tensor)]


def _noise_of(model: Any) -> dict[str, tuple[Any, Any]]:
    return {
        type(each).__name__: (each.exploration_mat.detach(), each.exploration_matrices.detach())
        for each in _distributions(model)
    }
