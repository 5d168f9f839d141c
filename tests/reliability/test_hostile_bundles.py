"""A bundle from anybody can be opened: whatever is in it, no code of it runs, nothing outside it is touched.

Each case gives the library's own errors or the right values, in bounded time and memory (P10).
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from tests.support.reliability.forging import Files, files_of_state
from tests.support.reliability.hostile_cases import LEGAL, PLANTED, REFUSED, state

HELPERS = ROOT / "tests" / "support" / "reliability"
EXTRA_BYTES = 64 << 20
READS = ("load", "verify", "verify deep", "[path]", "tree", "open")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")


COSTLY = {
    *("many integers of 150,000 digits", "an integer of a million digits, marked", "a key of a mebibyte"),
    *(
        "colliding keys in tuples",
        "colliding members",
        "sixty thousand entries in a header",
        "ten thousand small nodes",
    ),
    *(
        "a record 100,000 deep",
        "an integer of a million digits",
        "a reason of a mebibyte",
        "five thousand packs",
    ),
}


def slow_if_costly(case: str) -> Any:
    return pytest.param(case, marks=pytest.mark.slow) if case in COSTLY else case


class Reader:
    """The watched process that reads bundles; see `hostile_reader`."""

    def __init__(self, practice: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HELPERS / "hostile_reader.py"), str(practice)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.first = self._answer()

    def read(self, bundle: Path) -> dict[str, Any]:
        assert self._process.stdin
        print(bundle, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    practice = written(tmp_path_factory.mktemp("practice"), files_of_state(state()))
    reader = Reader(practice)
    yield reader
    reader.close()


def written(directory: Path, files: Files) -> Path:
    bundle = directory / "best.ckpt.mml"
    bundle.mkdir()
    for name, data in files.items():
        if (
            "/" not in name
            and "\0" not in name
            and 0 < len(os.fsencode(name)) < 256
            and name not in (".", "..")
        ):
            (bundle / name).write_bytes(data)
    return bundle


def everything_below(directory: Path) -> dict[str, Any]:
    """Names, kinds, times and contents: what must be the same afterwards."""
    found = {}
    for path in sorted(directory.rglob("*")):
        about = path.lstat()
        data = path.read_bytes() if stat.S_ISREG(about.st_mode) else b""
        found[str(path)] = about.st_mode, about.st_mtime_ns, about.st_ctime_ns, hashlib.sha1(data).digest()
    return found


def read(reader: Reader, bundle: Path) -> dict[str, str]:
    """What became of everything that was asked of the bundle, after all that must hold for any has been checked."""
    before = everything_below(bundle.parent)
    size = sum(path.stat().st_size for path in bundle.iterdir() if path.is_file() and not path.is_symlink())
    answer = reader.read(bundle)
    assert "died" not in answer, "it hung, or the process fell over"
    assert answer["foreign"] == []
    assert answer["events"] == []
    assert answer["peak"] < size + EXTRA_BYTES
    assert everything_below(bundle.parent) == before
    return answer["outcomes"]


@pytest.mark.medium
def test_the_watch_sees_what_it_should(reader):
    assert any("wave" in event for event in reader.first["control"])
    practice = reader.first["practice"]
    assert practice["events"] == practice["foreign"] == []
    assert set(practice["outcomes"].values()) == {"ok"}


@pytest.mark.parametrize("case", [slow_if_costly(case) for case in REFUSED])
def test_a_hostile_bundle_is_refused(case, reader, tmp_path):
    outcomes = read(reader, written(tmp_path, REFUSED[case]()))
    assert outcomes.get("load", "refused") != "ok"


@pytest.mark.parametrize("case", PLANTED)
def test_what_is_no_file_is_not_read_as_one(case, reader, tmp_path):
    bundle = written(tmp_path, files_of_state(state()))
    PLANTED[case](bundle)
    outcomes = read(reader, bundle)
    assert outcomes["open"] == "CheckpointDamagedError"
    assert set(outcomes) & set(READS) == {"open"}


@pytest.mark.parametrize("case", [slow_if_costly(case) for case in LEGAL])
def test_an_odd_bundle_is_read(case, reader, tmp_path):
    outcomes = read(reader, written(tmp_path, LEGAL[case]()))
    assert [outcomes[name] for name in READS] == ["ok"] * len(READS)


@pytest.mark.medium
def test_there_are_enough_of_them():
    assert len(REFUSED) + len(PLANTED) >= 120
