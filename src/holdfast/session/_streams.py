"""Which random streams a run has drawn from: only those are part of what two runs must have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import state


def stream_digests(streams: Mapping[str, Any]) -> dict[str, str]:
    """The digest of each stream of `rng.capture_state()`."""
    return {name: state.digest(state.capture(stream)) for name, stream in streams.items()}


def streams_used(streams: Mapping[str, Any], at_start: Mapping[str, str]) -> dict[str, Any]:
    """Those that are not as `stream_digests` found them at the start; the others may begin anywhere."""
    now = stream_digests(streams)
    return {name: stream for name, stream in streams.items() if now[name] != at_start.get(name)}
