"""What an earlier report says of scenarios that are not measured again, where its raw values are gone: kept as it stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import unescape

from .measure import Summary
from .plot import value_at

_CONDITIONS = "- used of the cores by other processes: "
_PANEL = re.compile(r'font-weight="bold" text-anchor="start">([^<]*) \(× ')
_ROW = re.compile(
    r'text-anchor="end">([^<]*)</text>\n<rect [^\n]*\n<path d="M([\d.]+) [\d.]+H([\d.]+)"[^\n]*\n<text [^>]*>([\d.]+)<'
)


@dataclass(frozen=True, slots=True)
class Earlier:
    """Lines of a report.

    Attributes:
        conditions: of each scenario.
        rows: of the goals, by the beginning of the line: name and bound.
        tables: of the measurements, by name.
        panels: of the picture, by measurement: contenders and their ratios.
    """

    conditions: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, Sequence[str]] = field(default_factory=dict)
    panels: Mapping[str, Sequence[tuple[str, Summary]]] = field(default_factory=dict)

    @classmethod
    def read(cls, report: str, picture: str, is_kept: Callable[[str], bool]) -> Earlier:
        """`is_kept`: of a measurement, a goal or a condition, by name, whether it is not measured again."""
        lines = report.splitlines()
        said = next((each for each in lines if each.startswith(_CONDITIONS)), _CONDITIONS)
        conditions = [each for each in said.removeprefix(_CONDITIONS).split("; ") if each]
        scenarios: dict[str, str] = {}
        for each in conditions:
            found = re.fullmatch(r"(.*) (\d+% in \d+ s)", each)
            if found and is_kept(found[1]):
                scenarios[found[1]] = found[2]
        rows = {
            " | ".join(each.split(" | ")[:2]): each
            for each in lines
            if each.startswith("| ") and "| ≤ " in each
        }
        tables: dict[str, list[str]] = {}
        for index, line in enumerate(lines):
            if line.startswith("**") and line.endswith("**"):
                end = next((at for at in range(index + 2, len(lines)) if not lines[at]), len(lines))
                tables[line.strip("*")] = lines[index + 2 : end]
        return cls(
            scenarios,
            {row: line for row, line in rows.items() if is_kept(row.removeprefix("| "))},
            {what: table for what, table in tables.items() if is_kept(what)},
            {what: panel for what, panel in _panels(picture).items() if is_kept(what)},
        )


def _panels(picture: str) -> dict[str, list[tuple[str, Summary]]]:
    found: dict[str, list[tuple[str, Summary]]] = {}
    parts = _PANEL.split(picture)
    for what, inside in zip(parts[1::2], parts[2::2], strict=True):
        found[unescape(what)] = [
            (unescape(who), Summary(float(median), value_at(float(least)), value_at(float(greatest))))
            for who, least, greatest, median in _ROW.findall(inside)
        ]
    return found
