"""Output for people: sizes, ages, moments, and untrusted text made harmless.

Names, metrics and reasons come from files that anybody may have written. None of it reaches a
terminal before it has passed through `printable`, and nothing is ever read as markup.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from datetime import UTC, datetime

from ...checkpoint import describe_nonfinite
from ...errors import CheckpointDamagedError, CheckpointUnreadableError, FormatVersionError, HoldfastError
from ...records import IMPORTED, STANDALONE, CheckpointRecord, Moment

_DAY_S = 86400


def printable(text: str) -> str:
    """`text` in one line that a terminal only shows: escapes, controls and bidi marks become `\\x1b` and the like."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


def size(num_bytes: int) -> str:
    """Three digits and a decimal unit: `12.3 MB`."""
    if num_bytes < 1000:
        return f"{num_bytes} B"
    scaled, units = num_bytes / 1000, ["kB", "MB", "GB", "TB", "PB"]
    while scaled >= 999.5 and len(units) > 1:
        scaled, units = scaled / 1000, units[1:]
    return f"{scaled:.0f} {units[0]}" if scaled >= 99.95 else f"{scaled:#.3g} {units[0]}"


def seconds(value: float | None) -> str:
    """`0.0123 s`, `4.2 min`, `3.1 h`: three digits at most; empty if unknown."""
    if value is None:
        return ""
    if value < 100:
        return f"{value:.3g} s"
    return f"{value / 60:.3g} min" if value < 6000 else f"{value / 3600:.3g} h"


def number(details: Mapping[str, object], name: str) -> float | None:
    """A number of a record's details, which anybody may have written; None if it is not a number."""
    value = details.get(name)
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def local_time(created: str) -> str:
    """`2026-03-01 14:05:09` in the local time zone; text that is not a time is shown as it is."""
    moment = _parse(created)
    return moment.strftime("%Y-%m-%d %H:%M:%S") if moment else printable(created)


def age(created: str, now_s: float) -> str:
    """`3 min ago`, or the local date and minute when it is more than a day ago or in the future."""
    moment = _parse(created)
    if moment is None:
        return printable(created)
    passed_s = now_s - moment.timestamp()
    if not 0 <= passed_s < _DAY_S:
        return moment.strftime("%Y-%m-%d %H:%M")
    if passed_s < 60:
        return f"{passed_s:.0f} s ago"
    return f"{passed_s // 60:.0f} min ago" if passed_s < 3600 else f"{passed_s // 3600:.0f} h ago"


def _parse(created: str) -> datetime | None:
    with contextlib.suppress(ValueError, OverflowError, OSError):
        moment = datetime.fromisoformat(created)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone()
    return None


def where(moment: Moment) -> str:
    """`pretrain · epoch 3 · batch 12 end`: the phase, the indices, and the edge at which it was saved."""
    unit, _, edge = moment.hook.rpartition("_")
    parts = [printable(moment.phase)] if moment.phase else []
    for name, index in (("epoch", moment.epoch), ("batch", moment.batch)):
        if index is not None:
            parts.append(f"{name} {index} {edge}" if name == unit else f"{name} {index}")
    if unit not in ("epoch", "batch") or getattr(moment, unit) is None:
        parts.append(printable(moment.hook.replace("_", " ")))
    return " · ".join(parts)


def metrics(values: Mapping[str, float], limit: int = 4) -> str:
    """`loss 0.3214, accuracy 0.98`: four digits each, the first few."""
    shown = [f"{printable(name)} {value:.4g}" for name, value in list(values.items())[:limit]]
    if len(values) > limit:
        shown.append(f"… {len(values) - limit} more")
    return ", ".join(shown)


def nonfinite(record: CheckpointRecord) -> tuple[str, str]:
    """`not finite: 2 arrays, …`, with its style; empty if all arrays are finite."""
    found = describe_nonfinite(record)
    return ("", "") if found is None else (printable(found), "bold red")


def marks(record: CheckpointRecord, *, pinned: bool) -> tuple[str, str]:
    """`pinned, thinned`, with its style; empty for a complete checkpoint that may be removed."""
    thinned = bool(record.details.get("thinned"))
    return ", ".join(["pinned"] * pinned + ["thinned"] * thinned), "yellow" if thinned else ""


def resumed(record: CheckpointRecord) -> tuple[str, str]:
    """How exactly the process that saved it had resumed, with its style; empty if it started from scratch."""
    resume = record.details.get("resume")
    verdict = resume.get("verdict") if isinstance(resume, Mapping) else None
    if not isinstance(verdict, str):
        return "", ""
    return printable(verdict), "green" if verdict in ("exact", "proved") else "yellow"


def reason(problem: HoldfastError) -> str:
    """Why a checkpoint cannot be used, shown beside its name."""
    match problem:
        case CheckpointDamagedError():
            return printable(problem.what)
        case CheckpointUnreadableError():
            return printable(problem.why)
        case FormatVersionError():
            return f"format version {problem.found}; this Holdfast reads up to {problem.known}"
    return printable(str(problem))


def kind(record: CheckpointRecord) -> str:
    """What it is of: "train" or "experiment", and "state" if no run saved it."""
    return "state" if record.moment.hook in (STANDALONE, IMPORTED) else record.kind
