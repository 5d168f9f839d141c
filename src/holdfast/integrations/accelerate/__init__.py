"""accelerate: `hold(accelerator)` makes `save_state` and `load_state` atomic, checked and exact; `Run` saves by a rule.

model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
held = hold(accelerator)
with Run("runs/mine", held.parts) as run:
    for epoch in run.epochs(3):
        for batch in run.batches(held.batches(loader)):
            …
"""

from ._held import Held, hold

__all__ = ["Held", "hold"]
