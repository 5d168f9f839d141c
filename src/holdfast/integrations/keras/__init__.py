"""Keras 3, with torch or JAX behind it: a callback that saves by a policy, and resumes bit for bit in the middle of an epoch.

    policy = Checkpointing(save_on=["batch_end", "epoch_end"], every_n=100)
    model.fit(x, y, epochs=10, callbacks=[HoldfastCallback("runs/mnist", checkpointing=policy)])

An epoch that was left in its middle begins again with the random states of its start, takes the batches that were
trained on already from the data, and lets the model have those that come after.
"""

from ..._shown import shown_in as _shown_in
from ._callback import HoldfastCallback

__all__ = ["HoldfastCallback"]

_shown_in(__name__, *map(globals().__getitem__, __all__))
