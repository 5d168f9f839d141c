"""The tests of frameworks that cannot pass with Holdfast in them are all named in the documentation; the command compares."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import ROOT
from tests.support.peer_suites import lightning_internals
from tests.support.peer_suites.__main__ import compare
from tests.support.peer_suites.suites import Suite

PLAIN = Suite("plain", "a_plugin", "theirs", ("test_a.py",), {"test_a.py::test_known": "looks inside"})


def test_each_internal_of_lightning_is_named_on_its_page():
    assert lightning_internals.table() in (ROOT / "docs" / "integrations" / "lightning.md").read_text()


@pytest.mark.parametrize(
    ("ours", "is_as_wanted"),
    [
        ({"test_a.py::test_known[1]": "failed", "test_a.py::test_b": "passed"}, True),
        ({"test_a.py::test_known[1]": "failed", "test_a.py::test_b": "failed"}, False),
        ({"test_a.py::test_known[1]": "failed"}, False),
        ({"test_a.py::test_known[1]": "passed", "test_a.py::test_b": "passed"}, False),
    ],
)
def test_what_passes_without_has_to_pass_with_unless_it_is_known(ours, is_as_wanted, capsys):
    stock = {
        "test_a.py::test_known[1]": "passed",
        "test_a.py::test_b": "passed",
        "test_a.py::test_c": "failed",
    }
    assert compare(PLAIN, stock, ours) is is_as_wanted
    assert "without: 2 passed, 1 failed" in capsys.readouterr().out


def test_a_folder_without_their_tests_is_refused(tmp_path):
    command = [sys.executable, "-m", "tests.support.peer_suites", "lightning", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "this is no checkout of lightning's tests" in done.stderr
