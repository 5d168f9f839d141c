"""What a rule gives up, once a checkpoint is committed. The facts are read from the disk, each time anew."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from .. import bundle
from ..checkpointing import Checkpointing, Evicted, is_sick, judge
from ._directory import ExperimentDirectory

logger = logging.getLogger("holdfast")


def given_up(directory: ExperimentDirectory, rule: Checkpointing) -> list[Evicted]:
    """Judge all checkpoints of a rule by more than their age, and let it forget those that go."""
    options = rule.options
    if not options.judges:
        return []
    sizes = options.max_bytes is not None
    saved = [facts for path in rule.get_paths() if (facts := directory.facts(str(path), sizes=sizes))]
    if options.monitor is not None and saved and all(options.monitor not in s.record.metrics for s in saved):
        logger.warning("no checkpoint has the metric %r, so none is among the best", options.monitor)
    going: list[Evicted] = []
    for verdict in judge(saved, options.keeping(rule.max_to_keep), options.max_bytes):
        if not verdict.stays:
            logger.info("gives up %s: %s", verdict.path, verdict.why)
            going += rule.forget(verdict.path)
    return going


def spared(directory: ExperimentDirectory, rule: Checkpointing, going: Sequence[Evicted]) -> Evicted | None:
    """Of those that go by age alone, the newest healthy one, while all that stay are sick."""
    if not going or rule.options.judges:
        return None
    stay = (bundle.look(directory.disk, str(path)) for path in reversed(rule.get_paths()))
    if any(listed and listed.record and not is_sick(listed.record) for listed in stay):
        return None
    healthy = [
        (listed.record.age_key, each)
        for each in going
        if each.path is not None
        and (listed := bundle.look(directory.disk, str(each.path)))
        and listed.record
        and not is_sick(listed.record)
    ]
    return max(healthy, key=lambda pair: pair[0])[1] if healthy else None
