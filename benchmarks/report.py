"""What was measured, as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from .earlier import Earlier
from .goals import DURABLE, LOAD, Goal
from .measure import REFERENCE, Samples, Summary

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def report(
    samples: Samples,
    goals: Iterable[Goal],
    machine: Mapping[str, str],
    notes: Iterable[str],
    scale: str,
    earlier: Earlier | None = None,
) -> str:
    """Everything between the two marks of docs/performance.md; `earlier`: lines of what was not measured again."""
    earlier = earlier or Earlier()
    parts = [f"States: {scale} size.", ""]
    parts += [f"- {key}: {value}" for key, value in machine.items()]
    parts += ["", "### Figures to reach", "", *verdicts(samples, goals, earlier.rows)]
    parts += ["", "### All measurements", ""]
    parts += ["Median of the rounds (least to greatest). The ratio is the median of each round's own ratio."]
    for what, table in earlier.tables.items():
        parts += ["", f"**{what}**", "", *table]
    for what in samples.values:
        parts += ["", f"**{what}**", "", *measurement(samples, what)]
    notes = list(notes)
    if notes:
        parts += ["", "### Left out", "", *(f"- {note}" for note in notes)]
    return "\n".join(parts) + "\n"


def verdicts(
    samples: Samples, goals: Iterable[Goal], earlier: Mapping[str, str] = MappingProxyType({})
) -> list[str]:
    """One line for each goal: what it is, what came out, and whether that is enough; of one not measured the `earlier` line."""
    lines = ["| what | goal | measured | | before |", "|---|---|---|---|---|"]
    for goal in goals:
        found = goal.measured(samples)
        bound = _number(goal.at_most, goal.unit or "×") + (f" {goal.whose}" if goal.whose else "")
        if found is None and (line := earlier.get(f"| {goal.row} | ≤ {bound}")) is not None:
            lines.append(line)
            continue
        if found is None:
            lines.append(f"| {goal.row} | ≤ {bound} | not measured | | {goal.known} |")
            continue
        unit = goal.unit or "×"
        spread = (
            f"{_number(found.median, unit)} ({_number(found.least, unit)} to {_number(found.greatest, unit)})"
        )
        lines.append(f"| {goal.row} | ≤ {bound} | {spread} | {_verdict(goal, found)} | {goal.known} |")
    return lines


def measurement(samples: Samples, what: str) -> list[str]:
    """The contenders of one measurement, and their ratio to torch's way."""
    reference = next((who for who in (REFERENCE, LOAD, DURABLE) if who in samples.values[what]), None)
    unit = _unit(what)
    lines = [f"| | {unit} | × {reference} |" if reference else f"| | {unit} | |", "|---|---|---|"]
    for who in samples.values[what]:
        found = samples.summary(what, who)
        if found is None:
            continue
        ratio = samples.ratio(what, who, what, reference) if reference else None
        lines.append(f"| {who} | {_range(found, unit)} | {_range(ratio, '×') if ratio else ''} |")
    return lines


def _verdict(goal: Goal, found: Summary) -> str:
    if found.median <= goal.at_most:
        return "reached"
    return f"**{found.median / goal.at_most:.2f} × too much**"


def _unit(what: str) -> str:
    if "bytes" in what or what == "memory":
        return "bytes"
    if "part of" in what:
        return "part"
    return "s/GiB" if what.startswith("growth") else "s"


def _range(found: Summary, unit: str) -> str:
    least, greatest = _number(found.least, unit), _number(found.greatest, unit)
    return f"{_number(found.median, unit)} ({least} to {greatest})"


def _number(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 1e6:,.1f} MB"
    if unit == "×":
        return f"{value:.3f} ×" if value < 1 else f"{value:.2f} ×"
    if unit == "part":
        return f"{value:.0%}"
    if abs(value) < 0.001:
        return f"{value * 1e6:.1f} µs"
    return f"{value:.4f} s" if value < 0.1 else f"{value:.2f} s"
