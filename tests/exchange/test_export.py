"""What is exported is read by the programs that such files are for, bit for bit, and appears whole or not at all."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch

import holdfast
from holdfast import bundle
from holdfast.errors import OutputExistsError, PieceDamagedError, SaveError, UsageError
from holdfast.storage import LocalDisk, NewFiles
from tests.support import peak_memory
from tests.support.small_runs import bundles, experiment, graph, on_disk, train

TENSORS = {
    str(dtype).removeprefix("torch."): (torch.arange(12) % 5).reshape(3, 4).to(dtype)
    for dtype in (
        *(
            torch.float64,
            torch.float32,
            torch.float16,
            torch.bfloat16,
            torch.float8_e4m3fn,
            torch.float8_e5m2,
        ),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64),
        *(torch.uint16, torch.uint32, torch.uint64),
    )
}
TENSORS |= {
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 3),
    "columns": torch.arange(6.0).reshape(2, 3).t(),
}


def same(left, right) -> bool:
    return (
        left.dtype == right.dtype
        and torch.equal(
            left.contiguous().reshape(-1).view(torch.uint8), right.contiguous().reshape(-1).view(torch.uint8)
        )
        and left.shape == right.shape
    )


def test_every_dtype_comes_back_bit_for_bit_from_safetensors_and_torch(save, tmp_path):
    done = holdfast.export(save("a", TENSORS | {"lr": 0.1}), tmp_path / "a.safetensors")
    assert done.left_out == 1
    check_all(safetensors.torch.load_file(tmp_path / "a.safetensors"), TENSORS)
    readable = {name: tensor for name, tensor in TENSORS.items() if is_read_by_torch(tensor)}
    assert len(readable) >= len(TENSORS) - 3
    holdfast.export(save("b", readable), tmp_path / "a.pt")
    for mmap in (False, True):
        check_all(torch.load(tmp_path / "a.pt", weights_only=True, mmap=mmap), readable)


def check_all(loaded, expected):
    assert loaded.keys() == expected.keys()
    for name, tensor in expected.items():
        assert same(loaded[name], tensor), name


def is_read_by_torch(tensor) -> bool:
    """Whether `torch.load` takes what `torch.save` made of it: torch 2.4 refuses its own uint16, uint32 and uint64."""
    file = io.BytesIO()
    try:
        torch.save(tensor, file)
        file.seek(0)
        torch.load(file, weights_only=True)
    except (KeyError, pickle.UnpicklingError):
        return False
    return True


NEWER_IN_SAFETENSORS = {
    "F8_E4M3FNUZ": torch.tensor([1.5, -2]).to(torch.float8_e4m3fnuz),
    "F8_E5M2FNUZ": torch.tensor([1.5, -2]).to(torch.float8_e5m2fnuz),
    "F8_E8M0": torch.tensor([1.0, 4]).to(torch.float8_e8m0fnu),
    "F4": torch.tensor([[0x21, 0x43]], dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
}


def test_what_newer_releases_of_safetensors_name_goes_out_and_comes_in(save, tmp_path):
    holdfast.export(save("a", NEWER_IN_SAFETENSORS), tmp_path / "a.safetensors")
    with safetensors.safe_open(tmp_path / "a.safetensors", "np") as file:
        assert {name: file.get_slice(name).get_dtype() for name in file.keys()} == {  # noqa: SIM118
            name: name for name in NEWER_IN_SAFETENSORS
        }
        assert file.get_slice("F4").get_shape() == [1, 4]
    live = {
        name: torch.zeros_like(tensor.view(torch.uint8)).view(tensor.dtype)
        for name, tensor in NEWER_IN_SAFETENSORS.items()
    }
    holdfast.import_checkpoint(tmp_path / "a.safetensors", tmp_path / "back")
    holdfast.load(tmp_path / "back.ckpt.mml", into=live)
    check_all(live, NEWER_IN_SAFETENSORS)
    assert holdfast.load(tmp_path / "back.ckpt.mml")["F4"].dtype == torch.float4_e2m1fn_x2


@pytest.mark.parametrize(
    "dtype",
    ["int2", "int4", "uint2", "uint4", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float4_e2m1fn"],
)
def test_what_other_formats_have_no_name_for_is_refused_by_name(save, tmp_path, dtype):
    place = save("a", {"w": np.ones(2, getattr(ml_dtypes, dtype))})
    for name in ("a.safetensors", "a.pt"):
        with pytest.raises(UsageError, match=f"'w' is {dtype}, which"):
            holdfast.export(place, tmp_path / name)


@pytest.mark.filterwarnings("ignore:ComplexHalf")
def test_younger_dtypes_and_complex_ones_come_back_from_pt(save, tmp_path):
    young = {
        "complex128": torch.tensor([1 + 2j], dtype=torch.complex128),
        "complex32": torch.tensor([1 + 2j], dtype=torch.complex64).to(torch.complex32),
        "fnuz": torch.tensor([1.5]).to(torch.float8_e4m3fnuz),
    }
    holdfast.export(save("a", young), tmp_path / "a.pt")
    loaded = torch.load(tmp_path / "a.pt", weights_only=True)
    assert all(same(loaded[name], tensor) for name, tensor in young.items())


def test_npz_keeps_what_numpy_has_and_widens_the_rest(save, tmp_path):
    arrays = {
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(3, dtype=">f4"),
        "text": np.array(["a", "bc"]),
        "when": np.array(["2026-01-01"], "M8[D]"),
        "fields": np.array([(1, 2.0)], "i4,f8"),
        "half": np.float16(1.5),
        "c": np.array([1j]),
        "bfloat16": np.array([1.5, -2], ml_dtypes.bfloat16),
        "float8_e5m2": np.array([1.5, -2], ml_dtypes.float8_e5m2),
        "float8_e3m4": np.array([1.5, -2], ml_dtypes.float8_e3m4),
        "float4_e2m1fn": np.array([1.5, -2], ml_dtypes.float4_e2m1fn),
        "int4": np.array([-8, 7], ml_dtypes.int4),
        "uint2": np.array([3, 1], ml_dtypes.uint2),
    }
    holdfast.export(save("a", arrays), tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as loaded:
        for name, array in arrays.items():
            wider = {"int4": np.int8, "uint2": np.uint8}.get(name, np.float32)
            wide = array.astype(wider) if array.dtype.name in arrays else array
            assert loaded[name].dtype == wide.dtype
            np.testing.assert_array_equal(loaded[name], wide)
        assert loaded["f"].flags.f_contiguous


def test_big_endian_and_column_arrays_are_written_as_others_expect_them(save, tmp_path):
    arrays = {
        "big": np.arange(6, dtype=">i4").reshape(2, 3),
        "f": np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
    }
    place = save("a", arrays)
    holdfast.export(place, tmp_path / "a.safetensors")
    holdfast.export(place, tmp_path / "a.pt")
    loaded = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    tensors = torch.load(tmp_path / "a.pt", weights_only=True)
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)
        np.testing.assert_array_equal(tensors[name].numpy(), array)


def test_an_encoder_of_a_real_run_loads_into_the_module_it_came_from(tmp_path):
    models = graph()
    experiment(tmp_path, train(checkpointing=on_disk()), graph=models).run()
    newest = f"{tmp_path}/train/{bundles(tmp_path / 'train')[-1]}.ckpt.mml"
    for name in ("body.safetensors", "body.pt"):
        holdfast.export(newest, tmp_path / name, prefix="model_graph/body")
    done = holdfast.export(newest, tmp_path / "all.safetensors")
    assert done.arrays == ("body.0.weight", "body.0.bias", "head.weight", "head.bias")
    fresh = graph(seed=9)["body"].model
    safetensors.torch.load_model(fresh, tmp_path / "body.safetensors")
    other = graph(seed=9)["body"].model
    other.load_state_dict(torch.load(tmp_path / "body.pt", weights_only=True))
    for module in (fresh, other):
        for name, tensor in models["body"].model.state_dict().items():
            assert same(module.state_dict()[name], tensor)


def test_shards_have_an_index_as_transformers_reads_it(save, tmp_path):
    state = {f"layer{index}": {"weight": np.full(1000, index, np.float32)} for index in range(5)}
    done = holdfast.export(save("a", state), tmp_path / "model.safetensors", shard_bytes=9000)
    names = [os.path.basename(file) for file in done.files]
    assert names == [
        *(f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)),
        "model.safetensors.index.json",
    ]
    index = json.loads((tmp_path / names[-1]).read_text())
    assert index["metadata"]["total_size"] == 20_000
    assert list(index["weight_map"]) == [f"layer{number}.weight" for number in range(5)]
    for name, home in index["weight_map"].items():
        with safetensors.safe_open(tmp_path / home, "np") as file:
            assert file.metadata()["format"] == "pt"
            assert file.get_tensor(name)[0] == int(name[5])


def test_tied_weights_are_written_once_and_told(save, tmp_path):
    weight = torch.arange(4.0)
    place = save("a", {"decoder": {"weight": weight}, "encoder": {"weight": weight}})
    done = holdfast.export(place, tmp_path / "a.safetensors")
    assert done.tied == {"encoder.weight": "decoder.weight"}
    with safetensors.safe_open(tmp_path / "a.safetensors", "np") as file:
        assert list(file.keys()) == ["decoder.weight"]
        assert file.metadata() == {"format": "pt", "encoder.weight": "decoder.weight"}
    holdfast.export(place, tmp_path / "a.pt")
    loaded = torch.load(tmp_path / "a.pt", weights_only=True)
    assert loaded["encoder.weight"].data_ptr() == loaded["decoder.weight"].data_ptr()
    holdfast.export(place, tmp_path / "e.safetensors", prefix="encoder")  # whose bytes stand elsewhere
    assert torch.equal(safetensors.torch.load_file(tmp_path / "e.safetensors")["weight"], weight)


def test_names_are_dots_or_paths_and_never_two_alike(save, tmp_path):
    place = save("a", {"a": {"b/c": np.zeros(1), "d.e": np.ones(1)}, 1: np.ones(2)})
    assert holdfast.export(place, tmp_path / "d.npz").arrays == ("a.b/c", "a.d.e", "1")
    assert holdfast.export(place, tmp_path / "s.npz", names="slashes").arrays == ("a/b%2Fc", "a/d.e", "%i:1")
    assert holdfast.export(place, tmp_path / "o.npz", only="a/*.e").arrays == ("a.d.e",)
    twice = save("b", {"a.b": np.zeros(1), "a": {"b": np.ones(1)}})
    with pytest.raises(UsageError, match=r"two arrays would be named 'a\.b'"):
        holdfast.export(twice, tmp_path / "t.npz")
    holdfast.export(twice, tmp_path / "t.npz", names="slashes")


@pytest.mark.parametrize(
    "wrong",
    [
        {"out": "a.h5"},
        {"names": "commas"},
        {"shard_bytes": 0},
        {"only": "none"},
        {"prefix": "w/x"},
        {"out": "no/a.pt"},
    ],
)
def test_what_cannot_be_is_said_and_nothing_written(save, tmp_path, wrong):
    place = save("a", {"w": np.zeros(3)})
    options = {"out": "a.safetensors"} | wrong
    with pytest.raises(UsageError):
        holdfast.export(place, tmp_path / options.pop("out"), **options)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize(("ending", "array"), [("safetensors", np.array([1j])), ("pt", np.array(["a"]))])
def test_a_dtype_that_the_format_lacks_is_named(save, tmp_path, ending, array):
    with pytest.raises(UsageError, match=r"'w' is .*does not know"):
        holdfast.export(save("a", {"w": array}), tmp_path / f"a.{ending}")


def test_what_is_there_is_never_replaced_unless_requested(save, tmp_path):
    place = save("a", {"w": np.zeros(3)})
    (tmp_path / "a.npz").write_text("mine")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        holdfast.export(place, tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_text() == "mine"
    holdfast.export(place, tmp_path / "a.npz", overwrite=True)
    assert np.load(tmp_path / "a.npz")["w"].size == 3


def test_a_name_that_is_taken_meanwhile_is_not_replaced_and_half_a_set_not_left(tmp_path):
    with pytest.raises(FileExistsError), NewFiles(LocalDisk(), str(tmp_path)) as files:  # noqa: PT012
        files.create("one").write(b"1")
        files.create("two").write(b"2")
        (tmp_path / "two").write_text("theirs")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"two": "theirs"}


def test_a_full_disk_or_damage_leaves_nothing_and_the_old_file_as_it_was(save, tmp_path):
    place = save("a", {"w": np.zeros(5000)})
    out = tmp_path / "a.safetensors"
    out.write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for name in ("a.safetensors", "a.npz", "a.pt"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        try:
            with pytest.raises(SaveError, match="File too large"):
                holdfast.export(place, tmp_path / name, overwrite=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with bundle.Bundle(LocalDisk(), place) as opened:
        piece = opened.stored.pieces["w"][0]
    pack = Path(place, piece.file)
    data = bytearray(pack.read_bytes())
    data[-1] ^= 1
    pack.write_bytes(data)
    with pytest.raises(PieceDamagedError):
        holdfast.export(place, out, overwrite=True)
    assert out.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "runs"]


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["safetensors", "npz", "pt"])
def test_a_large_state_is_exported_and_imported_in_little_memory(save, tmp_path, ending):
    draw = np.random.default_rng(0)
    place = save("a", {f"w{index}": draw.integers(0, 9, 10_000_000).astype(np.float32) for index in range(5)})
    exported, imported = peak_memory.run(
        "import holdfast, torch, holdfast.exchange\n"
        "before = peak_bytes(); holdfast.export(sys.argv[1], sys.argv[2]); print(peak_bytes() - before)\n"
        "holdfast.import_checkpoint(sys.argv[2], sys.argv[3]); print(peak_bytes() - before)",
        *(place, tmp_path / f"a.{ending}", tmp_path / "back"),
    )
    assert 0 < exported < 32 << 20
    # The largest array has 40 MB; of a .pt pages of the file are mapped too, which the system can take back.
    assert imported < (360 if ending == "pt" else 140) << 20
