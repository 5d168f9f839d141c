"""Files of other formats become checkpoints that hold the same bits; what is not safe or not sound is refused."""

from __future__ import annotations

import json
import struct
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import holdfast
from holdfast.errors import CheckpointExistsError, ForeignFileError, UsageError

TENSORS = {
    "layer.weight": torch.arange(6.0).reshape(2, 3),
    "half": torch.tensor([1.5, -2]).bfloat16(),
    "eight": torch.tensor([1.5]).to(torch.float8_e4m3fn),
    "n": torch.tensor(7),
    "empty": torch.zeros(0, 2),
}


def bits(value) -> bytes:
    return (
        value.contiguous().reshape(-1).view(torch.uint8).numpy() if isinstance(value, torch.Tensor) else value
    ).tobytes()


def load(out):
    with holdfast.open(out) as opened:
        assert opened.verify(deep=True) == []
        return opened.load()


def test_safetensors_come_in_bit_for_bit(tmp_path):
    safetensors.torch.save_file(TENSORS, tmp_path / "a.safetensors")
    record = holdfast.import_checkpoint(tmp_path / "a.safetensors", tmp_path / "a.ckpt.mml")
    state = load(tmp_path / "a.ckpt.mml")
    assert {name: bits(value) for name, value in state.items()} == {
        name: bits(value) for name, value in TENSORS.items()
    }
    assert state["layer.weight"].shape == (2, 3)
    assert (record.reason, record.seq, record.details) == (
        "import of a.safetensors",
        0,
        {"import": {"source": "a.safetensors"}},
    )
    with pytest.raises(CheckpointExistsError):
        holdfast.import_checkpoint(tmp_path / "a.safetensors", tmp_path / "a")


def test_pt_comes_in_with_its_structure_and_its_ties(tmp_path):
    tensors = {
        name: tensor for name, tensor in TENSORS.items() if name != "eight"
    }  # too young for the old format
    value = {"model": tensors | {"tied": tensors["layer.weight"]}, "epoch": 3, "rates": [0.1, None]}
    for name, options in (("new.pt", {}), ("old.pt", {"_use_new_zipfile_serialization": False})):
        torch.save(value, tmp_path / name, **options)
        holdfast.import_checkpoint(tmp_path / name, tmp_path / name)
        state = load(tmp_path / f"{name}.ckpt.mml")
        assert state["epoch"] == 3
        assert state["rates"] == [0.1, None]
        for key, tensor in tensors.items():
            assert state["model"][key].dtype == tensor.dtype
            assert bits(state["model"][key]) == bits(tensor)
        assert state["model"]["tied"] is state["model"]["layer.weight"]


def test_a_pt_that_would_run_code_is_refused(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save({"x": Hostile()}, tmp_path / "a.pt")
    with pytest.raises(ForeignFileError, match="would run code"):
        holdfast.import_checkpoint(tmp_path / "a.pt", tmp_path / "a")
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "a.ckpt.mml").exists()


@pytest.mark.medium
def test_npz_comes_in_compressed_or_not(tmp_path):
    arrays = {
        "a": np.arange(6.0).reshape(2, 3),
        "f": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "big": np.arange(2, dtype=">f4"),
    }
    arrays |= {
        "text": np.array(["ab"]),
        "long": np.arange(1_200_000, dtype=np.float32),
        "scalar": np.float64(2),
    }
    for save, name in ((np.savez, "a.npz"), (np.savez_compressed, "b.npz")):
        save(tmp_path / name, **arrays)
        holdfast.import_checkpoint(tmp_path / name, tmp_path / name)
        state = load(tmp_path / f"{name}.ckpt.mml")
        for key, array in arrays.items():
            assert state[key].dtype == array.dtype
            np.testing.assert_array_equal(state[key], array)


def test_objects_in_an_npz_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{}], object))
    with pytest.raises(ForeignFileError, match="'x'"):
        holdfast.import_checkpoint(tmp_path / "a.npz", tmp_path / "a")


@pytest.mark.parametrize("ending", ["safetensors", "pt", "npz"])
def test_what_was_exported_comes_back_the_same(save, tmp_path, ending):
    arrays = {"a/b": torch.arange(5.0), "c": torch.arange(4).reshape(2, 2), "d": {"e": torch.tensor(1.5)}}
    holdfast.export(save("a", arrays), tmp_path / f"a.{ending}", names="slashes")
    holdfast.import_checkpoint(tmp_path / f"a.{ending}", tmp_path / "back")
    state = load(tmp_path / "back.ckpt.mml")
    assert {name: bits(value) for name, value in state.items()} == {
        "a%2Fb": bits(arrays["a/b"]),
        "c": bits(arrays["c"]),
        "d/e": bits(arrays["d"]["e"]),
    }


def test_shards_come_in_together_and_tied_names_come_back(save, tmp_path):
    weight = torch.arange(1000.0)
    state = {"a": weight, "b": torch.ones(1000), "tied": weight}
    holdfast.export(save("a", state), tmp_path / "m.safetensors", shard_bytes=4000)
    for source in (tmp_path, tmp_path / "m.safetensors.index.json"):
        holdfast.import_checkpoint(source, tmp_path / "back", overwrite=True)
        back = load(tmp_path / "back.ckpt.mml")
        assert back.keys() == state.keys()
        assert back["tied"] is back["a"]
        assert bits(back["a"]) == bits(weight)
    index = json.loads((tmp_path / "m.safetensors.index.json").read_text())
    index["weight_map"]["a"] = "../../outside.safetensors"
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ForeignFileError, match=r"not a \.safetensors file beside it"):
        holdfast.import_checkpoint(tmp_path, tmp_path / "back", overwrite=True)


def header(table: object, data: bytes = b"") -> bytes:
    text = json.dumps(table).encode() if not isinstance(table, bytes) else table
    return struct.pack("<Q", len(text)) + text + data


F32 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        struct.pack("<Q", 1 << 60) + b"{}",
        header(b"{" * 1000, b""),
        header(b'{"a":1,"a":2}'),
        header([]),
        header({"a": F32}),
        header({"a": F32}, b"12345"),
        header({"a": F32, "b": F32}, b"1234"),
        header({"a": F32 | {"dtype": "OBJECT"}}, b"1234"),
        header({"a": F32 | {"shape": [2**62, 4]}}, b"1234"),
        header({"a": F32 | {"shape": [-1]}}, b"1234"),
        header({"a": F32 | {"data_offsets": [4, 0]}}, b"1234"),
        header({"a": {}}, b"1234"),
        header({"a": F32 | {"data_offsets": [4, 8]}}, b"12345678"),
    ],
)
def test_a_malformed_safetensors_is_refused_and_nothing_written(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(ForeignFileError):
        holdfast.import_checkpoint(tmp_path / "a.safetensors", tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@settings(max_examples=60)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_error_of_ours(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("any")
    for ending in ("safetensors", "npz", "pt", "safetensors.index.json"):
        (folder / f"a.{ending}").write_bytes(content)
        with pytest.raises(ForeignFileError):
            holdfast.import_checkpoint(folder / f"a.{ending}", folder / "a")


def test_an_npz_that_claims_more_than_it_holds_takes_no_memory(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, archive.open("x.npy", "w") as file:
        fields = {"descr": "<f8", "fortran_order": False, "shape": (1 << 50,)}
        np.lib.format.write_array_header_1_0(file, fields)
    with pytest.raises(ForeignFileError, match="does not have the size of its shape"):
        holdfast.import_checkpoint(tmp_path / "a.npz", tmp_path / "a")


def test_what_is_unknown_is_said_to_be(tmp_path):
    (tmp_path / "a.h5").touch()
    for source in ("a.h5", "nowhere.pt", "."):
        with pytest.raises(UsageError):
            holdfast.import_checkpoint(tmp_path / source, tmp_path / "a")


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")  # of torch 2.4 itself
def test_a_dcp_directory_comes_in_if_it_is_trusted(tmp_path):
    from torch.distributed import checkpoint as dcp

    state = {
        "model": {"weight": torch.arange(6.0).reshape(2, 3), "half": torch.ones(3).bfloat16()},
        "epoch": 3,
    }
    with pytest.warns(UserWarning, match="single process"):
        dcp.save(state, checkpoint_id=tmp_path / "dcp")
    with pytest.raises(UsageError, match="--trusted"):
        holdfast.import_checkpoint(tmp_path / "dcp", tmp_path / "a")
    holdfast.import_checkpoint(tmp_path / "dcp", tmp_path / "a", trusted=True)
    back = load(tmp_path / "a.ckpt.mml")
    assert back.keys() == {"model.weight", "model.half", "epoch"}
    assert back["epoch"] == 3
    assert bits(back["model.weight"]) == bits(state["model"]["weight"])
    assert bits(back["model.half"]) == bits(state["model"]["half"])


@pytest.mark.leaves_threads
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_an_orbax_directory_comes_in(tmp_path):
    orbax = pytest.importorskip("orbax.checkpoint")
    tree = {
        "params": {"dense": {"kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3), "bias": np.ones(3)}},
        "step": 7,
    }
    orbax.PyTreeCheckpointer().save(tmp_path / "plain", tree)
    with orbax.StandardCheckpointer() as writer:
        writer.save(tmp_path / "standard", tree)
    with orbax.CheckpointManager(tmp_path / "manager") as manager:
        manager.save(4, args=orbax.args.StandardSave(tree))
    for source in ("plain", "standard", "manager/4"):
        holdfast.import_checkpoint(tmp_path / source, tmp_path / "a", overwrite=True)
        back = load(tmp_path / "a.ckpt.mml")
        np.testing.assert_array_equal(back["params"]["dense"]["kernel"], tree["params"]["dense"]["kernel"])
        assert back["step"] == 7
