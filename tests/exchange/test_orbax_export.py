"""What JAX trained goes to Orbax as a tree, is written whole or not at all, and comes back."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("flax")
pytest.importorskip("orbax.checkpoint")

import jax.numpy as jnp
from flax import nnx

import holdfast
from holdfast.errors import OutputExistsError, UsageError

pytestmark = pytest.mark.leaves_threads


def imported(folder):
    holdfast.import_checkpoint(folder / "a.orbax", folder / "b", overwrite=True)
    return holdfast.open(folder / "b.ckpt.mml").load()


@pytest.mark.medium
@pytest.mark.filterwarnings("default")
def test_weights_go_to_orbax_and_come_back(save, tmp_path):
    model = nnx.Sequential(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.Dropout(0.1, rngs=nnx.Rngs(1)))
    bundle = save("a", {"model": model, "half": jnp.ones(3, jnp.bfloat16)})
    exported = holdfast.export(bundle, tmp_path / "a.orbax", prefix="model/layers")
    assert "%i:0/kernel" in exported.arrays
    back = imported(tmp_path)
    assert np.array_equal(back["0"]["kernel"], model.layers[0].kernel[...])
    with pytest.raises(OutputExistsError):
        holdfast.export(bundle, tmp_path / "a.orbax")
    holdfast.export(bundle, tmp_path / "a.orbax", only="half", overwrite=True)
    back = imported(tmp_path)
    assert back["half"].dtype.name == "bfloat16"
    with pytest.raises(UsageError, match="cannot store empty arrays"):
        holdfast.export(save("empty", {"none": jnp.ones((0, 2))}), tmp_path / "empty.orbax")
