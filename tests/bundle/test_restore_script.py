"""A bundle can be read without Holdfast: by a script of at most 140 lines with json, numpy and safetensors."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch

import holdfast
from holdfast.storage import LocalDisk
from tests.support import bundle_cases

SCRIPT = Path(__file__).parents[2] / "docs" / "restore_without_holdfast.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("restore_without_holdfast", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def saved(path: Path, value) -> str:
    bundle_cases.save(LocalDisk(), str(path), value, name="all")
    return str(path / "all.ckpt.mml")


def assert_same(found, wanted, path=""):
    if isinstance(wanted, torch.Tensor):
        wanted = wanted.view(torch.uint16) if wanted.dtype == torch.bfloat16 else wanted
        wanted = wanted.numpy()
    if isinstance(wanted, np.ndarray | np.generic):
        assert np.shape(found) == wanted.shape, path
        assert np.asarray(found).tobytes() == wanted.tobytes(), path
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted), path
        for key in wanted:
            assert_same(found[key], wanted[key], f"{path}/{key}")
    elif isinstance(wanted, list | tuple):
        assert type(found) is type(wanted), path
        assert len(found) == len(wanted), path
        for index, each in enumerate(wanted):
            assert_same(found[index], each, f"{path}/{index}")
    elif wanted != wanted:
        assert found != found, path
    else:
        assert (found, type(found)) == (wanted, type(wanted)), path


def test_the_script_is_short_and_imports_nothing_else():
    text = SCRIPT.read_text()
    assert len(text.splitlines()) <= 140
    imported = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imported}
    assert names == {"json", "numpy", "safetensors"}


def test_the_script_rebuilds_the_state_of_a_bundle(script, tmp_path):
    rng = np.random.default_rng(0)
    tied, odd = rng.standard_normal((3, 4)), rng.standard_normal(3)
    value = {
        "plain": [
            1,
            2.5,
            True,
            None,
            "text",
            float("nan"),
            float("-inf"),
            -0.0,
            10**400,
            3 - 4j,
            b"\x00\xff",
            b"",
        ],
        "keys": {1: "a", True.__class__.__name__: "b", None: "c", (1, "x"): "d", "a/b%[c]": "e", "": "f"},
        "nested": ({"x": (1, [2, (3,)])}, {4, 5}, frozenset({6})),
        "surrogate": "\ud800",
        "large": rng.standard_normal((3000, 1000)),
        "long rows": rng.standard_normal((2, 1_000_000)).astype("f4"),
        "fortran": np.asfortranarray(rng.standard_normal((40, 50))),
        "scalar": np.float32(1.5),
        "empty": np.empty((0, 3)),
        "big endian": np.arange(5, dtype=">i4"),
        "dates": np.array(["2026-01-01"], "M8[D]"),
        "structured": np.array([(1, 2.0)], [("a", "<i4"), ("b", "<f8")]),
        "complex": np.array([1 + 2j]),
        "texts": np.array(["ab", "c"]),
        "long bytes": bytes(range(256)) * 20,
        "tied": {"one": tied, "two": tied},
        "odd keys": {key: [odd] for key in [(1, "x,y", (2.5, None)), b"k", True, -2.5]},
        "bfloat16": torch.randn(5).to(torch.bfloat16),
        "tensor": torch.randn(2, 3),
    }
    path = saved(tmp_path, value)
    found = script.load(path)
    assert_same(found, value)
    assert found["tied"]["one"] is found["tied"]["two"]
    assert len({id(array) for (array,) in found["odd keys"].values()}) == 1
    with holdfast.open(path) as checkpoint:
        assert checkpoint.verify(deep=True) == []


def test_the_script_reads_a_model_and_its_optimizer(script, tmp_path):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    found = script.load(saved(tmp_path, {"model": model, "optimizer": optimizer}))
    assert_same(found["model"], dict(model.state_dict()))
    assert found["optimizer"]["param_groups"][0]["lr"] == 1e-3


def test_the_script_says_that_it_cannot_read_compressed_arrays_and_reads_a_plain_copy(script, tmp_path):
    pytest.importorskip("zstandard")
    value = {"weight": np.linspace(0, 1, 50_000, dtype="f4")}
    small = holdfast.archive(saved(tmp_path, value), tmp_path / "small", compress=True)
    with pytest.raises(ValueError, match="compressed arrays"):
        script.load(small.path)
    assert_same(script.load(holdfast.archive(small, tmp_path / "plain", compress=False).path), value)


def test_items_of_less_than_a_byte_come_as_their_bits(script, tmp_path):
    names = ("int2", "int4", "uint4", "float4_e2m1fn", "float6_e3m2fn", "float8_e3m4")
    arrays = {name: np.array([1, 0, 1], getattr(ml_dtypes, name)) for name in names}
    arrays |= {name: np.ones(2, name) for name in ("int16", "uint16", "float64")}
    assert_same(script.load(saved(tmp_path, arrays)), arrays)
