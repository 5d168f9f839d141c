"""Files as people have them: endings of all kinds, folders of hubs and managers, and damaged ones, which are named in every error."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.distributed.checkpoint

import holdfast
from holdfast.errors import ForeignFileError, UsageError

WEIGHTS = {"w": torch.arange(4.0).reshape(2, 2)}


def imported(source: Path, tmp_path: Path) -> Any:
    holdfast.import_checkpoint(source, tmp_path / "out", overwrite=True)
    return holdfast.load(tmp_path / "out")


@pytest.mark.parametrize(
    "name", ["a.pt", "a.pth", "a.bin", "a.ckpt", "a.tar", "model_best.pth.tar", "epoch=3-step=40.ckpt"]
)
def test_what_torch_wrote_comes_in_whatever_its_ending(name, tmp_path):
    torch.save({"epoch": 3, "state_dict": WEIGHTS}, tmp_path / name)
    state = imported(tmp_path / name, tmp_path)
    assert state["epoch"] == 3
    assert torch.equal(state["state_dict"]["w"], WEIGHTS["w"])


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.float32(2),
        np.array(["ab"]),
        np.zeros(3, [("a", "<f8")]),
    ],
    ids=["C", "Fortran", "scalar", "text", "structured"],
)
def test_an_npy_comes_in_as_its_array(array, tmp_path):
    np.save(tmp_path / "a.npy", array)
    found = imported(tmp_path / "a.npy", tmp_path)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


def save_safetensors(place: Path) -> None:
    safetensors.torch.save_file(WEIGHTS, place)


def save_torch(place: Path) -> None:
    torch.save(WEIGHTS, place)


def save_other(place: Path) -> None:
    torch.save({"other": torch.zeros(1)}, place)


@pytest.mark.parametrize(
    "files",
    [
        {"model.safetensors": save_safetensors},
        {"adapter_model.safetensors": save_safetensors},
        {"pytorch_model.bin": save_torch, "training_args.bin": save_other},
        {"model.safetensors": save_safetensors, "pytorch_model.bin": save_other},
    ],
    ids=["a model", "an adapter", "of torch", "both"],
)
def test_a_folder_with_one_file_of_weights_is_that_file(files, tmp_path):
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    for name, write in files.items():
        write(folder / name)
    assert torch.equal(torch.as_tensor(imported(folder, tmp_path)["w"]), WEIGHTS["w"])


def test_a_folder_with_two_files_of_weights_says_which_there_are(tmp_path):
    for name in ("model.safetensors", "model_1.safetensors"):
        save_safetensors(tmp_path / name)
    with pytest.raises(
        UsageError, match=r"it holds model\.safetensors, model_1\.safetensors: import one, such as"
    ):
        holdfast.import_checkpoint(tmp_path, tmp_path / "out")


# Damaged and odd files


def zipped(*members: tuple[str, bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def flipped(content: bytes, start: int, end: int) -> bytes:
    return content[:start] + bytes(byte ^ 0xFF for byte in content[start:end]) + content[end:]


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def safetensors_of(table: Any, body: bytes = b"") -> bytes:
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text + body


def of_torch(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def nested(depth: int) -> Any:
    value: Any = torch.ones(1)
    for _ in range(depth):
        value = [value]
    return value


BIG = npy(np.arange(5000.0))
ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
ODD: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "deflated and flipped": (
        "npz",
        lambda: flipped(zipped(("a.npy", BIG), kind=zipfile.ZIP_DEFLATED), 50, 90),
        "'a': Error -3",
    ),
    "LZMA and flipped": (
        "npz",
        lambda: flipped(zipped(("a.npy", BIG), kind=zipfile.ZIP_LZMA), 50, 90),
        "'a': Corrupt",
    ),
    "BZip2 and flipped": (
        "npz",
        lambda: flipped(zipped(("a.npy", BIG), kind=zipfile.ZIP_BZIP2), 50, 90),
        "'a': Invalid data",
    ),
    "flipped in its last array": (
        "npz",
        lambda: flipped(zipped(("a.npy", BIG)), 30_000, 30_001),
        "'a' cannot be read: Bad CRC",
    ),
    "a member twice": (
        "npz",
        lambda: zipped(("b.npy", BIG), ("a.npy", BIG), ("a.npy", BIG)),
        "it holds 'a.npy' 2 times",
    ),
    "a header of other keys": ("npz", lambda: zipped(("a.npy", header("{1: 2, 'descr': '<f8'}"))), "'a': "),
    "a header that cannot be": ("npz", lambda: zipped(("a.npy", header("{[]: 1}"))), "'a': unhashable"),
    "a deep header": (
        "npz",
        lambda: zipped(("a.npy", header("(" * 5000 + ")" * 5000))),
        "'a': Cannot parse header",
    ),
    "a size below nothing": (
        "npz",
        lambda: zipped(
            ("a.npy", header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1)}") + bytes(8))
        ),
        "'a' does not have the size",
    ),
    "an array cut off": ("npy", lambda: BIG[:-5], "its array does not have the size"),
    "an array of objects": (
        "npy",
        lambda: npy(np.array([{}], object)),
        "its array: arrays of Python objects",
    ),
    "no array": ("npy", lambda: b"", "its array: "),
    "metadata that are a list": (
        "safetensors",
        lambda: safetensors_of({"__metadata__": {"x": [1]}, "a": ONE}, b"1234"),
        "its metadata",
    ),
    "metadata that are a table": (
        "safetensors",
        lambda: safetensors_of({"__metadata__": {"x": {}}, "a": ONE}, b"1234"),
        "its metadata",
    ),
    "a deep table": ("safetensors", lambda: safetensors_of(b"[" * 100_000), "nested 100000 deep"),
    "a layout as a key": (
        "pt",
        lambda: of_torch({torch.strided: 1}),
        "is a torch.layout, which cannot be saved",
    ),
    "deep lists": ("pt", lambda: of_torch({"x": nested(300)}), "nested deeper than 100 levels"),
    "a quantized tensor": (
        "pt",
        lambda: of_torch({"x": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}),
        "qint8, which cannot be saved",
    ),
    "a tensor cut off": ("pt", lambda: of_torch(WEIGHTS)[:300], "."),
    "nothing of torch": ("pth.tar", lambda: b"", "EOFError"),
}


@pytest.mark.filterwarnings(
    "ignore:.*TypedStorage is deprecated", "ignore:.*quantiz", "ignore:Duplicate name"
)
@pytest.mark.parametrize("case", ODD)
def test_an_odd_file_is_named_with_what_is_wrong_and_nothing_is_written(case, tmp_path):
    ending, make, why = ODD[case]
    (tmp_path / f"odd.{ending}").write_bytes(make())
    with pytest.raises(ForeignFileError, match=rf"odd\.{ending} cannot be imported: ") as caught:
        holdfast.import_checkpoint(tmp_path / f"odd.{ending}", tmp_path / "out")
    assert why in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == [f"odd.{ending}"]


@pytest.mark.parametrize("at", [*range(30, 460, 17)])
def test_whatever_byte_of_an_npz_is_wrong_it_is_our_error_or_the_arrays(at, tmp_path):
    file = io.BytesIO()
    np.savez_compressed(file, a=np.arange(100.0), b=np.ones((3, 4)))
    (tmp_path / "a.npz").write_bytes(flipped(file.getvalue(), at, at + 1))
    with contextlib.suppress(ForeignFileError):
        for found in imported(tmp_path / "a.npz", tmp_path).values():
            assert any(np.array_equal(found, array) for array in (np.arange(100.0), np.ones((3, 4))))


# Orbax


@pytest.mark.leaves_threads
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_of_several_checkpoints_and_items_of_orbax_it_says_which_there_are(tmp_path):
    orbax = pytest.importorskip("orbax.checkpoint")
    tree = {"w": np.arange(3.0)}
    names = ("params", "opt", "about")
    with orbax.CheckpointManager(tmp_path / "several", item_names=names) as manager:
        for step in (3, 10):
            items = {
                "params": orbax.args.StandardSave(tree),
                "opt": orbax.args.StandardSave({"m": np.zeros(2)}),
                "about": orbax.args.JsonSave({"a": 1}),
            }
            manager.save(step, args=orbax.args.Composite(**items))
    with orbax.CheckpointManager(tmp_path / "single", item_names=("params",)) as manager:
        manager.save(7, args=orbax.args.Composite(params=orbax.args.StandardSave(tree)))
    with pytest.raises(UsageError, match=r"the checkpoints 3, 10 of Orbax: import one, such as .*/10\."):
        imported(tmp_path / "several", tmp_path)
    with pytest.raises(UsageError, match=r"has the items 'opt', 'params': import one, such as .*/opt\."):
        imported(tmp_path / "several" / "10", tmp_path)
    for source in ("several/10/params", "several/3/params", "single/7", "single"):
        np.testing.assert_array_equal(imported(tmp_path / source, tmp_path)["w"], tree["w"])


OLD = 77
KERAS = """
import os
os.environ["KERAS_BACKEND"] = "jax"
import sys
import keras
import numpy as np
if not hasattr(keras.callbacks, "OrbaxCheckpoint"):
    sys.exit(77)
model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
model.compile("adam", "mse")
saving = keras.callbacks.OrbaxCheckpoint(directory=sys.argv[1], save_freq="epoch", max_to_keep=None)
model.fit(np.ones((8, 3)), np.ones((8, 2)), epochs=2, verbose=0, callbacks=[saving])
np.save(sys.argv[2], model.layers[0].kernel)
"""


@pytest.mark.leaves_threads
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_what_keras_saved_by_orbax_comes_in_without_how_to_build_the_model(tmp_path):
    for needed in ("keras", "jax", "orbax.checkpoint"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"needs {needed}")
    command = [sys.executable, "-c", KERAS, tmp_path / "keras", tmp_path / "kernel.npy"]
    done = subprocess.run(command, check=False, timeout=200)
    if done.returncode == OLD:
        pytest.skip("an older Keras")
    done.check_returncode()
    newest = max((tmp_path / "keras").iterdir(), key=lambda step: int(step.name))
    state = imported(newest, tmp_path)
    (kernel,) = (each["kernel"] for each in state["trainable_variables"]["sequential"].values())
    np.testing.assert_array_equal(kernel, np.load(tmp_path / "kernel.npy"))


def test_a_header_that_ends_in_the_middle_and_a_torn_directory_of_torch_are_our_errors(tmp_path):
    """NumPy parses a header by `tokenize`; DCP raises what is no `Exception`."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (3L,"
    np.save(tmp_path / "a.npy", np.zeros(3))
    raw = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(raw[:10] + header.ljust(len(raw[10:128])) + raw[128:])
    with pytest.raises(ForeignFileError, match=r"a\.npy"):
        holdfast.import_checkpoint(tmp_path / "a.npy", tmp_path / "out")
    with pytest.warns(UserWarning, match="single process"):
        torch.distributed.checkpoint.save(WEIGHTS, checkpoint_id=tmp_path / "dcp")
    (data,) = (tmp_path / "dcp").glob("*.distcp")
    data.write_bytes(data.read_bytes()[:40])
    with pytest.raises(ForeignFileError, match="torch cannot read it"):
        holdfast.import_checkpoint(tmp_path / "dcp", tmp_path / "out", trusted=True)
    assert not (tmp_path / "out.ckpt.mml").exists()
