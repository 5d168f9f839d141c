"""Names and keys by hook, and what may be a name at all."""

import contextlib
import re
import unicodedata
from itertools import combinations
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import UsageError
from holdfast.policy import (
    EXPERIMENT_HOOKS,
    TRAINING_HOOKS,
    TRAINING_PLACEHOLDERS,
    Checkpointing,
    attach_to_experiment,
    check_label,
    check_name,
    experiment_key,
    experiment_name,
    training_key,
    training_name,
)
from holdfast.records import Moment


def at(hook: str, epoch: int | None = 3, batch: int | None = 7) -> Moment:
    return Moment(run="run", hook=hook, phase="pretrain", epoch=epoch, batch=batch)


def in_training(save_on, hook, template=None):
    """Key and name at the hook of epoch 3, batch 7 of the phase `pretrain`."""
    policy = Checkpointing(save_on=save_on, name_template=template)
    return training_key(policy, at(hook)), training_name(policy, at(hook), "pretrain")


def in_experiment(save_on, hook, template=None):
    policy = Checkpointing(mode="disk", save_on=save_on, name_template=template)
    return experiment_key(policy, at(hook), "pretrain"), experiment_name(policy, at(hook), "pretrain")


@pytest.mark.parametrize("template", [None, "{phase}_epoch{epoch}"], ids=["no template", "the constant"])
@pytest.mark.parametrize(
    ("save_on", "hook", "key", "name"),
    [
        ("epoch_end", "epoch_end", 3, "pretrain_epoch3"),
        ("epoch_start", "epoch_start", 3, "pretrain_epoch3"),
        (["epoch_start", "epoch_end"], "epoch_end", 3, "pretrain_epoch3"),
        (["epoch_start", "epoch_end"], "epoch_start", "epoch3_start", "pretrain_epoch3_start"),
        ("batch_end", "batch_end", "epoch3_batch7", "pretrain_epoch3_batch7"),
        ("batch_start", "batch_start", "epoch3_batch7_start", "pretrain_epoch3_batch7_start"),
        ("phase_start", "phase_start", "phase_start", "pretrain_start"),
        ("phase_end", "phase_end", "phase_end", "pretrain_end"),
    ],
)
def test_keys_and_names_of_training_are_those_of_the_table(template, save_on, hook, key, name):
    assert in_training(save_on, hook, template) == (key, name)


@pytest.mark.parametrize("template", [None, "{label}"], ids=["no template", "the constant"])
@pytest.mark.parametrize(
    ("save_on", "hook", "key"),
    [
        ("phase_end", "phase_end", "pretrain"),
        ("phase_start", "phase_start", "pretrain"),
        (["phase_start", "phase_end"], "phase_end", "pretrain"),
        (["phase_start", "phase_end"], "phase_start", "pretrain_start"),
        (["phase_start", "group_end"], "phase_start", "pretrain"),
        ("group_end", "group_end", "pretrain"),
        ("group_start", "group_start", "pretrain"),
        (["group_start", "group_end"], "group_start", "pretrain_start"),
        ("experiment_start", "experiment_start", "START"),
        ("experiment_end", "experiment_end", "END"),
    ],
)
def test_keys_and_names_of_an_experiment_are_those_of_the_table(template, save_on, hook, key):
    assert in_experiment(save_on, hook, template) == (key, key)


def test_a_phase_label_with_a_dot_is_not_cut():
    policy = Checkpointing()
    assert training_name(policy, at("epoch_end"), "lr0.01") == "lr0.01_epoch3"


@pytest.mark.parametrize(
    ("hook", "name"),
    [("epoch_end", "p-0003"), ("epoch_start", "p-0003")],
)
def test_a_template_of_the_users_is_used_as_it_is_where_one_hook_gives_the_name(hook, name):
    policy = Checkpointing(save_on=hook, name_template="p-{epoch:04d}")
    assert training_name(policy, at(hook), "pretrain") == name


@pytest.mark.parametrize(
    ("save_on", "hook", "name"),
    [
        (["epoch_end", "batch_end"], "epoch_end", "e3_epoch_end"),
        (["epoch_end", "batch_end"], "batch_end", "e3_batch_end"),
        (["epoch_start", "epoch_end"], "epoch_start", "e3_epoch_start"),
        (["epoch_end", "phase_end"], "epoch_end", "e3"),  # phase_end has no epoch: it cannot give this name
        (["epoch_end", "phase_end"], "phase_end", "e_phase_end"),
        ("phase_end", "phase_end", "e_phase_end"),
    ],
)
def test_where_two_hooks_would_give_one_name_or_a_value_is_lacking_the_hook_is_added(save_on, hook, name):
    assert in_training(save_on, hook, "e{epoch}")[1] == name


@pytest.mark.parametrize("template", ["{phase}{epoch:04d}", "{phase}{epoch!r:>4}", "{phase}{epoch!s}"])
def test_a_value_that_the_hook_lacks_is_empty_whatever_its_format(template):
    name = in_training("phase_start", "phase_start", template)[1]
    assert name.replace(" ", "") == "pretrain_phase_start"


def test_a_template_without_a_changing_placeholder_is_a_rolling_name_with_a_key_for_each_epoch():
    policy = Checkpointing(name_template="latest")
    moments = [at("epoch_end", epoch) for epoch in range(4)]
    assert [training_key(policy, moment) for moment in moments] == [0, 1, 2, 3]
    assert {training_name(policy, moment, "pretrain") for moment in moments} == {"latest"}


@pytest.mark.parametrize(
    ("template", "save_on", "hook", "name"),
    [
        ("x-{label}", ["phase_end", "group_end"], "phase_end", "x-pretrain"),
        ("x-{label}", ["phase_start", "phase_end"], "phase_end", "x-pretrain_phase_end"),
        ("x-{label}", ["phase_start", "phase_end"], "phase_start", "x-pretrain_phase_start"),
        ("x-{label}", ["group_start", "group_end", "phase_end"], "phase_end", "x-pretrain"),
        ("x-{label}", ["experiment_start", "experiment_end"], "experiment_start", "x-START"),
        ("x-{label}", "experiment_end", "experiment_end", "x-END"),
        ("latest", "phase_end", "phase_end", "latest"),
        ("latest", ["phase_end", "experiment_end"], "phase_end", "latest_phase_end"),
    ],
)
def test_a_template_of_the_users_in_an_experiment(template, save_on, hook, name):
    assert in_experiment(save_on, hook, template)[1] == name


TEMPLATES = [
    None,
    "latest",
    "{phase}",
    "{epoch}",
    "{batch}",
    "{epoch:03d}-{batch}",
    "{phase}_{epoch}_{batch}",
    "{phase}{epoch}",
]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("n_hooks", range(2, 7))
def test_no_two_hooks_of_a_phase_ever_share_a_name_or_a_key(template, n_hooks):
    for save_on in combinations(sorted(TRAINING_HOOKS), n_hooks):
        policy = Checkpointing(save_on=save_on, name_template=template)
        names, keys = {}, {}
        for moment in (
            at(hook, epoch, batch) for hook in save_on for epoch in range(2) for batch in range(2)
        ):
            names.setdefault(training_name(policy, moment, "p"), set()).add(moment.hook)
            keys.setdefault(training_key(policy, moment), set()).add(moment.hook)
        assert all(len(hooks) == 1 for hooks in [*names.values(), *keys.values()])


@pytest.mark.parametrize("template", [None, "latest", "{label}", "x{label}", "{label:>9}"])
@pytest.mark.parametrize("n_hooks", range(2, 7))
def test_no_two_hooks_of_an_experiment_ever_share_a_name_or_a_key(template, n_hooks):
    labels = {"phase": ["a", "b"], "group": ["c", "d"], "experiment": ["digits"]}
    for save_on in combinations(sorted(EXPERIMENT_HOOKS), n_hooks):
        policy = Checkpointing(mode="disk", save_on=save_on, name_template=template)
        names, keys = {}, {}
        for hook, label in [(h, label) for h in save_on for label in labels[h.split("_")[0]]]:
            names.setdefault(experiment_name(policy, at(hook), label), set()).add(hook)
            keys.setdefault(experiment_key(policy, at(hook), label), set()).add(hook)
        assert all(len(hooks) == 1 for hooks in [*names.values(), *keys.values()])


def test_every_batch_of_every_epoch_has_a_checkpoint_of_its_own():
    policy = Checkpointing(save_on="batch_end")
    moments = [at("batch_end", epoch, batch) for epoch in range(3) for batch in range(12)]
    assert len({training_key(policy, moment) for moment in moments}) == len(moments)
    assert len({training_name(policy, moment, "p") for moment in moments}) == len(moments)


def test_a_moment_that_lacks_its_epoch_or_batch_is_refused_by_name():
    policy = Checkpointing(save_on=["epoch_end", "batch_end"])
    with pytest.raises(UsageError, match="needs its epoch"):
        training_key(policy, at("epoch_end", epoch=None))
    with pytest.raises(UsageError, match="needs its batch"):
        training_name(policy, at("batch_end", batch=None), "p")


def test_a_hook_of_the_other_context_has_no_key():
    with pytest.raises(UsageError, match="not a hook of TrainPhase"):
        training_key(Checkpointing(), at("group_end"))
    with pytest.raises(UsageError, match="not a hook of Experiment"):
        experiment_key(Checkpointing(), at("fit_end"), "p")


def test_an_experiments_policy_has_names_inside_a_phase_for_saves_that_no_hook_of_its_own_requested():
    policy = attach_to_experiment(Checkpointing(mode="disk", save_on="phase_end"))
    for hook, name in {"epoch_end": "p_epoch3", "batch_end": "p_epoch3_batch7"}.items():
        moment = at(hook, epoch=3, batch=7)
        assert experiment_key(policy, moment, "p") == experiment_name(policy, moment, "p") == name


# Templates

ALLOWED = TRAINING_PLACEHOLDERS


def test_an_unknown_placeholder_is_refused_in_the_words_of_the_contract():
    with pytest.raises(ValueError) as caught:
        Checkpointing.validate_placeholders("{phase}_{val_loss:.3f}_{acc}", ALLOWED, "TrainPhase")
    assert str(caught.value) == (
        "Invalid placeholder(s) in name_template for TrainPhase: ['acc', 'val_loss']. "
        "Allowed: ['batch', 'epoch', 'phase']."
    )


@pytest.mark.parametrize(
    "template", ["{phase}", "{epoch:04d}", "{phase!r}", "{batch:>+8_}", "constant", "{{x}}{epoch}", ""]
)
def test_plain_placeholders_with_format_specs_are_fine(template):
    Checkpointing.validate_placeholders(template, ALLOWED, "TrainPhase")


@pytest.mark.parametrize(
    "template",
    [
        "{}",
        "{0}",
        "{:04d}",
        "{phase.__class__}",
        "{epoch.real}",
        "{phase[0]}",
        "{epoch:{batch}}",
        "{epoch:{batch}d}",
        "{ epoch }",
        "{epoch",
        "epoch}",
        "{",
        "}",
        "{epoch!}",
        "{epoch!x}",
        "{epoch:09999999999d}",
        "{epoch:.999999f}",
    ],
)
def test_what_could_surprise_in_a_template_is_refused_wherever_it_is_given(template):
    policy = Checkpointing(name_template="{phase}")
    with pytest.raises(UsageError, match="name_template"):
        Checkpointing.validate_placeholders(template, ALLOWED, "TrainPhase")
    with pytest.raises(UsageError, match="name_template"):
        Checkpointing(name_template=template)
    with pytest.raises(UsageError, match="name_template"):
        policy.name_template = template
    assert policy.name_template == "{phase}"


def test_format_name_fills_the_template_in_and_ignores_what_it_does_not_ask_for():
    policy = Checkpointing(name_template="{phase}_{epoch:03d}")
    assert policy.format_name(phase="train", epoch=7, key="ignored") == "train_007"
    assert policy.format_name(phase="train", epoch=7) == "train_007"


def test_format_name_without_a_template_is_a_clear_value_error():
    with pytest.raises(ValueError, match="no name_template"):
        Checkpointing().format_name(phase="train", epoch=0)


def test_a_missing_value_is_a_key_error_that_names_it():
    with pytest.raises(KeyError, match="needs a value for batch, epoch"):
        Checkpointing(name_template="{phase}_{epoch}_{batch}").format_name(phase="train")


def test_a_value_that_does_not_fit_its_format_spec_is_a_clear_error():
    with pytest.raises(UsageError, match="does not fit the values"):
        Checkpointing(name_template="{epoch:04d}").format_name(epoch="three")


# Names and labels

UNSAFE = {
    "empty": "",
    "here": ".",
    "up": "..",
    "hidden": ".name",
    "slash": "a/b",
    "backslash": "a\\b",
    "drive or stream": "a:b",
    "nul": "a\0b",
    "newline": "a\nb",
    "delete": "a\x7fb",
    "C1 control": "a\x85b",
    "lone surrogate": "a\ud800",
    "trailing dot": "a.",
    "trailing space": "a ",
    "device": "CON",
    "device in lower case": "nul",
    "device with extension": "aux.ckpt",
    "device with space and extension": "prn .x.y",
    "numbered device": "COM1",
    "numbered device with extension": "lpt9.txt",
    "superscript device": "com¹",
    "201 bytes": "x" * 201,
    "201 bytes in 67 characters": "山" * 67,
    "no text": 3,
}


@pytest.mark.parametrize("name", UNSAFE.values(), ids=UNSAFE.keys())
def test_a_name_that_some_system_cannot_hold_is_refused_everywhere(name):
    with pytest.raises(UsageError):
        check_name(name)
    with pytest.raises(UsageError):
        check_label(name)
    if isinstance(name, str):
        with pytest.raises(UsageError):
            Checkpointing(name_template="{phase}").format_name(phase=name)


@pytest.mark.parametrize(
    "name",
    ["a", "lr0.01", "a b", "console", "com", "com10", "nullify", "x" * 200, "山" * 66, "é-1_2", "-", "_x"],
)
def test_other_names_are_fine_and_come_back_as_they_are(name):
    assert check_name(name) == check_label(name) == name


@pytest.mark.parametrize("label", ["START", "END", "start", "End", "run.ckpt.mml", "x.CKPT.MML"])
def test_a_label_that_would_be_taken_for_something_else_is_refused(label):
    assert check_name(label) == label
    with pytest.raises(UsageError, match="label"):
        check_label(label)


def is_safe_component(name: str) -> bool:
    stem = name.split(".")[0].rstrip(" ").upper()
    return (
        0 < len(name.encode("utf-8", "replace")) <= 200
        and not name.startswith(".")
        and not name.endswith((".", " "))
        and not set(name) & set("/\\:")
        and not any(unicodedata.category(character) in ("Cc", "Cs") for character in name)
        and not re.fullmatch(r"CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³]", stem)
    )


NASTY = st.text(st.sampled_from("./\\: \0\n\x85\ud800aCONcon1é山") | st.characters(), max_size=80)


@given(
    NASTY,
    st.sampled_from(["{phase}", "x{phase}", "{phase}.{epoch}", "{phase:.5}", "{epoch:/>4}", "{phase: <9}"]),
    st.integers(),
)
def test_a_name_that_comes_out_is_always_a_safe_component(phase, template, epoch):
    policy = Checkpointing(name_template=template)
    try:
        name = policy.format_name(phase=phase, epoch=epoch)
    except UsageError:
        assert not is_safe_component(template.format(phase=phase, epoch=epoch))
    else:
        assert name == template.format(phase=phase, epoch=epoch)
        assert is_safe_component(name)


PARTS = st.sampled_from([*"{}!:.[]0rd<", "{epoch", "{phase", "{batch}", "{epoch}"])


@given(st.lists(PARTS, max_size=10).map("".join))
def test_a_template_that_validates_asks_only_for_what_is_allowed_and_fails_only_clearly(template):
    try:
        Checkpointing.validate_placeholders(template, ALLOWED, "TrainPhase")
    except UsageError:
        return
    assert {field for _, field, _, _ in Formatter().parse(template) if field is not None} <= ALLOWED
    with contextlib.suppress(
        UsageError
    ):  # a spec may not fit, a name may be unsafe; nothing else can go wrong
        Checkpointing(name_template=template).format_name(phase="p", epoch=0, batch=0)
