"""The lines in which a run tells a person of itself: one at a resume, one at its end."""

from __future__ import annotations

import logging
import sys

from .._costs import Accounting

logger = logging.getLogger("holdfast")


def say(level: int, text: str) -> None:
    """Log this line. Where nobody has set up logging, and Python would drop it, it goes to the standard error."""
    logger.log(level, text)
    is_dropped = level < logging.WARNING and logger.level == logging.NOTSET and not logger.hasHandlers()
    if is_dropped and sys.stderr is not None:
        print(f"holdfast: {text}", file=sys.stderr)


def say_end(spent: Accounting, *, step: int, began_at: int, place: str) -> None:
    """Say that the run has ended; `spent` is of this process, but for its seconds of training."""
    say(logging.INFO, ended(spent, step=step, began_at=began_at, place=place))


def ended(spent: Accounting, *, step: int, began_at: int, place: str) -> str:
    """The line at the end of a run; `spent` is of this process, but for its seconds of training."""
    saves, blocked_s = spent.saves, spent.blocked_s
    elapsed_s = 0.0 if spent.pace is None else spent.pace.elapsed_s
    trained = f"{step - began_at:,} {'step' if step - began_at == 1 else 'steps'} trained"
    where = f"ended at step {step:,}" + (f" ({trained} now)" if began_at else "")
    if not saves:
        return f"{where}; nothing was saved now in {place}"
    share = f" ({blocked_s / elapsed_s:.1%} of the time)" if elapsed_s > 0 and not began_at else ""
    count = f"{saves:,} {'checkpoint' if saves == 1 else 'checkpoints'} saved in {place}"
    return f"{where}: {count}, training blocked for {blocked_s:.3g} s{share}"
