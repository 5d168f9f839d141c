"""Randomness that is a function of the position: no state to save, the same on every machine.

Built on NumPy's bit generators, whose raw output is promised never to change (NEP 19), and not on
`Generator.permutation`, whose algorithm may.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import UsageError

_BATCH_ORDER, _SAMPLE = 0, 1  # separate, so that no sample's generator is that of an epoch's order


def order(seed: int, epoch: int, size: int, shuffle: bool = True) -> npt.NDArray[np.int64]:
    """The order in which `epoch` visits `size` samples: `(size,)` int64, a permutation of `range(size)`.

    A pure function of its arguments, another one for each epoch; `shuffle=False` gives 0, 1, 2, …

    Raises:
        UsageError: an argument is negative.
    """
    _not_negative(seed=seed, epoch=epoch, size=size)
    if not shuffle:
        return np.arange(size, dtype=np.int64)
    keys = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_BATCH_ORDER, epoch))).random_raw(size)
    return np.argsort(keys, kind="stable").astype(np.int64, copy=False)


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """A generator for the sample `index` in `epoch`: the same in any worker, and after any resume.

    For augmentation in a dataset's `__getitem__`; costs about 20 µs.

    Raises:
        UsageError: an argument is negative.
    """
    _not_negative(seed=seed, epoch=epoch, index=index)
    entropy = np.random.SeedSequence(seed, spawn_key=(_SAMPLE, epoch, index))
    return np.random.Generator(np.random.PCG64(entropy))


def _not_negative(**values: int) -> None:
    for name, value in values.items():
        if value < 0:
            raise UsageError(f"{name} cannot be negative: {value}")
