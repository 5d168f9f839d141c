"""What tests of several folders share. Processes started by what imports it can import it as well."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The repository."""

_places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
if str(ROOT) not in _places:
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, _places)])
