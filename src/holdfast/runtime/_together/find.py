"""Whether a run is one of several processes: they have a model together that none of them has entirely."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ... import state
from ...crew import Crew, torch_crew
from ...errors import UsageError
from ...harness import DIRECTORY, asked, living
from ...policy import Checkpointing, Limits
from ...records import Box, leaves
from .._resuming.options import Resume
from .ranks import ALONE, Ranks

_LONGEST_S: Final = 600.0
_ALONE: Final = (
    "the others are in the middle of their step when one fails, and what all have then is no one state"
)
_LIMITS: Final = Limits(
    where="a Run of several processes",
    refused={
        "save_on_exception": f"{_ALONE}; a run that fails resumes from its newest checkpoint",
        "on_divergence": "all processes would have to go back at once. Leave it out",
        "snapshot='lazy'": "all processes write while training waits. Leave it out",
        "thin_after": "one process cannot rewrite what all have saved. Leave it out, and keep fewer",
        "share_with": "all of the state is written at each save. Leave it out",
    },
)


def ranks_of(objects: Mapping[str, Any], exclude: Sequence[str]) -> Ranks:
    """The processes of `torch.distributed`, if one of these objects holds an array of which this one has only a part."""
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return ALONE
    if distributed.get_world_size() == 1:
        return ALONE
    tree = state.look(objects, exclude=exclude, with_boxes=True).tree
    if not any(isinstance(each, Box) for each in leaves(tree)):
        return ALONE
    return Ranks(_crew(distributed), beside=_crew(distributed))


def _crew(distributed: Any) -> Crew:
    """Its limit is that of the process group, and 10 minutes at most."""
    store = distributed.distributed_c10d._get_default_store()
    return torch_crew(timeout_s=min(_LONGEST_S, store.timeout.total_seconds()))


def check(policy: Checkpointing, *, share_directory: bool) -> None:
    """UsageError if a run of several processes cannot do what is wanted."""
    _LIMITS.check(policy)
    if share_directory:
        raise UsageError("share_directory=True does not work in a Run of several processes: leave it out.")
    if asked() is not None or living() is not None or os.environ.get(DIRECTORY):
        raise UsageError(
            "holdfast check, replay and torture run one process, and these are several: kill and restart the job yourself."
        )


def check_resume(resume: Resume) -> None:
    """UsageError if a run of several processes cannot resume so."""
    if resume.prove or resume.on_structure is not None:
        name = "prove" if resume.prove else "on_structure"
        raise UsageError(f"Resume({name}=…) does not work in a Run of several processes: leave it out.")
