"""Values that were not there when the run began, and come later."""

from __future__ import annotations
