"""What each package shows: `__all__` is all of it, and classes and functions say that they live where they can be imported."""

from __future__ import annotations

import importlib
import os
import pickle
import pkgutil
import subprocess
import sys
from types import FunctionType, ModuleType

import pytest

import holdfast

os.environ.setdefault("KERAS_BACKEND", "torch")  # before Keras is imported

PACKAGES = [
    "holdfast",
    *(each.name for each in pkgutil.walk_packages(holdfast.__path__, "holdfast.") if each.ispkg),
]
FACES = (
    "holdfast",
    "holdfast.data",
    "holdfast.runtime",
    "holdfast.testing",
    *(name for name in PACKAGES if name.startswith("holdfast.integrations.") and "._" not in name),
)
"""Packages whose classes and functions are named by them."""
FILES = tuple(
    f"holdfast.integrations.{name}"
    for name in ("lightgbm", "mlflow", "sklearn", "tensorboard", "wandb", "xgboost")
)


def load(name: str) -> ModuleType:
    """The module; skips the test where the library that it is for is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as err:
        pytest.skip(f"{err.name} is not installed")


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_names_all_that_it_shows(name):
    package = load(name)
    missing = [each for each in package.__all__ if not hasattr(package, each)]
    shown = {each for each, value in vars(package).items() if not isinstance(value, ModuleType)}
    beside = {each for each in shown - {*package.__all__} if not each.startswith("_")}
    assert not missing
    assert beside <= {
        "annotations",
        *({"open"} if name == "holdfast" else ()),
    }  # `import *` must not replace a built-in
    assert len({*package.__all__}) == len(package.__all__)


@pytest.mark.parametrize("name", FILES)
def test_a_file_for_users_names_what_is_for_them(name):
    module = load(name)
    assert module.__all__
    assert all(vars(module)[each].__module__ == name for each in module.__all__)
    assert dir(module) == sorted(module.__all__)


@pytest.mark.parametrize("name", FACES)
def test_what_a_package_shows_says_that_it_lives_there_and_can_be_pickled(name):
    package = load(name)
    for each in package.__all__:
        value = getattr(package, each)
        if isinstance(value, type | FunctionType):
            assert value.__module__ in (name, "holdfast"), each
            assert pickle.loads(pickle.dumps(value)) is value


def test_the_first_use_of_a_name_is_enough_in_a_process_that_knows_nothing_else():
    code = "import holdfast; print(holdfast.Run, holdfast.open.__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "<class 'holdfast.Run'> holdfast\n"
