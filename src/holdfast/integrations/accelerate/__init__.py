"""accelerate: `with hold(accelerator, "runs/mine") as run:` saves and resumes all that the accelerator has prepared.

    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    with hold(accelerator, "runs/mine") as run:
        for epoch in run.epochs(3):
            for batch in run.batches(loader):
                …

`accelerator.save_state` and `load_state` become atomic, checked and exact, with and without the `with`.
"""

from ..._shown import shown_in as _shown_in
from ._held import Held, hold

__all__ = ["Held", "hold"]

_shown_in(__name__, *map(globals().__getitem__, __all__))
