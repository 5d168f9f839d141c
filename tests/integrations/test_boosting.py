"""Boosting that was over: with more rounds it goes on, unless an early stopping had ended it."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import holdfast
from holdfast import Checkpointing, errors

xgboost = pytest.importorskip("xgboost")


def boost(directory, rounds, *, patience, policy=None, metric=None):
    from holdfast.integrations.xgboost import train

    dice = np.random.default_rng(0)
    inputs = dice.normal(size=(120, 4)).astype("float32")
    noise = dice.normal(size=120)
    fit = xgboost.DMatrix(inputs[:80], inputs[:80, 0] + noise[:80])
    check = xgboost.DMatrix(inputs[80:], inputs[80:, 0] + noise[80:])
    return train(
        {"max_depth": 3, "nthread": 1, "seed": 1},
        fit,
        directory,
        num_boost_round=rounds,
        checkpointing=policy or Checkpointing(mode="disk", save_on="batch_end"),
        custom_metric=metric,
        evals=[(check, "check")],
        early_stopping_rounds=patience,
        verbose_eval=False,
    )


def test_all_rounds_done_with_an_early_stopping_that_did_not_act_resume_when_there_are_more(tmp_path):
    boost(tmp_path / "twice", 3, patience=50)
    longer = boost(tmp_path / "twice", 6, patience=50)
    at_once = boost(tmp_path / "at once", 6, patience=50)
    assert longer.booster.num_boosted_rounds() == 6
    assert longer.booster.save_raw("ubj") == at_once.booster.save_raw("ubj")


def test_what_an_early_stopping_ended_stays_ended(tmp_path):
    ended = boost(tmp_path, 200, patience=2).booster.num_boosted_rounds()
    assert ended < 200
    assert boost(tmp_path, 300, patience=2).booster.num_boosted_rounds() == ended


def non_finite_after(rounds):
    def odd(predicted, data):
        nonlocal rounds
        rounds -= 1
        return "odd", 1.0 if rounds > 0 else float("nan")

    return odd


def test_rounds_whose_score_is_not_finite_stop_or_are_warned_of(tmp_path, caplog):
    def minding(what):
        return Checkpointing(mode="disk", save_on="batch_end", on_divergence=what)

    with pytest.raises(errors.DivergenceError, match="odd is nan"):
        boost(tmp_path / "stop", 9, patience=9, policy=minding("stop"), metric=non_finite_after(5))
    boost(tmp_path / "warn", 9, patience=9, policy=minding("warn"), metric=non_finite_after(5))
    assert "the run is diverging: odd is nan" in caplog.text
    with pytest.raises(errors.UsageError, match="the same rounds would come again"):
        boost(tmp_path / "back", 9, patience=9, policy=minding("rollback"))


def interrupted_and_uninterrupted(train, tmp_path):
    """What `train(directory, stop_at)` returns when it goes on, and when it was never stopped."""
    with pytest.raises(RuntimeError, match="a cable"):
        train(tmp_path / "stopped", 5)
    return train(tmp_path / "stopped", None), train(tmp_path / "uninterrupted", None)


def test_schedules_and_results_of_xgboost_are_of_all_rounds(tmp_path):
    from holdfast.integrations.xgboost import train

    inputs = np.random.default_rng(0).normal(size=(80, 4)).astype("float32")
    data = xgboost.DMatrix(inputs, inputs[:, 0] * inputs[:, 1])

    class Crash(xgboost.callback.TrainingCallback):
        def __init__(self, stop_at):
            self.stop_at = stop_at

        def after_iteration(self, model, epoch, evals_log):
            if model.num_boosted_rounds() == self.stop_at:
                raise RuntimeError("a cable was pulled")

    def boosted(directory, stop_at):
        results = {}
        done = train(
            {"max_depth": 2, "nthread": 1},
            data,
            directory,
            num_boost_round=8,
            checkpointing=Checkpointing(mode="disk", save_on="batch_end"),
            evals=[(data, "data")],
            evals_result=results,
            verbose_eval=False,
            callbacks=[xgboost.callback.LearningRateScheduler(lambda n: 0.5 * 0.7**n), Crash(stop_at)],
        )
        return done.booster.save_raw("ubj"), results

    resumed, uninterrupted = interrupted_and_uninterrupted(boosted, tmp_path)
    assert resumed == uninterrupted


@pytest.mark.parametrize("selector", ["cyclic", "shuffle"])
def test_a_linear_booster_that_takes_features_at_random_is_not_called_exact(selector, tmp_path):
    from holdfast.integrations.xgboost import train

    inputs = np.random.default_rng(0).normal(size=(80, 4)).astype("float32")
    data = xgboost.DMatrix(inputs, inputs[:, 0])
    params = {"booster": "gblinear", "updater": "coord_descent", "feature_selector": selector, "nthread": 1}
    policy = Checkpointing(mode="disk", save_on="batch_end")
    train(params, data, tmp_path, num_boost_round=2, checkpointing=policy)
    report = train(params, data, tmp_path, num_boost_round=4, checkpointing=policy).last_resume
    assert report is not None
    assert (report.verdict == "exact") == (selector == "cyclic")


@pytest.fixture
def lightgbm():
    return pytest.importorskip("lightgbm")


def boosted_by_lightgbm(lightgbm, directory, stop_at, *callbacks, num_rounds=8, data=None, **more):
    from holdfast.integrations.lightgbm import train

    inputs = np.random.default_rng(0).normal(size=(120, 4))
    if data is None:
        data = lightgbm.Dataset(inputs, inputs[:, 0] * inputs[:, 1], free_raw_data=False)
    params = {"num_leaves": 4, "verbose": -1, "num_threads": 1, "deterministic": True, "force_col_wise": True}

    def crash(env):
        if env.iteration == stop_at:
            raise RuntimeError("a cable was pulled")

    policy = Checkpointing(mode="disk", save_on="batch_end")
    options = {"num_boost_round": num_rounds, "checkpointing": policy, "valid_sets": [data]}
    return train({**params, **more}, data, directory, callbacks=[*callbacks, crash], **options)


def test_parameters_reset_by_the_round_and_results_of_lightgbm_are_of_all_rounds(lightgbm, tmp_path):
    def boosted(directory, stop_at):
        results = {}
        rates = lightgbm.reset_parameter(learning_rate=[0.5 * 0.7**n for n in range(8)])
        recording = lightgbm.record_evaluation(results)
        done = boosted_by_lightgbm(lightgbm, directory, stop_at, rates, recording)
        return results, done.state_digest()

    resumed, uninterrupted = interrupted_and_uninterrupted(boosted, tmp_path)
    assert resumed == uninterrupted


@pytest.mark.parametrize(
    ("params", "is_exact"),
    [
        ({"bagging_fraction": 0.5}, True),  # without bagging_freq all rows are taken
        ({"bagging_fraction": 0.5, "bagging_freq": 2}, False),
        ({"use_quantized_grad": True}, False),
        ({"use_quantized_grad": True, "stochastic_rounding": False}, True),
        ({"extra_tree": True}, False),
        ({"linear_tree": True}, False),
        ({"cegb_penalty_feature_coupled": [9.0] * 4, "cegb_tradeoff": 0.5}, False),
    ],
)
def test_what_lightgbm_draws_is_known_from_its_parameters(params, is_exact, lightgbm, tmp_path):
    boosted_by_lightgbm(lightgbm, tmp_path / "twice", None, num_rounds=4, **params)
    done = boosted_by_lightgbm(lightgbm, tmp_path / "twice", None, **params)
    at_once = boosted_by_lightgbm(lightgbm, tmp_path / "at once", None, **params)
    assert done.last_resume is not None
    assert (done.last_resume.verdict == "exact") == is_exact
    assert (done.state_digest() == at_once.state_digest()) == is_exact


def test_a_random_forest_of_lightgbm_is_refused_before_it_has_trained(lightgbm, tmp_path):
    forest = {"boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1}
    with pytest.raises(errors.UsageError, match="random forest"):
        boosted_by_lightgbm(lightgbm, tmp_path, None, **forest)


@pytest.mark.parametrize("name", ["xgboost", "lightgbm"])
def test_a_policy_that_does_not_say_when_saves_after_rounds_where_there_are_no_epochs(name, tmp_path):
    pytest.importorskip(name)
    policy = Checkpointing(every_n=2)
    for directory in (tmp_path / "first", tmp_path / "second"):
        plain_rounds(name, directory, policy)
        assert [each.record.moment.batch for each in holdfast.scan(directory)] == [1, 3]
    state = {"a": np.zeros(2)}
    with holdfast.Run(tmp_path / "run", state, checkpointing=policy) as run:
        for _ in run.epochs(2):
            state["a"] += 1
    assert [each.record.moment.hook for each in holdfast.scan(tmp_path / "run")] == ["epoch_end"]


def test_hooks_that_are_named_are_those_that_there_have_to_be(tmp_path):
    with pytest.raises(errors.UsageError, match="has no hook 'epoch_end'"):
        plain_rounds("xgboost", tmp_path, Checkpointing(save_on="epoch_end"))


def plain_rounds(name, directory, policy):
    library = importlib.import_module(name)
    train = importlib.import_module(f"holdfast.integrations.{name}").train
    inputs = np.random.default_rng(0).normal(size=(60, 3))
    if name == "xgboost":
        params, data = {"nthread": 1}, library.DMatrix(inputs, inputs[:, 0])
    else:
        params = {"verbose": -1, "num_threads": 1}
        data = library.Dataset(inputs, inputs[:, 0], free_raw_data=False)
    return train(params, data, directory, checkpointing=policy, num_boost_round=5)


def offset_data(lightgbm, form):
    inputs = np.random.default_rng(0).normal(size=(120, 4))
    offset = 10 + 5 * inputs[:, 3]
    if form == "by class":
        labels = np.arange(120) % 3
        return lightgbm.Dataset(inputs, labels, init_score=inputs[:, :3], free_raw_data=False)
    data = lightgbm.Dataset(inputs, offset + inputs[:, 0], init_score=offset, free_raw_data=False)
    return data.subset(range(0, 120, 2)) if form == "a subset" else data


@pytest.mark.parametrize("form", ["plain", "by class", "a subset", "constructed"])
def test_an_init_score_stays_after_a_resume_and_the_verdict_says_that_it_is_added_otherwise(
    form, lightgbm, tmp_path
):
    more = {"objective": "multiclass", "num_class": 3} if form == "by class" else {}
    same = offset_data(lightgbm, form)

    def boosted(directory, stop_at):
        data = same if form == "constructed" else offset_data(lightgbm, form)
        return boosted_by_lightgbm(lightgbm, directory, stop_at, data=data, **more)

    resumed, uninterrupted = interrupted_and_uninterrupted(boosted, tmp_path)
    inputs = np.random.default_rng(1).normal(size=(60, 4))
    assert np.allclose(resumed.booster.predict(inputs), uninterrupted.booster.predict(inputs), atol=1e-9)
    assert "init_score" in resumed.last_resume.verdict
    assert resumed.last_resume.verdict.startswith("not exact")


@pytest.mark.parametrize("more", [{}, {"objective": "rank_xendcg"}, {"position": True}])
def test_ranks_of_lightgbm_that_depend_on_more_than_the_model_are_not_called_exact(more, lightgbm, tmp_path):
    inputs = np.random.default_rng(0).normal(size=(120, 4))
    options = {"position": np.tile(np.arange(20), 6)} if "position" in more else {}

    def boosted(directory, stop_at):
        data = lightgbm.Dataset(
            inputs, (inputs[:, 0] > 0) * 1, group=[20] * 6, free_raw_data=False, **options
        )
        objective = more.get("objective", "lambdarank")
        return boosted_by_lightgbm(lightgbm, directory, stop_at, data=data, objective=objective)

    resumed, uninterrupted = interrupted_and_uninterrupted(boosted, tmp_path)
    is_same = resumed.state_digest() == uninterrupted.state_digest()
    assert is_same == (not more) == (resumed.last_resume.verdict == "exact")


@pytest.mark.parametrize(
    "more",
    [{}, {"lambdarank_pair_method": "mean"}, {"lambdarank_unbiased": True}, {"lambdarank_unbiased": "true"}],
)
@pytest.mark.parametrize("objective", ["rank:ndcg", "rank:pairwise"])
def test_ranks_of_xgboost_that_depend_on_more_than_the_model_are_not_called_exact(objective, more, tmp_path):
    from holdfast.integrations.xgboost import train

    dice = np.random.default_rng(0)
    inputs = dice.normal(size=(200, 4)).astype("float32")
    grades = np.digitize(inputs[:, 0] + dice.normal(size=200), [-1, 0, 1])
    params = {"objective": objective, "nthread": 1, **more}
    policy = Checkpointing(save_on="batch_end")

    def boosted(directory, rounds):
        data = xgboost.DMatrix(inputs, grades, qid=np.repeat(np.arange(10), 20))
        return train(params, data, directory, checkpointing=policy, num_boost_round=rounds)

    boosted(tmp_path / "twice", 4)
    resumed, at_once = boosted(tmp_path / "twice", 8), boosted(tmp_path / "at once", 8)
    is_same = resumed.booster.save_raw("ubj") == at_once.booster.save_raw("ubj")
    assert is_same == (not more) == (resumed.last_resume.verdict == "exact")


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
@pytest.mark.parametrize(("change", "said"), [("rate", "learning_rate"), ("labels", "the labels")])
def test_other_parameters_and_other_labels_are_named_at_a_resume(library, change, said, tmp_path):
    pytest.importorskip(library)
    inputs = np.random.default_rng(0).normal(size=(120, 4))

    def boosted(rounds, is_changed):
        params = {"learning_rate": 0.5 if is_changed and change == "rate" else 0.1}
        labels = inputs[:, 1 if is_changed and change == "labels" else 0]
        policy = Checkpointing(save_on="batch_end")
        if library == "xgboost":
            from holdfast.integrations.xgboost import train

            data = xgboost.DMatrix(inputs, labels)
            return train(params, data, tmp_path, checkpointing=policy, num_boost_round=rounds)
        import lightgbm

        from holdfast.integrations.lightgbm import train

        data = lightgbm.Dataset(inputs, labels, free_raw_data=False)
        return train({**params, "verbose": -1}, data, tmp_path, checkpointing=policy, num_boost_round=rounds)

    boosted(3, False)
    assert boosted(5, False).last_resume.verdict == "exact"
    assert said in boosted(7, True).last_resume.verdict
