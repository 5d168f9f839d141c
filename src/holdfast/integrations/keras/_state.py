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
from ...data import batches_of
from ...errors import UsageError
from ...policy import Limits
from .._common.arguments import Abilities
from .._common.script_settings import ScriptSettings

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
_SAMPLES = "ArrayDataAdapter"


def frames_of_fit(model: Any) -> tuple[Any, Any]:
    """The `CallbackList` and the epoch iterator of the `model.fit` that is running: only its frames have them."""
    listed = iterator = None
    frame: Any = sys._getframe()
    while frame is not None and iterator is None:
        here = frame.f_locals
        if listed is None and isinstance(here.get("self"), keras.callbacks.CallbackList):
            listed = here["self"]
        if here.get("self") is model:
            iterator = here.get("epoch_iterator")
        frame = frame.f_back
    if listed is None or iterator is None:
        raise UsageError(
            "a HoldfastCallback is for model.fit(…, callbacks=[…]); around a loop of your own use holdfast.Run"
        )
    return listed, iterator


def exactness_of(iterator: Any) -> str:
    """`"exact"`, or on what it depends that the data of an epoch come again as they came."""
    if iterator.steps_per_epoch is not None:
        return "exact within the first epoch only: with steps_per_epoch an epoch's data depend on the epochs before"
    kind = type(iterator.data_adapter).__name__
    if kind == _SAMPLES:
        return "exact"
    if kind == "TorchDataLoaderAdapter":
        loader = iterator.data_adapter._dataloader
        is_plain = hasattr(loader.dataset, "__getitem__") and not loader.num_workers
        if is_plain and not batches_of(loader, raw=True).generators:
            return "exact"
    return f"exact if the data of an epoch depend on nothing but the random states at its start ({kind})"


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


@final
class Siblings:
    """The other callbacks of a fit: what of their attributes training has changed.

    What the script has set (a patience, a file name) is not saved, so that a script can change it.
    """

    def __init__(self, callbacks: Iterable[Any]) -> None:
        self._by_name: dict[str, Any] = {}
        for callback in callbacks:
            if not isinstance(callback, _OWN_EACH_TIME):
                name = type(callback).__name__
                same = sum(each.rpartition(" ")[0] == name for each in self._by_name)
                self._by_name[f"{name} {same}"] = callback
        self._at_start = self._digests()

    def take(self) -> dict[str, dict[str, Any]]:
        """Their changed attributes, by name."""
        now = self._digests()
        taken = {
            name: {
                key: _taken(vars(callback)[key])
                for key, digest in now[name].items()
                if self._at_start[name].get(key) != digest
            }
            for name, callback in self._by_name.items()
        }
        return {name: changed for name, changed in taken.items() if changed}

    def put(self, taken: Mapping[str, Mapping[str, Any]]) -> None:
        """Set them.

        Raises:
            UsageError: a callback that had a state is not here now; nothing was set.
        """
        for name in taken:
            if name not in self._by_name:
                raise UsageError(
                    f"a callback {name.rpartition(' ')[0]} had a state in the checkpoint, and is not among the callbacks now"
                )
        for name, changed in taken.items():
            vars(self._by_name[name]).update({key: _given(value) for key, value in changed.items()})

    def differences(self, taken: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """A sentence for each callback whose attributes are not as they were saved."""
        return [
            f"the callback {name.rpartition(' ')[0]} is not as it was saved: {', '.join(differing)} changed before the first step"
            for name, changed in taken.items()
            if (differing := [key for key, value in changed.items() if not self._is_now(name, key, value)])
        ]

    def _is_now(self, name: str, key: str, value: Any) -> bool:
        live = _taken(vars(self._by_name[name]).get(key))
        return state.digest(state.capture(live)) == state.digest(state.capture(value))

    def _digests(self) -> dict[str, dict[str, str]]:
        return {
            name: {
                key: state.digest(state.capture(_taken(value)))
                for key, value in vars(callback).items()
                if key != "params" and not _is_of_a_file(callback, key) and _is_data(value)
            }
            for name, callback in self._by_name.items()
        }


def _taken(value: Any) -> Any:
    """`value`, or the name of an order that a callback has chosen: none yet means that it will be chosen, once."""
    return {"order": value.__name__} if callable(value) else value


def _given(value: Any) -> Any:
    return _ORDERS[value["order"]] if isinstance(value, dict) and value.keys() == {"order"} else value


def _is_of_a_file(callback: Any, key: str) -> bool:
    """What TensorBoard keeps for itself is of the files and the profiler that it has open, and of how long things took."""
    return key.startswith("_") and isinstance(callback, keras.callbacks.TensorBoard)


def _is_data(value: Any) -> bool:
    match value:
        case None | bool() | int() | float() | str() | np.ndarray() | np.generic():
            return True
        case list() | tuple():
            return all(map(_is_data, value))
        case dict():
            return all(map(_is_data, value.values()))
        case _:
            return any(value is order for order in _ORDERS.values())


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
