"""What `docs/exactness.md` says of verdicts and limits is what the code says."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from holdfast import Verdict
from holdfast.cli._output.exit import exit_code
from holdfast.errors import ExactnessError, NothingProvedError
from holdfast.runtime import ResumeReport
from holdfast.variables import _capture, _marks, _walk

PAGE = (Path(__file__).parents[2] / "docs/exactness.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return re.split(r"^##+ ", PAGE.partition(f" {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def test_the_verdicts_are_all_there_in_their_order():
    rows = re.findall(r"^\| `([^`]+)` \|", section("What each verdict proves"), re.MULTILINE)
    verdicts = [Verdict.of(row.replace(" …", "")) for row in rows[: len(Verdict)]]
    assert verdicts == sorted(Verdict, reverse=True)


def test_where_it_is_read_are_names_of_a_report():
    row = re.findall(r"`last_resume\.(\w+)`(?:, `\.(\w+)`)?", section("What each verdict proves"))
    named = {name for found in row for name in found if name}
    assert named == {name for name, _ in inspect.getmembers(ResumeReport, lambda m: isinstance(m, property))}


def test_the_exit_codes_are_those_of_the_command():
    codes = section("What each verdict proves")
    assert f"· {exit_code(ExactnessError())}: the bits are not the same" in codes
    assert f"· {exit_code(NothingProvedError())} (`check`): the script could not be tried" in codes


def test_the_limits_of_the_scripts_variables():
    said = " ".join(section("The script's own variables").split())
    for limit in (
        f"the first {_walk._MOST_ITEMS:,} of those",
        f"{_walk._DEEPEST} levels deep",
        f"up to {_marks._SMALL_BYTES >> 20} MiB",
        f"up to {_marks._SHARE * 100:g} % of the time, from then on at {_marks._SAMPLES:,} samples",
        f"more than {_marks._MANY_ITEMS:,} items",
        f"more than {_capture._MOST_BYTES >> 30} GiB, or {_capture._MOST_ARRAYS:,} arrays",
    ):
        assert limit in said
