"""A torch `DataLoader` over a stream that keeps its own place, such as an `IterableDataset` of Hugging Face's `datasets`."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, final

_KNOWN = "datasets"


def is_over_stream(loader: Any, torch_data: Any) -> bool:
    """Whether this is a torch loader, without workers, over a stream that gives its state and takes it back."""
    if not isinstance(loader, torch_data.DataLoader) or hasattr(loader, "state_dict"):
        return False
    stream = loader.dataset
    has_state = all(callable(getattr(stream, name, None)) for name in ("state_dict", "load_state_dict"))
    return isinstance(stream, torch_data.IterableDataset) and has_state and not loader.num_workers


@final
class StreamLoader:
    """The loader, with the state of its stream: it reads as many samples as it hands out, so both are at the same place."""

    def __init__(self, loader: Any) -> None:
        self._loader, self.dataset = loader, loader.dataset
        self.batch_sampler, self.collate_fn = None, loader.collate_fn
        self.batch_size, self.drop_last, self.num_workers = loader.batch_size, loader.drop_last, 0
        self.generator = loader.generator
        self._is_known = type(loader.dataset).__module__.partition(".")[0] == _KNOWN
        self._at_first = copy.deepcopy(loader.dataset.state_dict()) if self._is_known else None
        self._resumes = self._has_resumed = False

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        if self._has_resumed and not self._resumes and self._is_known:
            # Else each pass would begin where it resumed.
            self.dataset.load_state_dict(copy.deepcopy(self._at_first))
        self._resumes = False
        return iter(self._loader)

    def state_dict(self) -> Any:
        return self.dataset.state_dict()

    def load_state_dict(self, state: Any) -> None:
        self._resumes = self._has_resumed = True
        self.dataset.load_state_dict(state)
