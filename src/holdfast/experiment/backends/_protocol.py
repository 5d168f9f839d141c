"""What a framework must offer to a model graph, and how a model finds its framework.

To add a framework, add a module named after it to this folder, with the functions of `Backend`. It is
imported only in a process that has imported the framework itself, so it may import it at its top.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol, cast

from ...errors import GraphError


class Backend(Protocol):
    """The functions of a module that adapts one framework's models to the graph."""

    def owns(self, model: Any) -> bool:
        """Whether `model` is this framework's."""
        ...

    def place(self, model: Any, device: Any) -> None:
        """Move `model` to `device`, in place; nothing to do where a framework has no devices."""
        ...

    def parameters(self, model: Any) -> list[Any]:
        """What an optimizer may change, each once; empty for a model that is fitted instead."""
        ...

    def set_training(self, model: Any, training: bool) -> None:
        """Switch between training and evaluation behaviour."""
        ...

    def forward(self, model: Any, inputs: Sequence[Any], *, method: str | None, device: Any) -> Any:
        """The model's output for these inputs (arrays of any framework, one row per sample)."""
        ...

    def fit(self, model: Any, inputs: Sequence[Any], target: Any | None) -> None:
        """Fit the model to complete columns.

        Raises:
            GraphError: models of this framework are trained by gradients instead.
        """
        ...


def backend_of(model: Any) -> Backend:
    """The adapter of the framework that `model` belongs to.

    Raises:
        GraphError: no loaded framework with an adapter here knows the model.
    """
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(sys.modules[package].__path__):
        # No model can exist of a framework that was never imported.
        if not module.name.startswith("_") and module.name in sys.modules:
            backend = cast(Backend, import_module(f"{package}.{module.name}"))
            if backend.owns(model):
                return backend
    raise GraphError(
        f"a {type(model).__name__} is not a model that Holdfast can run. "
        "Pass a torch.nn.Module or a scikit-learn estimator."
    )
