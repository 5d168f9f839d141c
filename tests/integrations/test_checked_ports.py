"""`holdfast check` on a small script for each integration: a right one is proved, and what a wrong one loses is named."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.preloaded import preloaded, with_its_framework

PORTED = Path(__file__).parents[1] / "support" / "integrations" / "ported"
NEEDS = {"experiment": "torch"}
NAMES = sorted(path.name.removesuffix("_port.py") for path in PORTED.glob("*_port.py"))
HOMES = {
    "lightning": "a buffer of the module",
    "transformers": "an ExportableState",
    "keras": "an attribute of a callback",
    "modularml": "a buffer of a model",
    "experiment": "a buffer of a model",
    "stable_baselines3": "an attribute of a callback",
    "xgboost": "the number of the round",
    "lightgbm": "the number of the round",
}
"""What the hint says of where to keep it; elsewhere it is handed over to a `Run`."""


def by_name(*cases: str | tuple[str, str]) -> list[Any]:
    """Each in the test process of others of that name, so that few import its framework."""
    return [
        pytest.param(*each, marks=with_its_framework(NEEDS.get(each[0], each[0])))
        for each in ([case] if isinstance(case, str) else case for case in cases)
    ]


@pytest.fixture
def checked(tmp_path, monkeypatch) -> Callable[..., dict]:
    def check(name: str, how: str, *, code: int) -> dict:
        if importlib.util.find_spec(NEEDS.get(name, name)) is None:
            pytest.skip(f"{name} is not installed")
        monkeypatch.setenv("KERAS_BACKEND", "torch")
        port = str(PORTED / f"{name}_port.py")
        done = preloaded(NEEDS.get(name, name)).check(port, how, directory=tmp_path)
        assert done.exit_code == code, done.output
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == [], (
            "the script's own directory was used"
        )
        return json.loads(done.stdout)

    return check


def test_each_integration_has_such_a_script():
    cases = {path.name.removesuffix("_case.py") for path in (PORTED.parent / "cases").glob("*_case.py")}
    cases = {name.removesuffix("_torch").removesuffix("_jax") for name in cases}
    # Loops of torch and jax are `Run`'s own: tests/cli/test_check.py.
    assert cases - {"torch", "jax"} <= {*NAMES}


LOOKED_INTO = {
    *("lightning", "transformers", "keras", "modularml", "stable_baselines3", "xgboost", "lightgbm"),
}
"""Frameworks that call what the script gives them: the globals of its functions are saved, in any module."""


@pytest.mark.slow
@pytest.mark.parametrize("name", by_name(*NAMES))
def test_a_right_port_is_proved(name, checked):
    """Where the framework's functions are looked into, with a number that one of them keeps outside: it comes back."""
    report = checked(name, "number" if name in LOOKED_INTO else "right", code=0)
    assert (report["verdict"], report["resumed"], report["findings"]) == ("proved", "exact", [])
    assert report["kills"][0]["resumes_from"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "how"),
    by_name(
        *((name, "iterator") for name in NAMES),
        *((name, "number") for name in NAMES if name not in LOOKED_INTO),
    ),
)
def test_what_a_wrong_port_keeps_outside_is_named(name, how, checked):
    report = checked(name, how, code=8)
    assert report["outcome"] == "differs"
    assert [each["name"] for each in report["findings"] if each["is_seen"]] == [
        {"number": "outside.count", "iterator": "outside.places"}[how]
    ]
    if name in HOMES:
        assert HOMES[name] in report["findings"][0]["hint"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "held"),
    by_name(
        *(("lightning", "Scale.places"), ("keras", "callbacks.1.places")),
        ("stable_baselines3", "Scale.places"),
    ),
)
def test_what_only_a_framework_holds_is_named(name, held, checked):
    report = checked(name, "held", code=8)
    assert held in [each["name"] for each in report["findings"] if each["is_seen"]]
