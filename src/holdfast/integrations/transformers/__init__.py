"""transformers' `Trainer`: `hold(trainer)` makes it save by a policy, and resume bit for bit from the newest valid checkpoint.

    trainer = Trainer(model=model, args=args, train_dataset=dataset)
    hold(trainer, checkpointing=policy)
    trainer.train(resume_from_checkpoint=True)     # from scratch, if there is no checkpoint

A checkpoint is taken when all that belongs to an update is done: logging, evaluation, callbacks. It takes the place
of the Trainer's own `checkpoint-500/`, which a kill can leave half written.
"""

from ..._shown import shown_in as _shown_in
from ._held_trainer import Held, hold

__all__ = ["Held", "hold"]

_shown_in(__name__, *map(globals().__getitem__, __all__))
