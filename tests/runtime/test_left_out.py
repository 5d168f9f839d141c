"""`exclude=` leaves parts of the state out of checkpoints; who goes on without them has said so, or is told."""

from __future__ import annotations

import pytest
import torch

import holdfast
from holdfast import Checkpointing, Write, state
from holdfast.errors import PlanMismatchError, StateMismatchError
from tests.support.small_runs import bundles, digest_of, experiment, on_disk, train


def run(directory, *patterns: str, n_epochs: int = 2, resume: bool = False, seed: int = 0):
    policy = on_disk(exclude=list(patterns)) if patterns else on_disk()
    made = experiment(directory, train(n_epochs=n_epochs, checkpointing=policy), seed=seed)
    made.run(resume=resume, progress=False)
    return made


def test_what_a_pattern_matches_is_not_in_the_bundle_and_all_else_is(tmp_path):
    run(tmp_path / "all")
    run(tmp_path / "less", "model_graph/body")
    with (
        holdfast.open(tmp_path / "all/train/train_epoch1.ckpt.mml") as complete,
        holdfast.open(tmp_path / "less/train/train_epoch1.ckpt.mml") as less,
    ):
        there = {leaf.path for leaf in holdfast.records.leaves(complete.source.tree)}
        left = {leaf.path for leaf in holdfast.records.leaves(less.source.tree)}
        assert there - left == {"model_graph/body/0.weight", "model_graph/body/0.bias"}
        assert [*state.all_left_out(less.source.tree)] == ["model_graph/body"]
        assert less.load()["model_graph"]["body"] is None
        assert less.verify(deep=True) == []


@pytest.mark.parametrize(
    "pattern",
    ["model_graph/body", "model_graph/body/0.weight", "*/optimizer", "*/optimizer/state/*", "**/exp_avg"],
)
def test_resuming_without_saying_so_is_refused_by_the_names_of_what_is_missing(tmp_path, pattern):
    run(tmp_path, pattern)
    fresh = experiment(tmp_path, train(n_epochs=3, checkpointing=on_disk()), seed=1)
    before = digest_of(fresh.graph)
    with pytest.raises(
        StateMismatchError, match=r"model_graph/(body|optimizer).*the checkpoint leaves it out"
    ):
        fresh.run(resume=True, progress=False)
    assert digest_of(fresh.graph) == before, "nothing was changed"


def test_resuming_with_the_same_patterns_keeps_the_live_values_and_says_that_it_is_not_exact(tmp_path):
    first = run(tmp_path, "model_graph/body")
    fresh = experiment(tmp_path, train(n_epochs=2, checkpointing=on_disk(exclude="model_graph/body")), seed=1)
    body = [parameter.detach().clone() for parameter in fresh.graph["body"].model.parameters()]
    fresh.run(resume=True, progress=False)
    assert all(map(torch.equal, fresh.graph["body"].model.parameters(), body))
    assert torch.equal(fresh.graph["head"].model.weight, first.graph["head"].model.weight)
    assert (
        fresh.last_resume.verdict
        == "not exact: model_graph/body is not in the checkpoint, and was left as it was"
    )


def test_optimizer_state_can_be_left_out_and_begins_from_scratch(tmp_path):
    pattern = "model_graph/optimizer/state"
    run(tmp_path, pattern)
    again = run(tmp_path, pattern, n_epochs=3, resume=True, seed=1)
    assert bundles(tmp_path / "train") == ["train_epoch0", "train_epoch1", "train_epoch2"]
    assert {int(slots["step"]) for slots in again.graph.optimizers[0].state.values()} == {5}  # of one epoch
    assert again.last_resume.verdict != "exact"


@pytest.mark.parametrize("pattern", ["random", "phase", "run", "*"])
def test_no_run_resumes_without_its_position_or_random_states(tmp_path, pattern):
    run(tmp_path, pattern)
    with pytest.raises(
        PlanMismatchError, match=r"does not hold an experiment|holds no experiment|no run resumes without it"
    ):
        run(tmp_path, pattern, n_epochs=3, resume=True)


@pytest.mark.parametrize("snapshot", ["copy", "lazy"])
def test_both_kinds_of_snapshot_and_a_save_in_the_foreground_leave_it_out(tmp_path, snapshot):
    for background in (True, False) if snapshot == "copy" else (True,):
        policy = on_disk(
            exclude=["*/head"], snapshot=snapshot, write=Write(durability="process", background=background)
        )
        experiment(tmp_path / str(background), train(n_epochs=1, checkpointing=policy)).run(progress=False)
        with holdfast.open(tmp_path / str(background) / "train/train_epoch0.ckpt.mml") as checkpoint:
            assert [*state.all_left_out(checkpoint.source.tree)] == ["model_graph/head"]


def test_what_is_left_out_is_left_out_in_memory_too():
    policy = Checkpointing(exclude="model_graph/head")
    experiment(None, train(n_epochs=1, checkpointing=policy)).run(progress=False)


@pytest.mark.parametrize("value", [3, [""], ["a", 3], {"a"}])
def test_patterns_that_are_none_are_refused(value):
    with pytest.raises(ValueError, match="exclude must be a pattern"):
        Checkpointing(exclude=value)


def test_additions_stand_in_the_configuration_only_when_they_are_used():
    plain = Checkpointing(mode="disk").get_config()
    assert not {"snapshot", "write", "exclude"} & plain.keys()
    options = {"snapshot": {"check": True}, "write": {"busy": "skip"}, "exclude": ["a/*"]}
    config = Checkpointing(mode="disk", **options).get_config()
    assert {name: config[name] for name in options} == options
    assert Checkpointing.from_config(config).get_config() == config
