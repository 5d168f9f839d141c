"""What Keras does not hand to its callbacks: the data of the fit that runs, the list of callbacks, and their state."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias, final

import keras
import numpy as np
from keras.src.backend.common import global_state

from ... import state
from ...errors import UsageError
from ...policy import Limits
from .._common.arguments import Abilities
from .._common.script_settings import ScriptSettings
from .._common.siblings import Siblings

OnError: TypeAlias = Callable[[BaseException], None]
_FORWARD_ONLY = (
    "the epochs of a fit only go forward, and no callback can send it back; use 'stop', change "
    "what diverges, and start again: fit resumes from the newest checkpoint that was finite"
)
ABILITIES = Abilities(
    limits=Limits(
        where="a fit of Keras",
        refused={
            "on_divergence='rollback'": _FORWARD_ONLY,
            "snapshot='lazy'": "it is unknown when a Keras optimizer next writes its variables; leave it out",
            "thin_after": "a compiled model and its optimizer are one; keep fewer by max_to_keep, keep_best, keep_every or max_bytes",
        },
    ),
    refused={
        "strict": "a model and its optimizer are matched by the paths of all their variables; load what fits into a new model "
        "by Checkpoint.restore(…, strict=False)",
        "override": "options of an optimizer are variables of the checkpoint; set the value in `on_train_batch_begin` of a callback",
        "on_rollback": _FORWARD_ONLY,
    },
)
_NAMES = ("name", "module", "registered_name")
"""What of a config only says what it is called."""
_ADVICE = ". To use the script's, set them in `on_train_batch_begin` of a callback"
_SEEDS = "global_seed_generator"
_OWN_EACH_TIME = keras.callbacks.ProgbarLogger
_ORDERS = {"less": keras.ops.less, "greater": keras.ops.greater}


_VALIDATION = ("val_x", "val_y", "val_sample_weight")


def frames_of_fit(model: Any) -> tuple[Any, Any, tuple[Any, ...]]:
    """The `CallbackList`, the epoch iterator and the validation data of the `model.fit` that is running: only its frames have them."""
    listed = iterator = None
    validation: tuple[Any, ...] = ()
    frame: Any = sys._getframe()
    while frame is not None and iterator is None:
        here = frame.f_locals
        if listed is None and isinstance(here.get("self"), keras.callbacks.CallbackList):
            listed = here["self"]
        if here.get("self") is model:
            iterator = here.get("epoch_iterator")
            validation = tuple(here.get(name) for name in _VALIDATION)
        frame = frame.f_back
    if listed is None or iterator is None:
        raise UsageError(
            "a HoldfastCallback is for model.fit(…, callbacks=[…]); around a loop of your own use holdfast.Run"
        )
    return listed, iterator, validation


def tell_of_errors(model: Any, listed: Any, iterator: Any, on_error: OnError, until: ExitStack) -> None:
    """Let `on_error` know what a callback of the list, the data, and a validation raise: fit tells nobody."""
    vars(model)["evaluate"] = _telling(on_error)(model.evaluate)
    until.callback(vars(model).pop, "evaluate", None)
    for hook in filter(re.compile("on_(train|epoch|test)_").match, dir(listed)):
        setattr(listed, hook, _telling(on_error)(getattr(listed, hook)))
    read = iterator._get_iterator
    iterator._get_iterator = lambda: _reading(iter(read()), on_error)  # made now: that draws random numbers


def _reading(batches: Iterator[Any], on_error: OnError) -> Iterator[Any]:
    with _telling(on_error, but=GeneratorExit):  # the epoch has ended before the data
        yield from batches


@contextmanager
def _telling(on_error: OnError, *, but: type[BaseException] | tuple[()] = ()) -> Iterator[None]:
    try:
        yield
    except but:
        raise
    except BaseException as err:
        on_error(err)
        raise


@final
class Skipping:
    """Takes the place of a model's train function: the first batches of an epoch are taken, and not trained on.

    Args:
        on_error: told what the training of a batch has raised.

    Attributes:
        left: how many batches are still to be skipped.
        batch: the batch that was taken last.
    """

    def __init__(self, model: Any, on_error: OnError) -> None:
        inner = model.train_function
        self._inner: Callable[..., Any] = inner._inner if isinstance(inner, Skipping) else inner
        self._on_error = on_error
        self.left, self.batch = 0, None
        self._logs: dict[str, Any] = {}
        model.train_function = self

    def skip(self, num_batches: int, logs: dict[str, Any]) -> None:
        """From the next batch on; `logs` are what training on each would have given: Keras looks at their names."""
        self.left, self._logs = num_batches, logs

    def __call__(self, *given: Any) -> Any:
        with _telling(self._on_error, but=StopIteration):  # the data are over: how Keras on JAX ends an epoch
            return self._step(*given)

    def _step(self, *given: Any) -> Any:
        *before, data = given  # JAX: its state, and an iterator. torch: a list of one batch
        if before:
            data = self._noting(data)
        else:
            self.batch = data[0]
        if self.left:
            self.left -= 1
            if before:
                next(data)
            return (self._logs, *before) if before else self._logs
        return self._inner(*before, data)

    def _noting(self, batches: Iterator[Any]) -> Iterator[Any]:
        self.batch = next(batches)
        yield self.batch

    def digest(self) -> str | None:
        """BLAKE3 of the batch that was taken last."""
        return None if self.batch is None else state.digest(state.capture(self.batch))


@final
class First(keras.callbacks.LambdaCallback):
    """Called before all others."""


def siblings(callbacks: Iterable[Any]) -> Siblings:
    """The other callbacks of a fit, by the names of their classes, numbered from 0."""
    named: dict[str, Any] = {}
    for each in callbacks:
        if not isinstance(each, _OWN_EACH_TIME):
            name = type(each).__name__
            same = sum(other.rpartition(" ")[0] == name for other in named)
            named[f"{name} {same}"] = each
    return Siblings(named, _is_left, chosen=_ORDERS)


def _is_left(callback: Any, key: str) -> bool:
    """What Keras gives to each; and what TensorBoard keeps of open files and its profiler, and of how long things took."""
    return key == "params" or (key.startswith("_") and isinstance(callback, keras.callbacks.TensorBoard))


def settings_of(model: Any) -> ScriptSettings:
    """What the script says of the optimizer, as plain data; its learning rate is a variable, and the checkpoint's is used."""
    if model.optimizer is None:
        return ScriptSettings({})
    found = dict(_plain(model.optimizer.get_config(), ""))
    rates = [name for name in found if name.rpartition(".")[2] == "learning_rate"]
    found |= {name: float(str(np.float32(found[name]))) for name in rates}  # as the script has written it
    return ScriptSettings(found, rates, advice=_ADVICE)


def _plain(config: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _plain(value, f"{above}{name}.")
        elif name not in _NAMES and (value is None or isinstance(value, bool | int | float | str)):
            yield f"{above}{name}", value


def layers_of(model: Any) -> dict[str, Any]:
    """The model and its layers, by name: those of the user's own classes may keep something in attributes."""
    return {"model": model} | {
        f"layer {each.name}": each for each in model._flatten_layers() if each is not model
    }


def get_seeds() -> Any:
    """The state of the generator that random operations without a seed share; None if there was none."""
    shared = global_state.get_global_attribute(_SEEDS)
    return None if shared is None else np.asarray(keras.ops.convert_to_numpy(shared.state.value))


def set_seeds(seeds: Any) -> None:
    """Set it as `get_seeds` found it."""
    if seeds is None:
        global_state.set_global_attribute(_SEEDS, None)
        return
    shared = global_state.get_global_attribute(_SEEDS) or keras.random.SeedGenerator(0)
    shared.state.assign(seeds)
    global_state.set_global_attribute(_SEEDS, shared)
