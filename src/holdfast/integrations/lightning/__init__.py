"""PyTorch Lightning: `HoldfastCallback` makes `Trainer.fit` resume bit for bit; `HoldfastCheckpointIO` only stores.

    trainer = L.Trainer(max_epochs=10, callbacks=[HoldfastCallback("runs/digits", checkpointing=policy)])
    trainer.fit(model, loader)          # resumes from the newest complete checkpoint, if there is one

A checkpoint is taken between two batches or epochs, when all that belongs to the one before is done: validation,
schedules, callbacks. What Lightning's own checkpoints lack is in it: the random states, the place in the data,
half-accumulated gradients and metrics.

Once this module is imported, `load_from_checkpoint` of modules and data modules reads bundles as well as files.
"""

from ..._shown import shown_in as _shown_in
from ._callback import HoldfastCallback
from ._io import HoldfastCheckpointIO
from ._loading import read_bundles as _read_bundles

_read_bundles()

__all__ = ["HoldfastCallback", "HoldfastCheckpointIO"]

_shown_in(__name__, *map(globals().__getitem__, __all__))
