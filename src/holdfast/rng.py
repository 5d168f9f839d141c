"""The process's random states: taken now, and restored later.

A state is plain data and NumPy arrays: Python's `random`, NumPy's global `RandomState`, and, where
torch is loaded, its CPU generator, every CUDA device and MPS. Nothing is set before everything has been checked.
"""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import numpy as np

from .errors import UsageError

CHILDREN: Final = "seed_seq"
"""The key of what children are spawned from, in the state of a generator of NumPy that has some."""

RandomState: TypeAlias = dict[str, Any]
"""Plain data and arrays: what `capture_state` gives and `restore_state` takes."""


def capture_state() -> RandomState:
    """All global random states as they are now; nothing is drawn, and CUDA is not started.

    While CUDA is unused its random states are known by their seed alone (`torch.cuda.manual_seed` with
    another seed than torch's own, before the first use of CUDA, is the one thing this misses).
    """
    state = {"python": generator_state(random), "numpy": np.random.get_state(legacy=False)}
    torch = sys.modules.get("torch")
    if torch is None:
        return state
    devices: dict[str, Any] = {"cpu": torch.get_rng_state().numpy()}
    if torch.cuda.is_initialized():
        devices["cuda"] = [one.numpy() for one in torch.cuda.get_rng_state_all()]
    else:
        devices["cuda_seed"] = torch.initial_seed()
    if torch.backends.mps.is_available():
        devices["mps"] = torch.mps.get_rng_state().numpy()
    return state | {"torch": devices}


def restore_state(state: RandomState) -> None:
    """Set every random state that `state` holds; generators that it lacks keep theirs.

    Raises:
        UsageError: a random state is malformed or does not exist here (torch is not installed, fewer CUDA
            devices than before); nothing was changed.
    """
    _clones(state)
    set_generator_state(random, state["python"])
    np.random.set_state(state["numpy"])
    if (saved := state.get("torch")) is None:
        return
    torch = _torch()
    torch.set_rng_state(_as_tensor(saved["cpu"]))
    for index, one in enumerate(saved.get("cuda", ())):
        torch.cuda.set_rng_state(_as_tensor(one), index)
    if "cuda_seed" in saved:
        torch.cuda.manual_seed_all(saved["cuda_seed"])  # remembered by torch until CUDA starts
    if "mps" in saved:
        torch.mps.set_rng_state(_as_tensor(saved["mps"]))


@contextmanager
def preserved() -> Iterator[None]:
    """Restore all global random states at the end of the block, whatever is drawn inside."""
    state = capture_state()
    try:
        yield
    finally:
        restore_state(state)


def seed_everything(seed: int) -> None:
    """Seed every global generator. Import torch first: a framework that is not loaded is not seeded.

    Raises:
        UsageError: `seed` is not between 0 and 2**32 - 1 (what NumPy takes).
    """
    if not 0 <= seed < 2**32:
        raise UsageError(f"a seed is between 0 and 2**32 - 1, not {seed}")
    random.seed(seed)
    np.random.seed(seed)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)


def draws(state: RandomState | None = None) -> dict[str, str]:
    """What each generator would draw next (64 bits in hex), by name; drawn from clones, so nothing changes.

    Args:
        state: the random states to ask; None for the live ones.

    Raises:
        UsageError: as `restore_state`.
    """
    return {
        name: f"{_next_bits(clone):016x}"
        for name, clone in _clones(capture_state() if state is None else state).items()
    }


def next_draw(generator: Any) -> str:
    """What one generator (see `is_generator`) would draw next, 64 bits in hex; drawn from a clone."""
    if not isinstance(generator, random.Random | np.random.Generator | np.random.RandomState):
        clone = _torch().Generator(generator.device)
        clone.set_state(generator.get_state())
        return f"{_next_bits(clone):016x}"
    clone = copy.deepcopy(generator)
    if isinstance(clone, np.random.Generator):
        return clone.bytes(8).hex()
    return f"{_next_bits(clone):016x}"


def seed_sequence(generator: Any) -> np.random.SeedSequence | None:
    """What a generator of NumPy makes its children from (`spawn`); None if it cannot have any."""
    bits = generator.bit_generator if isinstance(generator, np.random.Generator) else generator
    found = getattr(bits, "seed_seq", None) if isinstance(bits, np.random.BitGenerator) else None
    return found if isinstance(found, np.random.SeedSequence) else None


def is_generator(value: object) -> bool:
    """Whether `value` is a random generator of Python, NumPy or torch with a state of its own."""
    torch = sys.modules.get("torch")
    kinds = (random.Random, np.random.Generator, np.random.RandomState)
    if isinstance(value, random.SystemRandom):
        return False  # asks the system, and has no state
    return isinstance(value, (*kinds, torch.Generator) if torch else kinds)


def generator_state(generator: Any) -> Any:
    """The state of one generator (see `is_generator`; also the module `random`) as plain data and arrays."""
    match generator:
        case np.random.Generator() | np.random.BitGenerator():
            bits, seed = _bits_of(generator), seed_sequence(generator)
            has_children = seed is not None and seed.n_children_spawned > 0
            return {**bits.state, CHILDREN: dict(seed.state)} if seed and has_children else dict(bits.state)
        case np.random.RandomState():
            return generator.get_state(legacy=False)
        case _ if hasattr(generator, "getstate"):
            version, words, gauss = generator.getstate()
            return {"version": version, "words": np.array(words, np.uint32), "gauss": gauss}
    return generator.get_state().numpy().copy()


def set_generator_state(generator: Any, state: Any) -> None:
    """Put a state from `generator_state` into a generator of the same kind."""
    match generator:
        case np.random.Generator() | np.random.BitGenerator():
            bits = _bits_of(generator)
            bits.state = {name: each for name, each in state.items() if name != CHILDREN}
            _set_children(bits, state.get(CHILDREN))
        case np.random.RandomState():
            generator.set_state(state)
        case _ if hasattr(generator, "setstate"):
            generator.setstate((state["version"], tuple(state["words"].tolist()), state["gauss"]))
        case _:
            generator.set_state(_as_tensor(state))


def _bits_of(generator: np.random.Generator | np.random.BitGenerator) -> np.random.BitGenerator:
    return generator.bit_generator if isinstance(generator, np.random.Generator) else generator


def _set_children(bits: np.random.BitGenerator, saved: Any) -> None:
    """Let what is spawned next be what would have been."""
    live = seed_sequence(bits)
    if live is None or (saved is None and not live.n_children_spawned):
        return
    wanted = {**live.state, "n_children_spawned": 0} if saved is None else saved
    if not isinstance(wanted, Mapping) or wanted.keys() != live.state.keys():
        raise ValueError("a generator's children cannot be spawned from this")
    made = np.random.SeedSequence(**wanted)
    if made.state != live.state:
        getattr(bits, "__setstate__")((bits.state, made))  # noqa: B009


def _clones(state: RandomState) -> dict[str, Any]:
    """A generator of its own for each random state in `state`; making them checks it."""
    fresh: dict[str, tuple[Any, Any]] = {
        "python": (random.Random, state.get("python")),
        "numpy": (_numpy_clone, state.get("numpy")),
    }
    if (saved := state.get("torch")) is not None:
        torch = _torch()
        fresh["torch cpu"] = (torch.Generator, saved.get("cpu"))
        if len(saved.get("cuda", ())) > torch.cuda.device_count():
            raise UsageError(
                f"the random states of {len(saved['cuda'])} CUDA devices were saved and "
                f"{torch.cuda.device_count()} are available. Use as many devices, or leave these states out."
            )
        for index, one in enumerate(saved.get("cuda", ())):
            fresh[f"torch cuda:{index}"] = (lambda i=index: torch.Generator(f"cuda:{i}"), one)
        if "mps" in saved:
            if not torch.backends.mps.is_available():
                raise UsageError(
                    "the random state of an MPS device was saved, but no MPS device is available"
                )
            fresh["torch mps"] = (lambda: torch.Generator("mps"), saved["mps"])
    return {name: _clone(name, make, one) for name, (make, one) in fresh.items()}


def _clone(name: str, make: Any, state: Any) -> Any:
    generator = make()
    try:
        set_generator_state(generator, state)
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as err:
        raise UsageError(f"the saved random state {name!r} does not fit: {err}") from err
    return generator


def _numpy_clone() -> np.random.RandomState:
    kind = np.random.get_state(legacy=False)["bit_generator"]  # `np.random.set_bit_generator` may change it
    return np.random.RandomState(getattr(np.random, kind)())


def _next_bits(clone: Any) -> int:
    if isinstance(clone, random.Random):
        return clone.getrandbits(64)
    if isinstance(clone, np.random.RandomState):
        return int.from_bytes(clone.bytes(8), "big")
    torch = _torch()
    low, high = torch.randint(0, 2**31, (2,), generator=clone, device=clone.device).tolist()
    return low << 32 | high


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise UsageError("torch's random states were saved, but torch is not installed") from None
    return torch


def _as_tensor(state: np.ndarray) -> Any:
    # A copy: torch keeps no reference, but it warns about arrays that are read-only.
    return _torch().from_numpy(np.array(state, np.uint8))
