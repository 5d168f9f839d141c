"""Groups and parts of a plan: what runs, in which order, where it saves, and what of it is remembered."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from holdfast import Callback, EvalPhase, FitPhase, Metric, ModelGraph, ModelNode, PhaseGroup
from holdfast.errors import GraphError, UsageError
from tests.support.small_runs import (
    BATCHES,
    LOSS,
    ROWS,
    At,
    adam_steps,
    bundles,
    digest_of,
    experiment,
    files_below,
    graph,
    on_disk,
    rows,
    train,
)


def nested(**options) -> PhaseGroup:
    """all: first, (deep: second, (deeper: third)), test."""
    deeper = PhaseGroup("deeper", [train("third", n_epochs=1, **options)])
    deep = PhaseGroup("deep", [train("second", n_epochs=2, **options), deeper])
    measured = EvalPhase("test", data=rows(1), losses=[LOSS], predictions=["body", "head"])
    return PhaseGroup("all", [train("first", n_epochs=1, **options), deep, measured])


PATHS = ["all/first", "all/deep/second", "all/deep/deeper/third", "all/test"]


def test_a_plan_of_groups_is_the_plan_without_them():
    grouped, flat = experiment(None, nested()), experiment(None)
    flat.add(
        train("first", n_epochs=1),
        train("second", n_epochs=2),
        train("third", n_epochs=1),
        EvalPhase("test", data=rows(1), losses=[LOSS], predictions=["body", "head"]),
    )
    torch.manual_seed(1)
    first = grouped.run()
    torch.manual_seed(1)
    second = flat.run()
    assert list(first) == PATHS
    assert digest_of(grouped.graph) == digest_of(flat.graph)
    for path in PATHS:
        assert first[path]["loss"].tolist() == second[path.rpartition("/")[2]]["loss"].tolist()


def test_a_group_can_be_run_by_name_by_path_or_as_it_is():
    for which in ("deep", "all/deep"):
        run = experiment(None, nested())
        assert list(run.run_group(which)) == ["deep/second", "deep/deeper/third"]
    run = experiment(None)
    assert list(run.run_group(nested())) == PATHS
    assert adam_steps(run.graph) == 4 * BATCHES


def test_a_group_run_alone_saves_by_its_phases_policies_and_not_by_the_experiments(tmp_path):
    # The experiment's policy is about the plan as a whole: a part that is run by hand is no step of it.
    run = experiment(
        tmp_path,
        nested(checkpointing=on_disk()),
        checkpointing=on_disk("phase_end", "group_end", "experiment_end"),
    )
    run.run_group("deep")
    assert list(run.available_checkpoints) == [
        "second/second_epoch0",
        "second/second_epoch1",
        "third/third_epoch0",
    ]


@pytest.mark.parametrize(
    "name",
    ["second/second_epoch0", "all/deep/second", "deep_start", "deeper_start", "third", "deeper", "all"],
)
def test_a_run_resumes_from_inside_nested_groups(tmp_path, name):
    def make():
        return experiment(
            tmp_path,
            nested(checkpointing=on_disk()),
            train("last", n_epochs=1),
            checkpointing=on_disk("group_start", "group_end", "phase_end"),
        )

    complete = make()
    results = complete.run()
    again = make()
    again.run(resume=name.rpartition("/")[2] if name.startswith("all/") else name)
    assert again.last_resume.verdict == "exact"
    assert again.state_digest() == complete.state_digest()
    assert list(again.results) == list(results) == [*PATHS, "last"]


def test_predictions_are_a_row_per_sample_in_the_order_of_the_data():
    run = experiment(None, nested())
    predictions = run.run()["all/test"].predictions
    assert {label: values.shape for label, values in predictions.items()} == {
        "body": (ROWS, 8),
        "head": (ROWS, 3),
    }
    with run.graph.evaluating():
        expected = run.graph.forward(rows(1).take(np.arange(ROWS)), ["head"])["head"]
    assert np.allclose(predictions["head"], expected.numpy(), atol=1e-6)


def test_measuring_changes_nothing():
    run = experiment(None, train(n_epochs=1))
    run.run()
    before = digest_of(run.graph), run.graph.is_training, torch.get_rng_state().tolist()
    result = run.run_phase(EvalPhase("test", data=rows(1), losses=[LOSS]))
    assert result.last["loss"] > 0
    assert (digest_of(run.graph), run.graph.is_training, torch.get_rng_state().tolist()) == before


# --- fitting --------------------------------------------------------------------------------------


def with_estimator() -> ModelGraph:
    made = graph()
    estimator = ModelNode("trees", LogisticRegression(), "body", method="predict_proba")
    return ModelGraph(
        [*made.model_nodes, estimator], optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.05)
    )


def right(label, output) -> float:
    return float((output.argmax(1) == label).mean())


def fitting(directory=None):
    accuracy = Metric("accuracy", right, output="trees", target="digit")
    return experiment(
        directory,
        train(n_epochs=2, checkpointing=None if directory is None else on_disk()),
        FitPhase("fit", node="trees", data=rows(), target="digit", metrics=[accuracy]),
        EvalPhase("test", data=rows(), metrics=[accuracy], predictions="trees"),
        graph=with_estimator(),
        checkpointing=None if directory is None else on_disk("phase_start", "phase_end"),
    )


@pytest.mark.parametrize("name", ["train/train_epoch0", "fit_start", "fit", "test_start"])
def test_a_fitted_estimator_is_saved_and_the_run_resumes_exactly(tmp_path, name):
    complete, again = fitting(tmp_path), fitting(tmp_path)
    results = complete.run()
    assert results["fit"].last["accuracy"] > 0.5
    assert results["test"].predictions["trees"].shape == (ROWS, 3)
    again.run(resume=name)
    assert again.state_digest() == complete.state_digest()


def test_a_frozen_estimator_is_not_fitted_again():
    run = fitting()
    run.graph.freeze("trees")
    with pytest.raises(GraphError, match="'trees' is frozen"):
        run.run_phase("fit")


# --- what is remembered ---------------------------------------------------------------------------


def test_every_run_of_a_part_is_in_the_history_with_its_end():
    run = experiment(None, nested(), train("bad", callbacks=[At("epoch_end", do=RuntimeError("boom"))]))
    run.run_phase("first")
    with pytest.raises(RuntimeError):
        run.run_phase("bad")
    with pytest.raises(KeyboardInterrupt):
        run.run_phase(train("stopped", callbacks=[At("batch_end", 1, do=KeyboardInterrupt())]))
    run.run_group("deeper")
    assert [(entry.what, entry.status, entry.reason) for entry in run.history] == [
        ("first", "complete", None),
        ("bad", "failed", "RuntimeError: boom"),
        ("stopped", "interrupted", "KeyboardInterrupt: "),
        ("deeper", "complete", None),
    ]
    assert len({entry.run for entry in run.history}) == 4


def test_a_run_that_is_refused_is_no_part_of_the_history():
    run = experiment(None, train())
    with pytest.raises(UsageError):
        run.run_phase("other")
    with pytest.raises(GraphError):
        run.run_phase(train("bad", freeze=["tail"]))
    assert run.history == []


def test_results_of_groups_as_a_table():
    frame = experiment(None, nested()).run().to_pandas()
    assert frame["phase"].tolist() == [PATHS[0], PATHS[1], PATHS[1], PATHS[2], PATHS[3]]
    assert frame["epoch"].tolist() == [0, 0, 1, 0, 0]
    assert list(frame.columns) == ["phase", "epoch", "loss", "seconds"]
    assert frame["loss"].notna().all()


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt()], ids=repr)
def test_what_a_phase_froze_is_free_in_the_next_however_it_ended(error):
    run = experiment(None, train("bad", freeze=["body"], callbacks=[At("epoch_end", do=error)]))
    with pytest.raises(type(error)):
        run.run()
    before = run.graph["body"].model[0].weight.detach().clone()
    run.run_phase(train("next", n_epochs=1))
    assert not torch.equal(run.graph["body"].model[0].weight, before)


def test_a_phase_that_fails_in_mid_accumulation_leaves_nothing_to_the_next():
    failing = train("bad", accumulate=4, callbacks=[At("batch_end", 0, 1, do=RuntimeError("boom"))])
    run, fresh = experiment(None, failing), experiment(None)
    with pytest.raises(RuntimeError):
        run.run()
    for each in (run, fresh):
        torch.manual_seed(3)
        each.run_phase(train("next", n_epochs=1))
    assert digest_of(run.graph) == digest_of(fresh.graph)


def test_callbacks_of_a_part_that_fails_are_told():
    told = []

    class Told(Callback):
        def on_exception(self, context) -> None:
            told.append(context.phase)

    boom = At("epoch_end", do=RuntimeError("boom"))
    run = experiment(None, PhaseGroup("all", [train("inside", callbacks=[Told(), boom])]))
    for part in ("inside", train("elsewhere", callbacks=[Told(), boom])):
        with pytest.raises(RuntimeError):
            run.run_phase(part)
    assert told == ["inside", "elsewhere"]


def test_a_phase_that_is_run_twice_saves_over_its_own_and_has_two_entries(tmp_path):
    run = experiment(tmp_path, train(n_epochs=2, checkpointing=on_disk()))
    run.run_phase("train")
    before = files_below(tmp_path)
    run.run_phase("train")
    assert bundles(tmp_path / "train") == ["train_epoch0", "train_epoch1"]
    assert files_below(tmp_path).isdisjoint(before - {each for each in before if "checkpoint.json" in each})
    assert adam_steps(run.graph) == 4 * BATCHES
    assert len(run.history) == 2
