"""What bad input gets: an error of our own tree that names it, before anything is trained, written or changed.

The law is `refusals.refused`: the error's type and message, no file made, no weight or random draw changed.
"""

from __future__ import annotations

import os
import subprocess

import numpy as np
import pytest
import torch
from torch import nn

from holdfast import (
    Checkpointing,
    Dataset,
    EvalPhase,
    Experiment,
    FitPhase,
    Loss,
    MergeNode,
    ModelGraph,
    ModelNode,
    PhaseGroup,
    Run,
)
from holdfast.errors import GraphError, SaveError, UsageError
from tests.support.refusals import refused
from tests.support.small_runs import LOSS, experiment, graph, on_disk, rows, train

# --- policies and templates --------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["epohc_end", "group_end", "", "EPOCH_END"])
def test_an_unknown_hook(tmp_path, hook):
    with refused(tmp_path, UsageError, ValueError, match=hook or "not the name of a hook"):
        train(checkpointing=on_disk(hook))


@pytest.mark.parametrize("hook", ["epoch_end", "batch_start"])
def test_a_hook_of_training_on_an_experiment(tmp_path, hook):
    with refused(tmp_path, UsageError, ValueError, match=rf"for Experiment: \['{hook}'\]"):
        experiment(tmp_path, checkpointing=on_disk(hook))


def test_memory_mode_for_an_experiment(tmp_path):
    with refused(tmp_path, UsageError, ValueError, match="Invalid mode for Experiment: 'memory'"):
        experiment(tmp_path, checkpointing=Checkpointing(mode="memory", save_on="phase_end"))


def test_a_policy_that_is_none(tmp_path):
    with refused(tmp_path, UsageError, match="must be a Checkpointing, not"):
        train(checkpointing={"mode": "disk"})


LEAVES = ["../{phase}", "/tmp/{phase}", "a/{phase}", "..", "{phase}\0", "{phase}\\x", "C:{phase}"]


@pytest.mark.parametrize("template", LEAVES)
def test_a_template_that_leaves_the_directory(tmp_path, template):
    with refused(tmp_path, UsageError, ValueError, match="cannot be in the name|leads out"):
        train(checkpointing=on_disk(name_template=template))


@pytest.mark.parametrize("label", ["../evil", "/etc", "a/b", "..", "", "nul", "x" * 300, "START", "end"])
@pytest.mark.parametrize(
    "build",
    [
        lambda label: train(label),
        lambda label: EvalPhase(label, data=rows(), losses=[LOSS]),
        lambda label: FitPhase(label, node="head", data=rows()),
        lambda label: PhaseGroup(label, [train()]),
        lambda label: Experiment(label),
    ],
    ids=["train", "eval", "fit", "group", "experiment"],
)
def test_a_label_that_leaves_the_directory_or_is_taken(tmp_path, build, label):
    with refused(tmp_path, UsageError, ValueError, match="label"):
        build(label)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/b", "..", "", ".hidden"])
def test_a_manual_checkpoint_whose_name_leaves_the_directory(tmp_path, name):
    run = experiment(tmp_path / "runs")
    with refused(tmp_path, UsageError, ValueError, match="checkpoint name", run=run):
        run.save_checkpoint(name)


# --- directories ----------------------------------------------------------------------------------


def test_no_directory_to_inherit(tmp_path):
    run = experiment(None, train(checkpointing=on_disk()))
    with refused(tmp_path, UsageError, match="phase 'train' saves to disk and has no directory", run=run):
        run.run()


def test_no_directory_for_the_experiment_itself(tmp_path):
    run = experiment(None, train(), checkpointing=on_disk("phase_end"))
    with refused(tmp_path, UsageError, match="'small' saves to disk and has no directory", run=run):
        run.run()


@pytest.mark.parametrize("act", ["save_checkpoint", "run"])
def test_no_directory_for_what_is_asked(tmp_path, act):
    run = experiment(None, train())
    with refused(tmp_path, UsageError, match="has no directory to", run=run):
        run.save_checkpoint("x") if act == "save_checkpoint" else run.run(resume=True)


@pytest.mark.parametrize("directory", ["", 5, b"runs"])
def test_a_directory_that_is_none(tmp_path, monkeypatch, directory):
    monkeypatch.chdir(tmp_path)  # an empty one is a variable that was not set, and not the working directory
    with refused(tmp_path, UsageError, ValueError, match="directory must be a path, not"):
        experiment(directory, train())
    with refused(tmp_path, UsageError, ValueError, match="directory must be a path, not"):
        Run(directory, {"place": 0}, checkpointing=on_disk())


@pytest.mark.parametrize("resume", [None, 1, b"runs"])
def test_a_place_to_resume_from_that_is_none(tmp_path, resume):
    run = experiment(tmp_path, train(checkpointing=on_disk()))
    with refused(tmp_path, UsageError, ValueError, match="resume must be True, False, the name", run=run):
        run.run(resume=resume)
    with refused(tmp_path, UsageError, ValueError, match="resume must be True, False, the name"):
        Run(tmp_path, {"place": 0}, checkpointing=on_disk(), resume=resume)


@pytest.fixture(params=["a file", "below a file", "read-only"])
def unusable(request, tmp_path):
    """A directory to which nothing can be saved. The last kind is there already, so only trying it tells."""
    file = tmp_path / "file"
    file.write_text("mine")
    if request.param != "read-only":
        yield file if request.param == "a file" else file / "runs"
        assert file.read_text() == "mine"
        return
    place = tmp_path / "mounted"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a directory that is read-only even for root needs root, to mount it so")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_directory_that_cannot_be_used(tmp_path, unusable):
    run = experiment(unusable, train(checkpointing=on_disk()))
    for act in (run.run, lambda: run.save_checkpoint("x")):
        with refused(tmp_path, SaveError, OSError, match=str(unusable), run=run):
            act()


def test_a_later_phases_own_directory_that_cannot_be_used_is_noticed_before_the_first_is_trained(
    tmp_path, unusable
):
    second = train("second", checkpointing=on_disk(directory=unusable))
    run = experiment(tmp_path / "runs", train("first", n_epochs=1), second)
    with refused(tmp_path, SaveError, OSError, match=str(unusable), run=run):
        run.run()


# --- labels ----------------------------------------------------------------------------------------


def test_labels_that_are_used_twice(tmp_path):
    run = experiment(tmp_path, train("fit"))
    twice = [
        lambda: run.add(train("fit")),
        lambda: run.add(train("FIT")),
        lambda: run.add(PhaseGroup("all", [train("a"), PhaseGroup("b", [train("fit")])])),
        lambda: run.add(PhaseGroup("g", [train("g")])),
        lambda: run.add(train("new"), train("new")),
    ]
    for add in twice:
        with refused(tmp_path, UsageError, ValueError, match="is used twice", run=run):
            add()
        assert [unit.label for unit in run.units] == ["fit"]
    with refused(tmp_path, UsageError, match="give checkpoints of one name", run=run):
        run.add(train("fit_start"))


# --- graphs and phases ----------------------------------------------------------------------------


def test_a_graph_with_a_circle_names_its_nodes(tmp_path):
    circle = [
        ModelNode("a", nn.Linear(2, 2), "b"),
        MergeNode("b", ["c", "x"]),
        ModelNode("c", nn.Linear(2, 2), "a"),
    ]
    with refused(tmp_path, GraphError, ValueError, match="cycle: 'a' -> 'c' -> 'b' -> 'a'|cycle: '[abc]'"):
        ModelGraph(circle)


def test_a_missing_input_names_the_node_and_the_input(tmp_path):
    models = ModelGraph(
        [ModelNode("body", nn.Linear(4, 8), "pixel"), ModelNode("head", nn.Linear(8, 3), "body")],
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    )
    run = experiment(tmp_path / "runs", train(checkpointing=on_disk()), graph=models)
    with refused(tmp_path, GraphError, ValueError, match=r"node 'body': its input 'pixel'.*pixels"):
        run.run()


def test_a_node_label_that_is_used_twice(tmp_path):
    with refused(tmp_path, GraphError, ValueError, match="node 'Body': the label is used twice"):
        ModelGraph([ModelNode("body", nn.Linear(2, 2), "x"), ModelNode("Body", nn.Linear(2, 2), "x")])


def test_training_without_an_optimizer(tmp_path):
    run = experiment(
        tmp_path / "runs", train(checkpointing=on_disk()), graph=graph(optimizer=None, scheduler=None)
    )
    for ask in (run.run, lambda: run.run_phase("train"), lambda: run.preview_phase("train")):
        with refused(tmp_path, GraphError, ValueError, match="missing an optimizer", run=run):
            ask()


ELSEWHERE = Loss("loss", nn.functional.cross_entropy, output="tail", target="digit")
SENSELESS = {
    "a loss on a node that is not there": (lambda: train(losses=[ELSEWHERE]), "'tail'"),
    "a frozen node that is not there": (lambda: train(freeze=["tail"]), "'tail'"),
    "two measures of one name": (lambda: train(metrics=[LOSS]), "'loss'"),
    "predictions of a node that is not there": (
        lambda: EvalPhase("test", data=rows(), predictions="tail"),
        "'tail'",
    ),
    "a fit of a node that is not there": (lambda: FitPhase("fit", node="tail", data=rows()), "'tail'"),
    "batch_start on data without a length": (
        lambda: train(data=Endless(), batch_size=None, checkpointing=Checkpointing(save_on="batch_start")),
        "batch_start",
    ),
}


class Endless:
    def __iter__(self):
        yield rows().take(np.arange(8))


@pytest.mark.parametrize(("phase", "named"), SENSELESS.values(), ids=SENSELESS)
def test_a_later_phase_that_makes_no_sense_is_refused_before_the_first_is_trained(tmp_path, phase, named):
    run = experiment(tmp_path / "runs", train("first", checkpointing=on_disk()), phase())
    with refused(tmp_path, UsageError, ValueError, match=named, run=run):
        run.run()


@pytest.mark.parametrize(
    "bad",
    [
        {"n_epochs": 0},
        {"n_epochs": 2.0},
        {"accumulate": 0},
        {"accumulate": True},
        {"clip_norm": -1.0},
        {"clip_norm": float("nan")},
        {"scheduler_step": "bacth"},
        {"losses": []},
        {"step": lambda graph, batch: {}, "accumulate": 2},
    ],
    ids=lambda bad: ",".join(bad),
)
def test_values_of_a_phase_that_have_no_meaning(tmp_path, bad):
    with refused(tmp_path, UsageError, ValueError, match="|".join(bad) + "|minimise"):
        train(**bad)


def test_a_phase_that_is_not_in_the_plan_is_named_with_those_that_are(tmp_path):
    run = experiment(tmp_path, train("first"))
    for ask in (run.run_phase, run.run_group, run.preview_phase, run.preview_group):
        with refused(
            tmp_path, UsageError, ValueError, match="no 'second' in the plan; there are first", run=run
        ):
            ask("second")


def test_a_plan_that_needs_a_graph_without_one(tmp_path):
    run = experiment(tmp_path / "runs", train(checkpointing=on_disk()), graph=None)
    with refused(tmp_path, UsageError, ValueError, match="phase 'train' needs a model graph", run=run):
        run.run()


@pytest.mark.parametrize(
    ("columns", "named"),
    [({}, "equal length"), ({"a": [1, 2], "b": [1]}, "equal length"), ({"a": 3}, "'a' has no rows")],
)
def test_columns_that_are_no_dataset(tmp_path, columns, named):
    with refused(tmp_path, UsageError, ValueError, match=named):
        Dataset(columns)
