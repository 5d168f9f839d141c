"""A sampler for a `torch.utils.data.DataLoader` in your own loop, which can start anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, final

from ..errors import UsageError
from ._order import order


@final
class ResumableSampler:
    """Sample indices in an order that is a function of (seed, epoch), from any position on.

    Any `DataLoader` takes it as `sampler=`; torch is not needed. Call `set_epoch` before each epoch.
    Iterating changes nothing: how far training got, which workers' look-ahead hides from a sampler,
    is told to `state`.

        for epoch in range(sampler.epoch, n_epochs):
            sampler.set_epoch(epoch)
            for batch in loader: …                    # save sampler.state(samples trained in this epoch)
    """

    def __init__(self, size: int, *, seed: int, shuffle: bool = True) -> None:
        order(seed, 0, min(size, 0))  # checks both
        self.size, self.seed, self.shuffle = size, seed, shuffle
        self.epoch = 0
        self._start = 0

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of `epoch`; in the epoch it is in already, the position stays."""
        if epoch != self.epoch:
            self.epoch, self._start = epoch, 0

    def __iter__(self) -> Iterator[int]:
        return iter(order(self.seed, self.epoch, self.size, self.shuffle)[self._start :].tolist())

    def __len__(self) -> int:
        """How many samples this epoch has from the position on."""
        return self.size - self._start

    def state(self, num_samples: int | None = None) -> dict[str, Any]:
        """Plain data that say where to resume.

        Args:
            num_samples: how many samples of the current epoch have been used in all, those before a
                resume included; None for the position that the sampler starts at.
        """
        start = self._start if num_samples is None else num_samples
        facts = {"size": self.size, "seed": self.seed, "shuffle": self.shuffle}
        return facts | {"epoch": self.epoch, "start": start}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go to where `state` says; `state` is from a sampler with the same arguments.

        Raises:
            UsageError: it is from another one, or the position is beyond the end; nothing changed.
        """
        for name in ("size", "seed", "shuffle"):
            if state[name] != getattr(self, name):
                raise UsageError(
                    f"the sampler had {name}={state[name]!r} and now has {getattr(self, name)!r}"
                )
        if not 0 <= state["start"] <= self.size:
            raise UsageError(f"position {state['start']} is not one of {self.size} samples")
        self.epoch, self._start = state["epoch"], state["start"]
