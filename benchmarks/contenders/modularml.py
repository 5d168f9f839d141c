"""ModularML's own saver: `serializer.save` of a model that holds the state's arrays (pickles in a deflated zip)."""

from __future__ import annotations

from pathlib import Path

import torch
from modularml.core.io.serialization_policy import SerializationPolicy
from modularml.core.io.serializer import serializer
from modularml.core.io.symbol_registry import symbol_registry
from modularml.core.models.torch_base_model import TorchBaseModel

from ..states import State, tensors
from ._contender import Loading, Saving


class Weights(TorchBaseModel):
    """Nothing but arrays; their names may have no dots in torch."""

    def __init__(self, shapes: dict[str, list[int]]) -> None:
        super().__init__()
        self.shapes = shapes
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (1,)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (1,)

    @property
    def is_built(self) -> bool:
        return True

    def build(self, *args: object, **kwargs: object) -> None: ...

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def get_config(self) -> dict[str, object]:
        return {"shapes": self.shapes}

    @classmethod
    def from_config(cls, config: dict[str, dict[str, list[int]]]) -> Weights:
        return cls(config["shapes"])


symbol_registry.register_builtin_class("Weights", Weights)


def _attribute(path: str) -> str:
    return path.replace("/", "__").replace(".", "_")


class _Save:
    def __init__(self) -> None:
        self._root = Path()

    def begin(self, root: Path) -> None:
        self._root = root

    def save(self, state: State, name: str) -> None:
        model = Weights({})
        for path, tensor in tensors(state):
            model.register_buffer(_attribute(path), tensor)
            model.shapes[_attribute(path)] = list(tensor.shape)
        serializer.save(model, self._root / name, policy=SerializationPolicy.BUILTIN, overwrite=True)

    def finish(self) -> None: ...

    def close(self) -> None: ...


def _into(root: Path, name: str, live: State) -> None:
    (path,) = root.glob(f"{name}*")
    weights = serializer.load(path).get_weights()
    for leaf, tensor in tensors(live):
        tensor.copy_(torch.from_numpy(weights[_attribute(leaf)]))


SAVINGS = (Saving("ModularML", _Save, durable=False, scenarios=frozenset({"S1"})),)
LOADINGS = (Loading("ModularML", "ModularML", into=_into),)
