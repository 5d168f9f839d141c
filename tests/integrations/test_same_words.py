"""The arguments that all integrations share have one name, one default, one place and one text; what cannot be done is refused."""

from __future__ import annotations

import importlib
import inspect
import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from holdfast import Resume, Run, resumable
from holdfast.errors import UsageError

os.environ.setdefault("KERAS_BACKEND", "torch")  # before Keras is imported

ENTRIES = {
    "accelerate": "hold",
    "keras": "HoldfastCallback",
    "lightgbm": "train",
    "lightning": "HoldfastCallback",
    "modularml": "enable",
    "sklearn": "GridSearch",
    "stable_baselines3": "HoldfastCallback",
    "transformers": "hold",
    "xgboost": "train",
}
DEFAULTS = {
    "checkpointing": None,
    "resume": True,
    "label": "train",
    "allow_reread": False,
    "share_directory": False,
    "variables": "save",
    "on_rollback": None,
}
REFUSED: dict[str, set[str]] = {
    "accelerate": {"allow_reread"},
    "keras": {"strict", "override", "on_rollback"},
    "lightgbm": {"strict", "override", "allow_reread", "on_rollback"},
    "lightning": {"strict", "override"},
    "modularml": {"strict", "override", "allow_reread", "on_rollback", "label"},
    "sklearn": {"strict", "override", "allow_reread", "on_rollback"},
    "stable_baselines3": {"strict", "override", "allow_reread", "on_rollback"},
    "transformers": {"strict", "override"},
    "xgboost": {"strict", "override", "allow_reread", "on_rollback"},
}
ASKED: dict[str, dict[str, Any]] = {
    "strict": {"resume": Resume(strict=False)},
    "override": {"resume": Resume(override="lr")},
    "allow_reread": {"allow_reread": True},
    "on_rollback": {"on_rollback": print},
    "label": {"label": "teacher"},
}


def entry(name: str) -> Callable[..., Any]:
    pytest.importorskip(name)
    return getattr(importlib.import_module(f"holdfast.integrations.{name}"), ENTRIES[name])


def texts(entry: Callable[..., Any]) -> dict[str, str]:
    """By argument what the docstring says of it, in one line."""
    found = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", inspect.getdoc(entry) or "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


@pytest.mark.parametrize("name", ENTRIES)
def test_the_arguments_stand_in_one_order_with_one_default(name):
    parameters = inspect.signature(entry(name)).parameters
    names = [*parameters]
    start = names.index("checkpointing")
    shared = [parameters[each] for each in names[start : start + len(DEFAULTS)]]
    assert {each.name: each.default for each in shared} == DEFAULTS
    assert [each.name for each in shared] == [*DEFAULTS]
    assert all(each.kind is each.KEYWORD_ONLY for each in shared)
    assert names[start - 1] == "directory"
    assert parameters["directory"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert {parameters[each].annotation for each in ("resume", "checkpointing")} == {
        "bool | Place | Resume",
        "Checkpointing | None",
    }


def test_each_argument_has_one_text():
    """To which an integration may add a sentence."""
    wanted = texts(entry("lightning"))
    for name in ENTRIES:
        found = texts(entry(name))
        for argument in ("directory", *DEFAULTS):
            assert found[argument].startswith(wanted[argument]), (name, argument)


def test_the_decorator_takes_what_a_run_takes_but_for_the_state():
    of_run = {**inspect.signature(Run).parameters}
    del of_run["state"]
    of_decorator = inspect.signature(resumable).parameters
    assert [(each.name, each.default, each.kind) for each in of_decorator.values()] == [
        (each.name, each.default, each.kind) for each in of_run.values()
    ]
    assert {name: of_decorator[name].default for name in DEFAULTS} == DEFAULTS
    found, wanted = texts(resumable), texts(entry("lightning"))
    assert all(found[each].startswith(wanted[each]) for each in ("directory", *DEFAULTS))
    assert found["variables"] == texts(Run)["variables"]


def call(name: str, place: Any, **asked: Any) -> None:
    """Ask for it, with as little as an integration needs to hear of it."""
    made = entry(name)
    match name:
        case "accelerate":
            accelerate: Any = importlib.import_module("accelerate")
            made(accelerate.Accelerator(cpu=True), place, **asked)
        case "keras" | "lightning" | "stable_baselines3":
            made(place, **asked)
        case "lightgbm":
            lightgbm: Any = importlib.import_module("lightgbm")
            made({}, lightgbm.Dataset([[0.0]], [0.0], free_raw_data=False), place, **asked)
        case "modularml":
            made(place, **asked)
            importlib.import_module("holdfast.integrations.modularml").disable()
        case "sklearn":
            dummy: Any = importlib.import_module("sklearn.dummy")
            made(dummy.DummyClassifier(), {}, place, **asked)
        case "transformers":
            cases: Any = importlib.import_module("tests.support.integrations.cases.transformers_case")
            made(cases.trainer(place), **asked)
        case _:
            xgboost: Any = importlib.import_module("xgboost")
            made({}, xgboost.DMatrix([[0.0]], [0.0]), place, **asked)


@pytest.mark.parametrize("name", ENTRIES)
def test_what_cannot_be_done_is_refused_with_a_reason_and_the_rest_is_not(name, tmp_path):
    for what, asked in ASKED.items():
        if what in REFUSED[name]:
            with pytest.raises(UsageError, match=r"(does not work in|cannot be used here).*: \w"):
                call(name, tmp_path / what, **asked)
            assert not [*tmp_path.rglob("*holdfast*"), *tmp_path.rglob("*.mml")]
        elif name not in ("lightgbm", "xgboost"):  # which train at once
            call(name, tmp_path / what, **asked)


@pytest.mark.parametrize("name", ENTRIES)
def test_a_resume_that_means_nothing_is_refused_everywhere(name, tmp_path):
    with pytest.raises(UsageError, match="resume must be True, False"):
        call(name, tmp_path / "none", resume=None)
