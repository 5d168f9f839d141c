"""The script's own variables, as a part of its run."""

from ._watch import Mode as Mode
from ._watch import Variables as Variables

__all__ = ["Mode", "Variables"]
