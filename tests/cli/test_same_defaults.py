"""A command and the function that does the same have the same defaults."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

import pytest
from typer.models import OptionInfo

import holdfast
from holdfast.cli.inspect import diff, ls, verify
from holdfast.cli.manage import archive, average, export, fork, import_, prune

TWINS: list[tuple[Callable[..., Any], Callable[..., Any], dict[str, str]]] = [
    (archive.archive, holdfast.archive, {}),
    (archive.archive, holdfast.Checkpoint.archive, {}),
    (average.average, holdfast.average, {}),
    (diff.diff, holdfast.diff, {}),
    (export.export, holdfast.export, {"shard_size": "shard_bytes"}),
    (fork.fork, holdfast.fork, {}),
    (import_.import_, holdfast.import_checkpoint, {}),
    (ls.ls, holdfast.scan, {}),
    (prune.prune, holdfast.prune, {}),
    (prune.prune, holdfast.KeepBest, {"monitor": "-"}),
    (verify.verify, holdfast.Checkpoint.verify, {}),
]
ONLY_IN = {"json", "wide", "everything", "out", "to", "apply", "keep_last"}
"""Options of how to show what was done; places that Python passes without a default; and what has no twin."""


@pytest.mark.parametrize(("command", "function", "names"), TWINS)
def test_the_defaults_are_the_same(command, function, names):
    options, parameters = _options(command), inspect.signature(function).parameters
    shared = {name for name in options if names.get(name, name) in parameters}
    for name in shared:
        assert parameters[names.get(name, name)].default == options[name], name
    if command is not prune.prune:  # which makes a policy of what to keep
        assert options.keys() - shared <= ONLY_IN


def test_no_option_of_prune_is_without_a_twin():
    known = {*inspect.signature(holdfast.prune).parameters, *inspect.signature(holdfast.KeepBest).parameters}
    assert _options(prune.prune).keys() - known <= ONLY_IN | {
        "keep_best",
        "keep_every",
        "monitor",
        "max_bytes",
    }


def _options(command: Callable[..., Any]) -> dict[str, Any]:
    """The options of a command that have a default."""
    hints = typing.get_type_hints(command, include_extras=True)
    return {
        name: parameter.default
        for name, parameter in inspect.signature(command).parameters.items()
        if any(isinstance(each, OptionInfo) for each in getattr(hints[name], "__metadata__", ()))
        and parameter.default is not inspect.Parameter.empty
    }
