"""`learn` of stable-baselines3: killed at several timesteps it ends as uninterrupted, and what it cannot save is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.newborn import Newborns

pytest.importorskip("stable_baselines3")

SCRIPT = str(Path(__file__).parents[1] / "support" / "integrations" / "stable_baselines3_training.py")
TOTAL = 160
SAME = ("digest", "weights", "counted", "timesteps", "zips")


@pytest.fixture(scope="module")
def newborns() -> Iterator[Newborns]:
    with Newborns(SCRIPT) as born:
        yield born


def learn(newborns: Newborns, name: str, directory: Path, **job: Any) -> dict[str, Any]:
    answer = newborns.ask({"name": name, "directory": str(directory), "total": TOTAL, **job})
    assert "error" not in answer, answer["error"]
    return answer


ALGORITHMS = [
    *("ppo", "dqn"),
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("ppo_on_cartpole", "dqn_on_cartpole", "a2c", "sac", "td3", "ppo_with_a_schedule")
    ),
]


@pytest.mark.medium
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_learn_that_is_killed_at_several_timesteps_ends_as_an_uninterrupted_one(name, newborns, tmp_path):
    wanted = learn(newborns, name, tmp_path / "uninterrupted")
    assert wanted["timesteps"] >= TOTAL
    for kill_at in (41, 42, 99, 157):
        assert learn(newborns, name, tmp_path / "killed", kill_at=kill_at)["was_killed"]
    got = learn(newborns, name, tmp_path / "killed")
    assert got["verdict"] == "exact"
    assert {each: got[each] for each in SAME} == {each: wanted[each] for each in SAME}
    assert 0 < got["trained"] < TOTAL / 2  # the remaining timesteps, and no others


@pytest.mark.medium
@pytest.mark.parametrize("name", ["ppo", "dqn"])
def test_a_finished_one_trains_nothing_more_and_a_longer_one_trains_on(name, newborns, tmp_path):
    policy = {"every_n": 1}
    finished = learn(newborns, name, tmp_path, **policy)
    again = learn(newborns, name, tmp_path, **policy)
    assert (again["trained"], again["verdict"]) == (0, "exact")
    assert {each: again[each] for each in SAME} == {each: finished[each] for each in SAME}
    longer = learn(newborns, name, tmp_path, total=TOTAL + 32, **policy)
    assert (longer["trained"], longer["timesteps"]) == (32, TOTAL + 32)
    assert longer["verdict"].partition(":")[0] == ("exact" if name == "ppo" else "not exact")
    if name == "dqn":  # whose exploration shrinks until the end
        assert "total_timesteps was 160 and is now 192" in longer["verdict"]


def test_one_that_a_callback_has_stopped_trains_nothing_more(newborns, tmp_path):
    stopped = learn(newborns, "ppo", tmp_path, stop_at=70)
    again = learn(newborns, "ppo", tmp_path)
    assert (stopped["timesteps"], again["timesteps"], again["trained"]) == (70, 70, 0)
    assert again["weights"] == stopped["weights"]


@pytest.mark.medium
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ppo_elsewhere", "the environments of the SubprocVecEnv (env) are in other processes"),
        ("ppo_emulated", "the environment cannot be saved: env/envs/0/env/tape is a builtins.range_iterator"),
    ],
)
def test_an_environment_that_cannot_be_saved_is_named_and_begins_a_new_episode(
    name, said, newborns, tmp_path
):
    assert learn(newborns, name, tmp_path, kill_at=99)["was_killed"]
    got = learn(newborns, name, tmp_path)
    assert got["verdict"] == f"not exact: {said}"
    assert got["timesteps"] == TOTAL
    assert next(line for line in got["said"] if said in line).endswith(
        "leave= names attributes that decide nothing"
    )


@pytest.mark.medium
def test_attributes_that_decide_nothing_can_be_left_to_the_script(newborns, tmp_path):
    given = {"given": {"leave": "**/tape"}}
    wanted = learn(newborns, "ppo_emulated", tmp_path / "uninterrupted", **given)
    assert learn(newborns, "ppo_emulated", tmp_path / "killed", kill_at=99, **given)["was_killed"]
    got = learn(newborns, "ppo_emulated", tmp_path / "killed", **given)
    assert (got["verdict"], got["digest"]) == ("exact", wanted["digest"])


@pytest.mark.medium
@pytest.mark.parametrize("variables", ["off", "save"])
def test_what_an_algorithm_keeps_for_itself_comes_back(variables, newborns, tmp_path):
    given = {"given": {"variables": variables}}
    wanted = learn(newborns, "ppo_with_a_memory", tmp_path / "uninterrupted", **given)
    for kill_at in (42, 99):
        assert learn(newborns, "ppo_with_a_memory", tmp_path / "killed", kill_at=kill_at, **given)[
            "was_killed"
        ]
    got = learn(newborns, "ppo_with_a_memory", tmp_path / "killed", **given)
    assert got["verdict"] == {"off": "exact but for: the script's variables", "save": "exact"}[variables]
    assert (got["digest"], got["weights"]) == (wanted["digest"], wanted["weights"])


def test_what_of_an_algorithm_cannot_be_saved_is_named(newborns, tmp_path):
    given = {"given": {"variables": "off"}}
    assert learn(newborns, "ppo_with_an_iterator", tmp_path, kill_at=99, **given)["was_killed"]
    got = learn(newborns, "ppo_with_an_iterator", tmp_path, **given)
    said = "the algorithm's attribute _tape is not saved: _tape is a builtins.range_iterator"
    assert got["verdict"] == f"not exact: {said}"


@pytest.mark.medium
def test_a_changed_setting_of_the_script_is_in_force_and_named(newborns, tmp_path):
    assert learn(newborns, "dqn", tmp_path, kill_at=99)["was_killed"]
    got = learn(newborns, "dqn", tmp_path, set={"gamma": 0.5, "batch_size": 4})
    assert set(got["differences"]) == {"gamma was 0.99 and is now 0.5", "batch_size was 8 and is now 4"}


@pytest.mark.medium
def test_a_checkpoint_of_another_algorithm_and_a_second_learn_are_refused(newborns, tmp_path):
    learn(newborns, "dqn", tmp_path)
    other = learn(newborns, "ppo", tmp_path)
    assert other["raised"].startswith(("PlanMismatchError", "StateMismatchError"))
    second = learn(newborns, "ppo", tmp_path / "twice", again=True)
    assert second["raised"] == (
        "UsageError: a HoldfastCallback is for one learn(): give each its own, with a directory of its own."
    )
