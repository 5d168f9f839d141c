"""Random streams: the same draws again, or a clear error and nothing changed."""

import copy
import json
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from holdfast import rng
from holdfast.errors import UsageError


def everything():
    """One draw of each kind, from each global stream; Gaussians come in pairs, of which one waits."""
    return random.random(), random.gauss(0, 1), np.random.randn(3).tolist(), torch.randn(3).tolist()


@pytest.fixture(autouse=True)
def _streams_of_others_stay():
    with rng.preserved():
        yield


def test_a_restored_state_gives_the_same_draws_again():
    rng.seed_everything(1)
    everything()
    state = rng.capture_state()
    expected = [everything() for _ in range(3)]
    everything()
    rng.restore_state(state)
    assert [everything() for _ in range(3)] == expected


def test_a_state_does_not_change_when_the_streams_move_on():
    state = rng.capture_state()
    expected = rng.draws(state)
    everything()
    assert rng.draws(state) == expected
    assert rng.draws() != expected


def test_draws_tell_what_comes_next_and_take_nothing():
    rng.seed_everything(3)
    names = rng.draws()
    assert set(names) == {"python", "numpy", "torch cpu"}
    assert rng.draws() == names
    assert names["python"] == f"{random.getrandbits(64):016x}"
    assert rng.draws() != names


def test_preserved_puts_every_stream_back_even_after_an_error():
    before = rng.draws()
    with pytest.raises(ZeroDivisionError), rng.preserved():
        random.seed(everything()[0] / 0)
    assert rng.draws() == before


def test_the_same_seed_gives_the_same_streams():
    rng.seed_everything(7)
    first = everything()
    rng.seed_everything(7)
    assert everything() == first
    with pytest.raises(UsageError, match="between 0 and"):
        rng.seed_everything(-1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s["torch"].update(cuda=[s["torch"]["cpu"]] * 64), "64 CUDA devices were saved"),
        (lambda s: s["torch"].update(cpu=np.zeros(3, np.uint8)), "torch cpu.*does not fit"),
        (lambda s: s["python"].update(words=np.zeros(3, np.uint32)), "python.*does not fit"),
        (lambda s: s["numpy"].update(bit_generator="PCG64"), "numpy.*does not fit"),
        (lambda s: s.pop("numpy"), "numpy.*does not fit"),
    ],
)
def test_a_state_that_does_not_fit_changes_no_stream(spoil, message):
    state = copy.deepcopy(rng.capture_state())
    everything()
    before = rng.draws()
    spoil(state)
    with pytest.raises(UsageError, match=message):
        rng.restore_state(state)
    assert rng.draws() == before


def test_a_missing_torch_is_said_and_changes_nothing(monkeypatch):
    state = rng.capture_state()
    random.random()
    before = random.getstate()
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UsageError, match="torch is not installed"):
        rng.restore_state(state)
    assert random.getstate() == before


def draw(generator):
    if isinstance(generator, torch.Generator):
        return torch.randn(3, generator=generator).tolist()
    return generator.random()


@pytest.mark.parametrize(
    "make",
    [
        lambda: random.Random(1),
        lambda: np.random.default_rng(1),
        lambda: np.random.Generator(np.random.MT19937(1)),
        lambda: np.random.RandomState(1),
        lambda: torch.Generator().manual_seed(1),
    ],
)
def test_a_generator_of_ones_own_resumes_where_it_was(make):
    generator = make()
    assert rng.is_generator(generator)
    state = rng.generator_state(generator)
    first = (
        rng._next_bits(generator) if not isinstance(generator, np.random.Generator) else generator.random()
    )
    rng.set_generator_state(generator, state)
    again = (
        rng._next_bits(generator) if not isinstance(generator, np.random.Generator) else generator.random()
    )
    assert again == first


def test_no_framework_is_loaded_by_capturing():
    script = (
        "import json, sys; from holdfast import rng; s = rng.capture_state(); rng.restore_state(s); "
        "rng.seed_everything(0); print(json.dumps([sorted(s), 'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [["numpy", "python"], False]
