"""`holdfast show`: everything about one checkpoint, and the structure of its state, without reading an array."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Annotated

import typer

from ...checkpoint import locate, nonfinite_leaves
from ...checkpoint import open as open_checkpoint
from ...records import CheckpointRecord
from .._options import Bundle, Json
from .._output import as_json, as_text
from .._output.columns import Column, Row, layout
from .._output.console import Cell, Console
from .._output.disk import is_pinned
from .._output.state import STATE_COLUMNS, state_rows

_MOST = 8  # non-finite arrays named one by one
_STYLES = {"metrics": "cyan"}
_FACT_COLUMNS = (Column("fact"), Column("value"))


def show(
    bundle: Bundle,
    depth: Annotated[
        int, typer.Option("--depth", "-d", min=1, help="How many levels of the state to show.")
    ] = 4,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Show every level and complete lists.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what is known of a checkpoint, its metrics, and its state with shapes, types and sizes."""
    listed, console = locate(bundle), Console()
    pinned = is_pinned(listed.path)
    if listed.record and not json:
        name, path = as_text.printable(listed.record.name), as_text.printable(listed.path)
        console.lines([[(name, "bold"), (f"  {path}", "dim")], [], *_facts(listed.record, pinned)])
    # The facts are there even where the rest is damaged, which is said now.
    with open_checkpoint(listed) as checkpoint:
        tree, leaves = checkpoint.tree(), list(checkpoint.leaves())
    if json:
        fields = as_json.of_record(checkpoint.record)
        arrays = [
            {"path": leaf.path, "dtype": leaf.dtype, "shape": leaf.shape, "size_bytes": leaf.size_bytes}
            for leaf in leaves
        ]
        console.json([{"path": listed.path, "pinned": pinned, **fields, "arrays": arrays}])
        return
    num_arrays, size_bytes = len(leaves), sum(leaf.size_bytes for leaf in leaves)
    about = f"  {as_text.count(num_arrays, 'array')}, {as_text.size(size_bytes)}"
    console.lines([[], [("state", "bold"), (about, "dim")], []])
    rows = list(state_rows(tree, None if everything else depth, None if everything else 16))
    console.lines(layout(STATE_COLUMNS, rows, console.limit, header=False)[0])


def _facts(record: CheckpointRecord, pinned: bool) -> Iterator[list[Cell]]:
    rows: list[Row] = [
        [("" if index else f"  {name}", "dim"), (as_text.printable(value), _STYLES.get(name, ""))]
        for name, values in _described(record, pinned)
        for index, value in enumerate(values)
    ]
    yield from layout(_FACT_COLUMNS, rows, None, header=False)[0]


def _described(record: CheckpointRecord, pinned: bool) -> Iterator[tuple[str, list[str]]]:
    """Names of facts with their lines."""
    yield "moment", [f"{as_text.where(record.moment)} · step {record.moment.step}"]
    saved = f"{as_text.local_time(record.created)} ({as_text.age(record.created, time.time())})"
    yield "saved", [f"{saved}, {record.reason}" if record.reason else saved]
    yield "kind", [as_text.kind(record)]
    yield "run", [f"{record.run}, save number {record.seq}"]
    yield "id", [record.id]
    if record.parent:
        yield "parent", [record.parent]
    yield "durability", [_DURABILITY.get(record.durability, record.durability)]
    written, shared = as_text.size(record.bytes_written), as_text.size(record.bytes_shared)
    yield "size", [f"{as_text.size(record.size_bytes)}: {written} written, {shared} shared with earlier ones"]
    captured = as_text.size(record.bytes_captured)
    yield "captured", [f"{captured}, blocked training for {record.blocked_s:.3g} s"]
    yield from _accounted(record)
    if pinned:
        yield "pinned", ["nothing removes it until it is unpinned"]
    if record.details.get("thinned"):
        yield (
            "thinned",
            ["its optimizers were dropped: models can be restored, but no run can resume from it"],
        )
    if text := as_text.nonfinite(record)[0]:
        yield "values", [text, *_nonfinite_arrays(record)]
    if text := as_text.resumed(record)[0]:
        yield "resumed", [f"{text}, from {as_text.printable(str(record.details['resume'].get('from')))}"]
    yield "next", _next(record)
    yield "metrics", [f"{name} {value:.6g}" for name, value in record.metrics.items()]
    yield "versions", [", ".join(f"{name} {version}" for name, version in record.versions.items())]
    if record.commit:
        yield "commit", [record.commit]
    yield "environment", [f"{name}: {value}" for name, value in record.environment.items()]
    yield (
        "files",
        [f"{file.name}  {as_text.size(file.size)}" for file in (record.tree, *record.packs, *record.parts)],
    )


def _accounted(record: CheckpointRecord) -> Iterator[tuple[str, list[str]]]:
    """How the run spent its time."""
    waited_s, background_s, elapsed_s, blocked_s = (
        as_text.number(record.details, name)
        for name in ("waited_s", "background_s", "elapsed_s", "blocked_so_far_s")
    )
    if background_s is not None:
        waited = f", after waiting {waited_s:.3g} s for the previous save" if waited_s else ""
        yield "written in", [f"{background_s:.3g} s in the background{waited}"]
    if elapsed_s:
        share = (
            ""
            if blocked_s is None
            else f", {min(blocked_s / (elapsed_s + record.blocked_s), 1):.2%} of it blocked by saves"
        )
        yield "trained", [f"{as_text.seconds(elapsed_s)}{share}"]
    if isinstance(record.details.get("cadence"), str):
        yield "cadence", [record.details["cadence"]]


def _nonfinite_arrays(record: CheckpointRecord) -> list[str]:
    leaves = nonfinite_leaves(record)
    lines = [f"{path}: {nans:,} NaN, {infs:,} infinite" for path, (nans, infs) in [*leaves.items()][:_MOST]]
    return [*lines, f"… {len(leaves) - _MOST} more"] if len(leaves) > _MOST else lines


def _next(record: CheckpointRecord) -> list[str]:
    """What should come next, by fingerprints."""
    ahead = record.details.get("next")
    if not isinstance(ahead, Mapping):
        return []
    batch, streams = ahead.get("batch"), ahead.get("streams")
    lines = [f"batch {batch[:16]}"] if isinstance(batch, str) else []
    draws = streams.items() if isinstance(streams, Mapping) else ()
    return lines + [f"{name} {draw}" for name, draw in draws]


_DURABILITY = {
    "full": "full: on the medium when the save returned",
    "process": "process: survives a crash of the process, but perhaps not a power cut",
}
