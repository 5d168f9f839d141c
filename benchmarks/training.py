"""S6 to S8: what a script trains: a model of many small parameters with AdamW, and a tiny one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .states import State, Variant


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: with more, thousands of small operations wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True, slots=True)
class Case:
    """How many parameters, of how many numbers in all; with an optimizer of another kind, an average, or tied weights."""

    parameters: int
    numbers: int
    variant: Variant = ""

    @property
    def name(self) -> str:
        return f"{self.parameters} {self.variant}".rstrip()


class Deep(nn.Module):
    """Layers of one width, each with a weight and a bias, and a way round it, so that gradients reach all of them."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        count = max(1, case.parameters // 2)
        self.width = max(1, int((case.numbers / count) ** 0.5))
        self.layers = nn.ModuleList(nn.Linear(self.width, self.width) for _ in range(count))
        if case.variant == "tied":  # one weight of ten is that of the layer before
            for before, layer in zip(self.layers[::10], self.layers[1::10], strict=False):
                layer.weight = before.weight

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + torch.tanh(layer(x)) / len(self.layers)
        return x


class Training:
    """A model with its optimizer, which a step changes in every number."""

    def __init__(self, case: Case, *, seed: int = 6) -> None:
        torch.manual_seed(seed)
        self.model = Deep(case)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=1e-3,
            foreach=True if case.variant == "foreach" else None,
            fused=True if case.variant == "fused" else None,
        )
        self.average = None
        if case.variant == "EMA":
            self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(0.999))
        self._batch = torch.randn(2, 4, self.model.width)
        self.step()  # the optimizer makes its state

    def step(self) -> None:
        self.optimizer.zero_grad()
        inputs, targets = self._batch
        nn.functional.mse_loss(self.model(inputs), targets).backward()
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)

    @cached_property
    def objects(self) -> State:
        """What is handed to a library that saves live objects."""
        found: State = {"model": self.model, "optimizer": self.optimizer}
        return found if self.average is None else {**found, "average": self.average}

    def state_dicts(self) -> State:
        """What is handed to a library that saves dicts of tensors; making them is part of a save."""
        return {name: each.state_dict() for name, each in self.objects.items()}

    def load_state_dicts(self, loaded: State) -> None:
        for name, each in self.objects.items():
            each.load_state_dict(loaded[name])


class Tiny:
    """The least that is training: one layer of nine numbers."""

    def __init__(self) -> None:
        torch.manual_seed(8)
        self.model = nn.Linear(8, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3)
        self._inputs, self._targets = torch.randn(16, 8), torch.randn(16, 1)

    @cached_property
    def objects(self) -> State:
        return {"model": self.model, "optimizer": self.optimizer}

    def step(self) -> Tensor:
        self.optimizer.zero_grad()
        loss = nn.functional.mse_loss(self.model(self._inputs), self._targets)
        loss.backward()
        self.optimizer.step()
        return loss.detach()
