"""What a policy gives up, once a checkpoint is committed. The facts are read from the disk, each time anew."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from .. import bundle, state
from ..checkpoint import Pieces, StreamedSnapshot
from ..errors import CheckpointNotFoundError, CheckpointReplacedError, DamagedError, SaveError
from ..policy import Checkpointing, Evicted, budget_of, in_turn, is_nonfinite, judge, to_thin, unmeasured
from ._directory import ExperimentDirectory

logger = logging.getLogger("holdfast")


def given_up(directory: ExperimentDirectory, policy: Checkpointing, told: set[str]) -> list[Evicted]:
    """Judge all checkpoints of a policy by more than their age, and let it forget those that go.

    `told`: the metrics of which it was said already that no checkpoint has them.
    """
    if not policy.judges:
        return []
    sizes = budget_of(policy.keep) is not None
    saved = [facts for path in policy.get_paths() if (facts := directory.facts(str(path), sizes=sizes))]
    for name in sorted(unmeasured(saved, policy.keep) - told) if saved else ():
        logger.warning("no checkpoint has the metric %r yet, so none is among the best", name)
        told.add(name)
    going: list[Evicted] = []
    for verdict in in_turn(judge(saved, policy.keep)):
        logger.info("gives up %s: %s", verdict.path, verdict.why)
        going += policy.forget(verdict.path)
    return going


def spared(directory: ExperimentDirectory, policy: Checkpointing, going: Sequence[Evicted]) -> Evicted | None:
    """Of those that go by age alone, the newest finite one, if all that stay are non-finite."""
    if not going or policy.judges:
        return None
    stay = (bundle.look(directory.disk, str(path)) for path in reversed(policy.get_paths()))
    if any(listed and listed.record and not is_nonfinite(listed.record) for listed in stay):
        return None
    finite = [
        (listed.record.age_key, each)
        for each in going
        if each.path is not None
        and (listed := bundle.look(directory.disk, str(each.path)))
        and listed.record
        and not is_nonfinite(listed.record)
    ]
    return max(finite, key=lambda pair: pair[0])[1] if finite else None


def thin(directory: ExperimentDirectory, policy: Checkpointing, told: set[str]) -> None:
    """Rewrite what is older than the policy's `thin_after` newest without optimizers. A failure is only warned of.

    `told`: what was said already; that there is no optimizer in a checkpoint is said once.
    """
    if policy.thin_after is None:
        return
    saved = [facts for path in policy.get_paths() if (facts := directory.facts(str(path), sizes=False))]
    for each in to_thin(saved, policy.thin_after):
        try:
            with bundle.Bundle(directory.disk, each.path, expected_id=each.record.id) as opened:
                if not _thin(directory, opened) and "thin_after" not in told:
                    logger.warning(
                        "thin_after gives up torch optimizers, and %s has none of its own", opened.record.name
                    )
                    told.add("thin_after")
        except (SaveError, DamagedError, CheckpointNotFoundError, CheckpointReplacedError) as err:
            logger.warning("%s was not thinned: %s", each.path, err)


def _thin(directory: ExperimentDirectory, opened: bundle.Bundle) -> bool:
    """Whether there was an optimizer to give up."""
    tree = state.without_optimizers(opened.tree)
    if tree is None:
        return False
    record = opened.record
    # Its age and its place in the run stay; only its id is another one, since its content is.
    details = {**record.details, "thinned": True, "thinned_from": record.id}
    directory.rewrite(opened, replace(record, details=details), StreamedSnapshot(tree, Pieces(opened)))
    logger.info("thinned %s: its optimizers were given up", opened.path)
    return True
