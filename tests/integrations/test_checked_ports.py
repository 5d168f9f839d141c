"""`holdfast check` on a small script for each integration: a right one is proved, and what a wrong one loses is named."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def checked(name: str, how: str, directory: Path, *, code: int) -> dict:
    if importlib.util.find_spec(NEEDS.get(name, name)) is None:
        pytest.skip(f"{name} is not installed")
    script = [sys.executable, str(PORTED / f"{name}_port.py"), how]
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", "check", "--seed", "1", "--json", "--", *script],
        cwd=directory,
        env=os.environ | {"KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr + done.stdout
    assert [path for path in directory.rglob("*") if path.is_file()] == [], (
        "the script's own directory was used"
    )
    return json.loads(done.stdout)


def test_each_integration_has_such_a_script():
    cases = {path.name.removesuffix("_case.py") for path in (PORTED.parent / "cases").glob("*_case.py")}
    cases = {name.removesuffix("_torch").removesuffix("_jax") for name in cases}
    # Loops of torch and jax are `Run`'s own: tests/cli/test_check.py.
    assert cases - {"torch", "jax"} <= {*NAMES}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_right_port_is_proved(name, tmp_path):
    report = checked(name, "right", tmp_path, code=0)
    assert (report["verdict"], report["resumed"], report["findings"]) == ("proved", "exact", [])
    assert report["kills"][0]["resumes_from"]


LOOKED_INTO = {
    *("lightning", "transformers", "keras", "modularml", "stable_baselines3", "xgboost", "lightgbm"),
}
"""Frameworks that call what the script gives them: the globals of its functions are saved, in any module."""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LOOKED_INTO))
def test_a_number_that_a_called_function_keeps_outside_comes_back(name, tmp_path):
    report = checked(name, "number", tmp_path, code=0)
    assert (report["verdict"], report["resumed"]) == ("proved", "exact")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "how"),
    [(name, "iterator") for name in NAMES] + [(name, "number") for name in NAMES if name not in LOOKED_INTO],
)
def test_what_a_wrong_port_keeps_outside_is_named(name, how, tmp_path):
    report = checked(name, how, tmp_path, code=8)
    assert report["outcome"] == "differs"
    assert [each["name"] for each in report["findings"] if each["is_seen"]] == [
        {"number": "outside.count", "iterator": "outside.places"}[how]
    ]
    if name in HOMES:
        assert HOMES[name] in report["findings"][0]["hint"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("lightning", "Scale.places"),
        ("keras", "callbacks.1.places"),
        ("stable_baselines3", "Scale.places"),
    ],
)
def test_what_only_a_framework_holds_is_named(name, held, tmp_path):
    report = checked(name, "held", tmp_path, code=8)
    assert held in [each["name"] for each in report["findings"] if each["is_seen"]]
