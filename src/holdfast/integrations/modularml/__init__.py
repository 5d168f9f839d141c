"""ModularML: one line makes an unmodified experiment save through Holdfast, and resume after a kill.

    import holdfast.integrations.modularml as holdfast_modularml

    holdfast_modularml.enable()      # before the experiment runs; all else stays as it is

Its `Checkpointing` objects keep their words and say when to save; `holdfast.Checkpointing` can stand in their
place. Run the same script again, and `experiment.run()` resumes from the newest complete checkpoint, in mid-phase too.
"""

from ..._shown import shown_in as _shown_in
from ._switch import KNOWN, accounting, disable, enable, last_resume, state_digest

__all__ = ["KNOWN", "accounting", "disable", "enable", "last_resume", "state_digest"]

_shown_in(__name__, *map(globals().__getitem__, __all__))
