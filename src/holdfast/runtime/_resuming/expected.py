"""What should come next: a fingerprint of it with each save, compared once a run has resumed from there.

All draws are from clones, so that nothing changes. A fingerprint is small and readable, unlike a state: it says
which of many things would come out differently, also where the state fits and means something else by now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ... import paths, rng, state
from ...data import ANOTHER_BATCH

Fingerprint = Mapping[str, Any]
"""`{"batch": digest or None, "streams": {name: 64 bits in hex}}`."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """What is to come, as whoever runs the loop knows it.

    `batch`: the digest of the next batch's indices; None where it cannot be known without reading samples.
    `generators`: live random generators by name, beside the global streams. `streams`: those as they were, where
    the state is of an earlier moment than this (`rng.capture_state`); None: as they are.
    """

    batch: str | None = None
    generators: Mapping[str, Any] = field(default_factory=dict)
    streams: rng.RandomState | None = None


def fingerprint_of(ahead: Ahead) -> dict[str, Any]:
    """Plain data that say what comes next; nothing is drawn from what is live."""
    own = {name: rng.next_draw(generator) for name, generator in ahead.generators.items()}
    return {"batch": ahead.batch, "streams": rng.draws(ahead.streams) | own}


def differences(saved: Any, now: Fingerprint) -> list[str]:
    """One sentence for each thing that comes out differently; what only one side knows is skipped.

    `saved` is read from a record, so it may be anything.
    """
    streams = saved.get("streams") if isinstance(saved, Mapping) else None
    if not isinstance(streams, Mapping):
        return []
    batch = saved.get("batch")
    found = [ANOTHER_BATCH] if batch and now["batch"] and batch != now["batch"] else []
    return found + [
        f"the random state {name!r} gives another number next than it would have"
        for name, draw in now["streams"].items()
        if name in streams and streams[name] != draw
    ]


def generators_in(objects: Mapping[str, Any]) -> dict[str, Any]:
    """The random generators among live objects, and in dicts and lists of them, by state path."""
    return dict(_generators(objects, ""))


def _generators(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if rng.is_generator(value):
        yield path, value
    elif isinstance(value, Mapping):
        for below, each in paths.entries(path, value):
            yield from _generators(each, below)
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _generators(each, paths.item(path, index))


def stream_digests(streams: Mapping[str, Any]) -> dict[str, str]:
    """The digest of each stream of `rng.capture_state()`."""
    return {name: state.digest(state.capture(stream)) for name, stream in streams.items()}


def streams_used(streams: Mapping[str, Any], at_start: Mapping[str, str]) -> dict[str, Any]:
    """Those that are not as `stream_digests` found them at the start; the others may begin anywhere."""
    now = stream_digests(streams)
    return {name: stream for name, stream in streams.items() if now[name] != at_start.get(name)}
