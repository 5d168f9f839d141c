"""Classes and functions are named by the package that exports them, in whichever way they are reached."""

from __future__ import annotations

import subprocess
import sys

import holdfast

CODE = """
import sys
import numpy as np
from holdfast.runtime import save
path = save(sys.argv[1], {"w": np.zeros(2)})
import holdfast
opened = holdfast.open(path)
print(type(opened).__module__, type(opened.record).__module__, type(holdfast.diff(path, path)).__module__)
from holdfast.policy import KeepLast, Interval
from holdfast.experiment import Table, Loss
print(KeepLast.__module__, Interval.__module__, Table.__module__, Loss.__module__)
"""


def test_names_do_not_depend_on_how_they_are_reached(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "a")], capture_output=True, text=True, check=True
    )
    first, second = done.stdout.splitlines()
    assert first.split() == ["holdfast", "holdfast.records", "holdfast.compare"]
    assert second.split() == ["holdfast", "holdfast.policy", "holdfast.runtime", "holdfast"]


def test_a_star_import_replaces_no_builtin():
    import builtins

    assert not {*holdfast.__all__} & {*dir(builtins)}
    assert "open" in dir(holdfast)
    assert holdfast.open.__module__ == "holdfast"
