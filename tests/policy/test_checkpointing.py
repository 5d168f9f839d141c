"""The policy: its values, when it saves, its configuration, its warning."""

import copy
import inspect
import json
import pickle
import subprocess
import sys
import warnings
from functools import reduce
from operator import or_
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import UsageError
from holdfast.policy import (
    Checkpointing,
    Divergence,
    Every,
    KeepBest,
    KeepEvery,
    KeepLast,
    Lazy,
    Limits,
    MaxBytes,
    MeanTimeBetweenFailures,
    Overhead,
    Preemption,
    Seconds,
    Write,
    attach_to_experiment,
)

CONTRACT_KEYS = ["mode", "save_on", "every_n", "directory", "name_template", "max_to_keep", "overwrite"]


def test_the_defaults_are_those_of_the_contract():
    policy = Checkpointing()
    assert policy.mode == "memory"
    assert policy.get_config() == {
        "mode": None,
        "save_on": ["epoch_end"],
        "every_n": 1,
        "directory": None,
        "name_template": None,
        "max_to_keep": None,
        "overwrite": True,
        "unset": ["save_on"],
    }
    assert (policy.write, policy.keep, policy.snapshot, policy.saved_keys) == (Write(), None, None, [])


def test_every_argument_is_keyword_only():
    with pytest.raises(TypeError):
        Checkpointing("disk")  # type: ignore[misc]


@pytest.mark.parametrize(
    "save_on", ["epoch_end", ["epoch_end"], ("epoch_end",), {"epoch_end"}, frozenset({"epoch_end"})]
)
def test_save_on_takes_a_string_or_any_list_tuple_or_set(save_on):
    assert Checkpointing(save_on=save_on).save_on == ["epoch_end"]


def test_save_on_keeps_the_order_of_a_list_and_sorts_a_set():
    assert Checkpointing(save_on=["phase_end", "epoch_end", "phase_end"]).save_on == [
        "phase_end",
        "epoch_end",
    ]
    assert Checkpointing(save_on={"phase_end", "epoch_end"}).save_on == ["epoch_end", "phase_end"]


def test_changing_what_save_on_returned_changes_nothing():
    policy = Checkpointing()
    policy.save_on.append("batch_end")
    policy.get_config()["save_on"].append("batch_end")
    assert policy.save_on == ["epoch_end"]


def test_changing_the_list_that_was_passed_changes_nothing():
    hooks = ["epoch_end"]
    policy = Checkpointing(save_on=hooks)
    hooks.append("batch_end")
    assert policy.save_on == ["epoch_end"]


@pytest.mark.parametrize(
    "name", ["mode", "save_on", "every_n", "directory", "overwrite", "max_to_keep", "write", "when"]
)
def test_only_the_name_template_can_be_set(name):
    policy = Checkpointing()
    with pytest.raises(AttributeError):
        setattr(policy, name, getattr(policy, name))
    policy.name_template = "{phase}-{epoch}"
    assert policy.name_template == "{phase}-{epoch}"


def test_an_unknown_mode_is_refused_in_the_words_of_the_contract():
    with pytest.raises(ValueError) as caught:
        Checkpointing(mode="cloud")  # type: ignore[arg-type]
    assert str(caught.value) == "Invalid mode: 'cloud'. Expected 'memory' or 'disk'."


@pytest.mark.parametrize("every_n", [0, -1])
def test_every_n_below_one_is_refused_in_the_words_of_the_contract(every_n):
    with pytest.raises(ValueError) as caught:
        Checkpointing(every_n=every_n)
    assert str(caught.value) == "every_n must be >= 1."


@pytest.mark.parametrize(
    "bad",
    [
        {"every_n": 1.5},
        {"every_n": True},
        {"every_n": "2"},
        {"every_n": None},
        {"max_to_keep": 0},  # kept nothing
        {"max_to_keep": -3},  # crashed at the first save
        {"max_to_keep": 1.0},
        {"max_to_keep": False},
        {"save_on": []},
        {"save_on": ()},
        {"save_on": set()},
        {"save_on": ""},
        {"save_on": ["epoch_end", ""]},
        {"save_on": ["epoch_end", 3]},
        {"save_on": {3}},
        {"save_on": None},
        {"save_on": {"epoch_end": 2}},
        {"directory": ""},
        {"directory": 3},
        {"directory": b"runs"},
        {"overwrite": "no"},
        {"name_template": 3},
        {"name_template": "{epoch"},
        {"write": "process"},
        {"write": {"speed": "high"}},
        {"snapshot": "quick"},
        {"snapshot": {"checked": True}},
        {"on_divergence": "pray"},
        {"on_divergence": {"max_rollbacks": 2}},
        {"save_on_preemption": {"signals": []}},
        {"keep": "all"},
        {"keep": True},
        {"keep": KeepLast(2), "max_to_keep": 2},
        {"thin_after": 0},
        {"on_saved": 3},
        {"when": "never mind"},
        {"when": []},
        {"when": [[{"moon": "full"}]]},
        {"when": Every("batch_end"), "save_on": "epoch_end"},
        {"when": Every("batch_end"), "every_n": 1},
    ],
    ids=str,
)
def test_a_value_without_meaning_is_refused_at_once_and_not_at_the_first_save(bad):
    with pytest.raises(UsageError) as caught:
        Checkpointing(**bad)
    assert next(iter(bad)) in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_numpy_integers_are_integers():
    policy = Checkpointing(every_n=np.int64(2), max_to_keep=np.int32(3))  # type: ignore[arg-type]
    assert type(policy.every_n) is type(policy.max_to_keep) is int


def test_disk_mode_needs_no_directory_of_its_own_because_it_can_be_inherited():
    assert Checkpointing(mode="disk").directory is None


def test_a_directory_becomes_a_path():
    assert Checkpointing(mode="disk", directory="runs/digits").directory == Path("runs/digits")


def test_share_with_takes_one_path_or_several():
    assert Write(share_with="base").trusted == (Path("base"),)
    assert Write(share_with=["a", Path("b")]).trusted == (Path("a"), Path("b"))
    for bad in (3, ["a", ""]):
        with pytest.raises(UsageError, match="share_with"):
            Write(share_with=bad)  # type: ignore[arg-type]


# When it saves


def test_it_saves_at_every_nth_occurrence_of_a_hook():
    policy = Checkpointing(every_n=3)
    assert [policy.should_save("epoch_end") for _ in range(7)] == [
        False,
        False,
        True,
        False,
        False,
        True,
        False,
    ]


def test_a_hook_that_is_not_named_is_neither_saved_at_nor_counted():
    policy = Checkpointing(every_n=2)
    assert not policy.should_save("batch_end")
    assert not policy.should_save("no_such_hook")
    assert policy.get_counters() == {}


def test_each_hook_is_counted_for_itself():
    policy = Checkpointing(save_on=["epoch_end", "batch_end"], every_n=2)
    assert [policy.should_save(hook) for hook in ("epoch_end", "batch_end", "batch_end", "epoch_end")] == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("every_n", "words"),
    [
        (1, "epoch_end"),
        (2, "epoch_end, every 2nd"),
        (3, "epoch_end, every 3rd"),
        (4, "epoch_end, every 4th"),
        (11, "epoch_end, every 11th"),
        (21, "epoch_end, every 21st"),
        (112, "epoch_end, every 112th"),
    ],
)
def test_explain_says_in_words_why_it_would_save(every_n, words):
    policy = Checkpointing(every_n=every_n)
    for _ in range(every_n - 1):
        assert policy.explain("epoch_end") is None
        policy.should_save("epoch_end")
    assert policy.explain("epoch_end") == words
    assert policy.explain("batch_end") is None


@given(st.integers(1, 5), st.lists(st.sampled_from(["epoch_end", "batch_end", "phase_end"]), max_size=30))
def test_explain_foretells_should_save_and_counts_nothing(every_n, hooks):
    policy = Checkpointing(save_on=["epoch_end", "batch_end"], every_n=every_n)
    for hook in hooks:
        before = policy.get_counters()
        reason = policy.explain(hook)
        assert policy.get_counters() == before
        assert policy.should_save(hook) == (reason is not None)


@given(st.integers(1, 5), st.integers(0, 20), st.integers(0, 20))
def test_a_resumed_policy_decides_as_one_that_was_never_interrupted(every_n, before, after):
    complete = Checkpointing(every_n=every_n)
    for _ in range(before):
        complete.should_save("epoch_end")
    resumed = Checkpointing(every_n=every_n)
    resumed.set_counters(complete.get_counters())
    assert [resumed.should_save("epoch_end") for _ in range(after)] == [
        complete.should_save("epoch_end") for _ in range(after)
    ]


@pytest.mark.parametrize(
    "bad", [None, [], {"epoch_end": -1}, {"epoch_end": 1.5}, {"epoch_end": True}, {3: 1}], ids=str
)
def test_counters_without_meaning_are_refused_and_change_nothing(bad):
    policy = Checkpointing()
    policy.should_save("epoch_end")
    with pytest.raises(UsageError):
        policy.set_counters(bad)
    assert policy.get_counters() == {"epoch_end": 1}


def test_counters_are_copies_and_those_of_hooks_it_does_not_name_are_dropped():
    policy = Checkpointing()
    policy.set_counters({"epoch_end": 4, "batch_end": 9})
    policy.get_counters()["epoch_end"] = 0
    assert policy.get_counters() == {"epoch_end": 4}


# The warning


def test_a_directory_with_checkpoints_is_warned_of_at_the_callers_line(tmp_path):
    for name in ("a.ckpt.mml", "b.ckpt.mml"):
        (tmp_path / name).mkdir()
    (tmp_path / "c.ckpt.mml").write_text("not opened")
    (tmp_path / "phase" / "nested.ckpt.mml").mkdir(parents=True)
    (tmp_path / "a.ckpt.mml.damaged-1").mkdir()
    with pytest.warns(UserWarning, match="already contains") as caught:
        Checkpointing(mode="disk", directory=tmp_path)
    (warning,) = caught
    assert str(warning.message) == (
        f"Checkpoint directory '{tmp_path}' already contains 3 checkpoint file(s). Existing files will only be "
        "overwritten if an exact name match occurs and overwrite=True."
    )
    assert warning.category is UserWarning
    assert warning.filename == __file__


def test_from_config_warns_at_its_callers_line_once(tmp_path):
    (tmp_path / "a.ckpt.mml").mkdir()
    with pytest.warns(UserWarning, match="already contains") as caught:
        policy = Checkpointing.from_config({"directory": str(tmp_path)})
    (warning,) = caught
    assert warning.filename == __file__
    assert policy.directory == tmp_path


def test_no_warning_for_a_directory_that_is_new_empty_or_only_has_folders_of_phases(tmp_path):
    (tmp_path / "phase" / "nested.ckpt.mml").mkdir(parents=True)
    file = tmp_path / "file"
    file.touch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for directory in (tmp_path, tmp_path / "new", file, None):
            Checkpointing(mode="disk", directory=directory)


def test_a_refused_value_does_not_warn_first(tmp_path):
    (tmp_path / "a.ckpt.mml").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="every_n"):
            Checkpointing(directory=tmp_path, every_n=0)


# Configuration and copies


def test_the_config_has_exactly_the_keys_of_the_contract_while_additions_are_at_their_default():
    given = {"save_on": "epoch_end", "directory": "runs"}
    assert list(Checkpointing(mode="disk", **given).get_config()) == CONTRACT_KEYS
    assert Checkpointing(mode="disk", directory=Path("runs")).get_config()["directory"] == "runs"


def test_a_config_leaves_a_mode_open_that_was_not_said_until_a_parent_settles_it():
    again = Checkpointing.from_config(Checkpointing().get_config())
    assert again.is_mode_open
    attach_to_experiment(policy := Checkpointing(save_on="phase_end"))
    assert policy.get_config()["mode"] == "disk"
    assert Checkpointing(mode="memory").get_config()["mode"] == "memory"


@pytest.mark.parametrize("options", [{}, {"every_n": 5}, {"mode": "disk", "max_to_keep": 2}])
def test_a_config_leaves_hooks_open_that_were_not_said(options):
    """Boosting has no epochs: there an unset `save_on` means the end of a batch, and "epoch_end" is refused."""
    boosting = Limits(where="boosting", hooks=frozenset({"batch_end", "phase_end"}))
    policy = Checkpointing(**options)
    again = Checkpointing.from_config(json.loads(json.dumps(policy.get_config())))
    assert boosting.check(again).save_on == boosting.check(policy).save_on == ["batch_end"]
    assert again.get_config() == policy.get_config()
    assert again.save_on == ["epoch_end"]
    assert "save_on" not in repr(again)


@pytest.mark.parametrize("given", [{"save_on": "epoch_end"}, {"save_on": ["epoch_end"], "mode": "disk"}])
def test_hooks_that_were_said_are_said_in_the_config_of_an_earlier_version_too(given):
    boosting = Limits(where="boosting", hooks=frozenset({"batch_end", "phase_end"}))
    with pytest.raises(UsageError, match="no hook 'epoch_end'"):
        boosting.check(Checkpointing.from_config(given))


@pytest.mark.parametrize("unset", ["save_on", ["every_n"], True, {"save_on": 1}])
def test_only_the_hooks_can_be_unset_in_a_config(unset):
    with pytest.raises(UsageError, match="unset may name 'save_on'"):
        Checkpointing.from_config({"unset": unset})


def test_additions_appear_in_the_config_when_they_are_not_at_their_default():
    written = Write(durability="process", share_with=Path("base"))
    config = Checkpointing(save_on="epoch_end", write=written).get_config()
    assert list(config) == [*CONTRACT_KEYS, "write"]
    assert config["write"] == {"durability": "process", "share_with": ["base"]}


def test_an_empty_config_gives_the_defaults_and_unknown_keys_are_refused():
    assert Checkpointing.from_config({}).get_config() == Checkpointing().get_config()
    with pytest.raises(ValueError, match="has no 'of_the_future'"):
        Checkpointing.from_config({"every_n": 2, "of_the_future": object()})


@pytest.mark.parametrize("bad", [None, [], {"every_n": 0}, {"mode": "x"}, {"directory": 3}], ids=str)
def test_a_bad_config_is_refused_like_bad_arguments(bad):
    with pytest.raises(ValueError):
        Checkpointing.from_config(bad)


CONFIGS = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["memory", "disk"]),
        "save_on": st.lists(st.text(min_size=1), min_size=1, unique=True),
        "every_n": st.integers(1),
        "directory": st.none() | st.from_regex(r"/nowhere/[a-z]{1,9}", fullmatch=True),
        "name_template": st.none() | st.sampled_from(["{phase}", "{epoch:04d}", "{label}", "rolling"]),
        "max_to_keep": st.none() | st.integers(1),
        "overwrite": st.booleans(),
    },
    optional={
        "exclude": st.just(["**/head"]),
        "on_divergence": st.just({"action": "stop", "max_rollbacks": 2}),
    },
)


@given(CONFIGS)
def test_a_policy_comes_back_from_its_config(config):
    assert Checkpointing.from_config(config).get_config() == config


CONDITIONS = st.recursive(
    st.sampled_from([Every("batch_end", 7), Every("batch_end", 10), Seconds(600.0), Overhead(0.01)])
    | st.just(MeanTimeBetweenFailures(86400)),
    lambda inner: st.builds(lambda a, b: a | b, inner, inner) | st.builds(lambda a, b: a & b, inner, inner),
    max_leaves=5,
)
KEEPS = st.lists(
    st.sampled_from([KeepLast(3), KeepBest(2, "acc", "max"), KeepEvery("6h")]), min_size=1, max_size=3
).flatmap(
    lambda parts: st.sampled_from([reduce(or_, parts), reduce(or_, parts) & MaxBytes("20 GB"), MaxBytes(9)])
)
GROUPS = st.fixed_dictionaries(
    {},
    optional={
        "when": CONDITIONS,
        "keep": KEEPS,
        "thin_after": st.integers(1),
        "write": st.builds(
            Write,
            durability=st.sampled_from(["full", "process"]),
            busy=st.sampled_from(["wait", "skip"]),
            errors=st.sampled_from(["raise", "warn", "retry"]),
            share_with=st.sampled_from([(), "base", ["a", "b"]]),
        ),
        "snapshot": st.sampled_from(["lazy", "copy", Lazy(check=True)]),
        "exclude": st.just(["a/*"]),
        "save_on_preemption": st.sampled_from(
            [True, "USR1", ["SIGTERM"], Preemption(signals="TERM", deadline_s=50, exit_code=99)]
        ),
        "save_on_exception": st.sampled_from([True, "between"]),
        "on_divergence": st.sampled_from(["stop", "warn", Divergence("rollback", 5, "loss", "**/mask")]),
    },
)


@given(GROUPS)
def test_groups_come_back_from_a_config_that_was_json(options):
    policy = Checkpointing(mode="disk", **options)
    config = json.loads(json.dumps(policy.get_config()))
    again = Checkpointing.from_config(config)
    assert config.keys() >= {name for name, value in options.items() if value != "copy" and value != Write()}
    for name in (*GROUP_NAMES, "mode", "save_on", "every_n"):
        assert getattr(again, name) == getattr(policy, name), name
    assert again.get_config() == policy.get_config()


GROUP_NAMES = (
    *("when", "keep", "thin_after", "write", "snapshot", "exclude"),
    *("save_on_preemption", "save_on_exception", "on_divergence"),
)


def test_short_spellings_stand_for_the_groups():
    policy = Checkpointing(keep=3, snapshot="lazy", save_on_preemption=True, on_divergence="stop")
    assert policy.keep == KeepLast(3)
    assert policy.snapshot == Lazy()
    assert policy.save_on_preemption == Preemption()
    assert policy.on_divergence == Divergence("stop")
    assert [Checkpointing(when=text).when for text in ("batch_end", "10 min", "1%", "0.5 %")] == [
        Every("batch_end"),
        Seconds(600),
        Overhead(0.01),
        Overhead(0.005),
    ]


def test_there_are_at_most_eighteen_arguments():
    assert len(inspect.signature(Checkpointing).parameters) <= 18


# The mode that nobody has said


def test_an_unset_mode_is_memory_unless_something_speaks_for_the_disk(tmp_path):
    assert Checkpointing(max_to_keep=2, exclude="a/*", when="10 min", on_divergence="stop").mode == "memory"
    assert Checkpointing(directory=tmp_path).mode == "disk"
    assert Checkpointing(directory=tmp_path, mode="memory").mode == "memory"


@pytest.mark.parametrize(
    "options",
    [
        {"keep": 3},
        {"thin_after": 2},
        {"write": Write(durability="process")},
        {"snapshot": "lazy"},
        {"save_on_preemption": True},
        {"save_on_exception": "between"},
        {"on_divergence": "rollback"},
        {"on_saved": print},
    ],
    ids=str,
)
def test_what_is_about_bundles_means_disk_and_is_refused_in_memory(options):
    assert Checkpointing(**options).mode == "disk"
    with pytest.raises(UsageError, match=rf"{next(iter(options))}.* needs mode='disk'"):
        Checkpointing(mode="memory", **options)


def test_the_default_policy_keeps_three_and_the_best_and_hears_signals():
    policy = Checkpointing.default()
    assert (policy.mode, policy.save_on, policy.keep) == ("disk", ["epoch_end", "phase_end"], KeepLast(3))
    assert policy.save_on_preemption == Preemption()
    assert Checkpointing.default("acc", "max").keep == KeepLast(3) | KeepBest(1, "acc", "max")
    with pytest.raises(UsageError, match="direction"):
        Checkpointing.default("acc", "up")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda policy: pickle.loads(pickle.dumps(policy))]
)
def test_a_copied_experiment_has_a_ledger_of_its_own(duplicate):
    policy = Checkpointing(max_to_keep=2, every_n=2)
    policy.should_save("epoch_end")
    policy.record_memory(0, {"weight": np.arange(3.0)})
    twin = duplicate(policy)
    assert twin.get_config() == policy.get_config()
    assert twin.get_counters() == policy.get_counters()
    np.testing.assert_array_equal(twin.get_state(0)["weight"], np.arange(3.0))
    twin.record_memory(1, {})
    twin.record_memory(2, {})
    twin.should_save("epoch_end")
    assert (policy.saved_keys, twin.saved_keys) == ([0], [1, 2])
    assert policy.get_counters() == {"epoch_end": 1}


def test_importing_it_needs_no_framework():
    check = (
        "import sys, holdfast.policy; assert not {'torch', 'sklearn', 'pandas', 'jax'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
