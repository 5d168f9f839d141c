"""Ratios to torch's own way, as bars in an SVG: medians, with a line from the least to the greatest round."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from types import MappingProxyType

from .goals import DURABLE, LOAD
from .measure import REFERENCE, Samples, Summary

PANELS: Sequence[tuple[str, str]] = (
    ("S1 blocked", REFERENCE),
    ("S1 durable", DURABLE),
    ("S1 restore, warm", LOAD),
    ("S1 restore, cold", LOAD),
    ("S2 durable", REFERENCE),
    ("S3 seconds", DURABLE),
    ("S5 blocked", REFERENCE),
    ("S6 800 blocked", REFERENCE),
    ("S6 800 durable", DURABLE),
    ("S6 800 restored", LOAD),
    ("S7 step", DURABLE),
    ("S5 added", DURABLE),
)
_WIDTH, _LABEL, _BAR, _ROW = 860, 240, 500, 18
_LEAST, _GREATEST = 0.001, 10.0  # of the logarithmic axis
_OURS, _LIMIT, _PEER = "#1b7f79", "#c9c9c9", "#7a8ca3"
_LEGEND = ((_OURS, "Holdfast"), (_PEER, "other libraries"), (_LIMIT, "what the machine allows"))


def plot(
    samples: Samples, earlier: Mapping[str, Sequence[tuple[str, Summary]]] = MappingProxyType({})
) -> str:
    """One panel for each measurement that was made; of others what they were `earlier`."""
    shapes = [_text(10, 20, "Time as a ratio: shorter is faster; the axis is logarithmic", "normal")]
    shapes.append(_text(10, 38, "Bar: median of the rounds; line: from the least to the greatest", "normal"))
    for index, (colour, meaning) in enumerate(_LEGEND):
        shapes.append(f'<rect x="{390 + 140 * index}" y="11" width="11" height="11" fill="{colour}"/>')
        shapes.append(_text(406 + 140 * index, 21, meaning, "normal"))
    y = 46
    for what, reference in PANELS:
        rows = [
            (who, ratio)
            for who in samples.values.get(what, {})
            if (ratio := samples.ratio(what, who, what, reference))
        ]
        rows = rows or [*earlier.get(what, ())]
        if not rows:
            continue
        y += 24
        shapes.append(_text(10, y, f"{what} (× {reference})", "bold"))
        top = y + 6
        for who, ratio in sorted(rows, key=lambda row: row[1].median):
            y += _ROW
            colour = _OURS if who.startswith("Holdfast") else _LIMIT if "limit" in who else _PEER
            end, least, greatest = (_x(value) for value in (ratio.median, ratio.least, ratio.greatest))
            shapes.append(_text(_LABEL - 6, y, who, "normal", "end"))
            shapes.append(
                f'<rect x="{_LABEL}" y="{y - 11}" width="{end - _LABEL:.1f}" height="13" fill="{colour}"/>'
            )
            shapes.append(
                f'<path d="M{least:.1f} {y - 4.5}H{greatest:.1f}" stroke="#222" stroke-width="1.2"/>'
            )
            shapes.append(_text(_LABEL + _BAR + 50, y, f"{ratio.median:.3f}", "normal", "end"))
        for value in (0.001, 0.01, 0.1, 1.0, 10.0):
            dash = "none" if value == 1.0 else "2 3"
            shapes.append(
                f'<path d="M{_x(value):.1f} {top}V{y + 6}" stroke="#999" stroke-dasharray="{dash}" stroke-width="0.7"/>'
            )
            shapes.append(_text(_x(value), y + 18, f"{value:g}", "normal", "middle"))
        y += 26
    body = "\n".join(shapes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 10}" '
        f'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{_WIDTH}" height="{y + 10}" fill="white"/>\n{body}\n</svg>\n'
    )


def _x(value: float) -> float:
    """Where a ratio stands on the logarithmic axis."""
    inside = min(max(value, _LEAST), _GREATEST)
    return _LABEL + _BAR * math.log(inside / _LEAST) / math.log(_GREATEST / _LEAST)


def value_at(x: float) -> float:
    """The ratio that stands there on the axis."""
    return _LEAST * (_GREATEST / _LEAST) ** ((x - _LABEL) / _BAR)


def _text(x: float, y: float, text: str, weight: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y}" font-weight="{weight}" text-anchor="{anchor}">{escape(text)}</text>'
