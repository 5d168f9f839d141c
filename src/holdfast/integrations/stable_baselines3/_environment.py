"""A vectorised environment by its attributes, as far as they say all that it holds."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Final, final

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv, VecEnvWrapper, VecNormalize

from ... import state
from ...errors import UnsupportedStateError, UsageError

_NAMES: Final = (
    # the same in every process
    *("spec", "_cached_spec", "metadata", "_metadata", "class_attributes", "dtype", "_dtype"),
    *("action_space", "_action_space", "observation_space", "_observation_space", "obs_spaces"),
    # written before they are read
    *("buf_obs", "buf_infos", "buf_rews", "buf_dones", "reset_infos"),
    # generators, which are saved by themselves: some exist only once they are used
    *("_np_random", "_np_random_seed"),
    # times, files and windows
    *("t_start", "episode_times", "episode_start_time", "time_queue", "results_writer", "logger"),
    *("screen", "clock", "window", "viewer", "renderer", "mujoco_renderer"),
)
LEFT: Final = tuple(f"**/{name}" for name in _NAMES)
"""Attributes that are no state of an episode or of a training."""

_ELSEWHERE: Final = (BaseProcess, Connection, socket.socket, io.IOBase)
_CODE: Final = ("function", "builtin_function_or_method", "method", "module", "type", "ABCMeta")
_MOST_LEFT: Final = 200  # attributes of one environment that hold code


@final
class Environment:
    """What of a vectorised environment can be saved: all of it, or of its wrappers the statistics of `VecNormalize`.

    Args:
        name: what it is called in a checkpoint, and in `missing`.
        leave: patterns of attributes that stay as the script has made them.

    Attributes:
        missing: why it cannot be saved, in words; None if it can.
        objects: live, by name, for a loop to save.
    """

    def __init__(self, name: str, env: VecEnv, leave: Sequence[str] = ()) -> None:
        self.env = env
        self._chain = [*_chain(env)]
        self._leave = [*LEFT, *leave]
        self.missing = self._why_not(name)
        self.objects: Mapping[str, Any] = (
            {name: state.attributes(env, leave=self._leave)}
            if self.missing is None
            else self._statistics(name)
        )

    def generators(self) -> dict[str, Any]:
        """The spaces and environments that may have a random generator of their own, by where they are."""
        found: dict[str, Any] = {}
        for index, wrapper in enumerate(self._chain):
            found |= _spaces_of(wrapper, f"{index}")
        if self.missing is None:
            for number, each in enumerate(getattr(self._chain[-1], "envs", ())):
                found |= {f"env {number}/{path}": owner for path, owner in _owners_below(each)}
        return found

    def _why_not(self, name: str) -> str | None:
        base = self._chain[-1]
        if isinstance(base, SubprocVecEnv):
            return f"the environments of the {type(base).__name__} ({name}) are in other processes"
        try:
            strange = next(
                (each for each in self._looked_at(name).held() if isinstance(each, _ELSEWHERE)), None
            )
        except UnsupportedStateError as err:
            return f"the environment cannot be saved: {err.path} is a {err.kind}"
        except UsageError as err:
            return f"the environment ({name}) cannot be saved: {err}"
        if strange is not None:
            return f"the environment ({name}) has a part elsewhere: a {type(strange).__name__}"
        return None

    def _looked_at(self, name: str) -> state.Attributes:
        """The environment, but for attributes that hold code: these are the script's, as it makes them."""
        while True:
            handed = state.attributes(self.env, leave=self._leave)
            try:
                state.look({name: handed})
                return handed
            except UnsupportedStateError as err:
                if err.kind.removeprefix("builtins.") not in _CODE or len(self._leave) > _MOST_LEFT:
                    raise
                self._leave.append(err.path.partition("/")[2])

    def _statistics(self, name: str) -> dict[str, Any]:
        found = {}
        for index, each in enumerate(self._chain):
            if isinstance(each, VecNormalize):
                of_observations = getattr(each, "obs_rms", {})
                if not isinstance(of_observations, Mapping):
                    of_observations = {"all": of_observations}
                named = {**of_observations, "returns": each.ret_rms}
                found[f"{name}_statistics_{index}"] = {
                    key: state.attributes(rms) for key, rms in named.items()
                }
        return found


def get_generators(owners: Mapping[str, Any]) -> dict[str, np.random.Generator]:
    """Those that exist by now, of spaces and environments."""
    return {
        path: generator
        for path, owner in owners.items()
        if isinstance(generator := vars(owner).get("_np_random"), np.random.Generator)
    }


def put_generators(owners: Mapping[str, Any], saved: Mapping[str, np.random.Generator]) -> None:
    """Set them as they were saved; one that is here only now has not been drawn from in the other process, and stays."""
    for path, generator in saved.items():
        if (owner := owners.get(path)) is not None:
            live = vars(owner).get("_np_random")
            if isinstance(live, np.random.Generator):
                live.bit_generator.state = generator.bit_generator.state  # spaces may share it
            else:
                owner._np_random = generator


def spaces_of(owner: Any, path: str) -> dict[str, gym.Space[Any]]:
    """The spaces that an algorithm draws from."""
    return _spaces_of(owner, path)


def _chain(env: VecEnv) -> Iterator[VecEnv]:
    yield env
    while isinstance(env, VecEnvWrapper):
        env = env.venv
        yield env


def _owners_below(env: Any) -> Iterator[tuple[str, Any]]:
    depth = 0
    while True:
        yield from _spaces_of(env, f"{depth}").items()
        if not isinstance(env, gym.Wrapper):
            yield f"{depth}", env
            return
        env, depth = env.env, depth + 1


def _spaces_of(owner: Any, path: str) -> dict[str, gym.Space[Any]]:
    found: dict[str, gym.Space[Any]] = {}
    for name in ("action_space", "observation_space"):
        if isinstance(space := vars(owner).get(name), gym.Space):
            found |= _with_parts(space, f"{path}/{name}")
    return found


def _with_parts(space: gym.Space[Any], path: str) -> dict[str, gym.Space[Any]]:
    found = {path: space}
    parts = getattr(space, "spaces", ())
    for key, part in parts.items() if isinstance(parts, Mapping) else enumerate(parts):
        found |= _with_parts(part, f"{path}/{key}")
    return found
