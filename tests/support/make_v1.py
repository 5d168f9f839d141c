"""Made the golden bundles of format version 1 in `tests/golden/v1/`, once: they must load for ever, so they are never made again.

`python -m tests.support.make_v1 DIRECTORY`. What they hold is written beside them by `described`, from the live values and without
reading any bundle. A kind of value that is added to the format gets a bundle of its own.
"""

from __future__ import annotations

import collections
import datetime
import json
import pathlib
import random
import shutil
import sys
import tempfile
from typing import Any

import ml_dtypes
import numpy as np
import torch

from holdfast import (
    Checkpointing,
    Dataset,
    Experiment,
    Loss,
    ModelGraph,
    ModelNode,
    TrainPhase,
    bundle,
    state,
)
from holdfast.records import CheckpointRecord, FileEntry, Moment
from holdfast.storage import LocalDisk
from tests.support.described import described

CREATED = "2026-01-02T03:04:05.000006+00:00"


def plain() -> dict[Any, Any]:
    return {
        "none": None,
        "truths": [True, False],
        "integers": [0, -1, 2**62, -(2**63), 2**63, -(10**400)],
        "floats": [0.1, -0.0, float("nan"), float("inf"), float("-inf"), 5e-324, 1e308],
        "complex": [1 - 2j, complex("nan")],
        "texts": ["", "é漢🙂", "a\0b\n", "\ud800", "x" * 2000],
        "bytes": [b"", b"\0\xff", bytes(range(256)) * 8, bytearray(b"abc")],
        "path": pathlib.Path("a/b"),
        "times": [
            datetime.datetime(2026, 1, 2, 3, 4, 5, 6, datetime.UTC),
            datetime.datetime(2026, 1, 2),
            datetime.date(2026, 1, 2),
            datetime.time(3, 4, 5, 6),
            datetime.timedelta(days=-1, microseconds=5),
        ],
        "nested": ({"x": (1, [2, (3,)])}, {4, "5", None}, frozenset({(6, 7)}), [], (), {}, set()),
        "collections": [
            collections.OrderedDict(b=1, a=2),
            collections.defaultdict(list, a=[1]),
            collections.Counter("aab"),
            collections.deque([1, 2], 5),
        ],
        "values": [range(1, 9, 3), slice(1, None, 2)],
        "__metadata__": {"a/b%[c]": 1, "": 2},
        7: {None: 1, True: 2, 2.5: 3, b"k": 4, (1, "x,y"): 5},
    }


def generators() -> dict[str, Any]:
    kinds = (np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64)
    made: dict[str, Any] = {kind.__name__: np.random.Generator(kind(5)) for kind in kinds}
    made |= {"python": random.Random(5), "torch": torch.Generator().manual_seed(5)}
    for each in made.values():
        torch.rand(3, generator=each) if isinstance(each, torch.Generator) else each.random()
    return made


def dtypes() -> dict[str, Any]:
    """Every element type, some shapes and both orders."""
    bits = np.random.default_rng(0).integers(0, 256, 96, np.uint8)
    names = ["i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8", "<c8", "<c16"]
    names += [">i4", ">f8", ">c8", "<M8[ns]", "<m8[s]", ">M8[D]", "<U3", ">U2", "S5", "V3", "<f16"]
    arrays = {
        name: bits.view(name) if 96 % np.dtype(name).itemsize == 0 else np.zeros(3, name) for name in names
    }
    arrays["<f16"] = np.array([0.1, -2], np.longdouble)  # its padding has no meaning
    arrays["<U3"], arrays[">U2"] = np.array(["abc", "é", ""]), np.array(["ab", "c"], ">U2")
    for name in (
        "bfloat16",
        "float8_e4m3fn",
        "float8_e5m2",
        "float8_e4m3fnuz",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
    ):
        arrays[name] = bits.view(getattr(ml_dtypes, name))
    for name in (
        "uint8",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint16",
        "uint32",
        "uint64",
        "float16",
        "bfloat16",
    ):
        arrays[f"torch {name}"] = torch.from_numpy(bits.copy()).view(getattr(torch, name))
    for name in ("float32", "float64", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2"):
        arrays[f"torch {name}"] = torch.from_numpy(bits.copy()).view(getattr(torch, name))
    fortran, tied = np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)), np.arange(5)
    return {
        **arrays,
        "bool": np.array([True, False]),
        "torch bool": torch.tensor([True, False]),
        "structured": np.array([(1, (2.5, "x"))], [("a", "i1"), ("b", [("c", ">f8"), ("d", "U3")])]),
        "subarray": np.zeros(2, [("a", "<f4", (2, 3))]),
        "C": np.arange(24.0).reshape(2, 3, 4),
        "F": fortran,
        "torch F": torch.arange(6.0).reshape(2, 3).t(),
        "0-d": np.array(2.5),
        "torch 0-d": torch.tensor(2.5),
        "scalar": np.float32(1.5),
        "empty": np.zeros((3, 0, 2), "i2"),
        "torch empty": torch.zeros(0, 2),
        "tied": [tied, tied, tied.copy()],
    }


def model() -> tuple[torch.nn.Module, torch.optim.Optimizer, Any]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    return model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)


def training() -> dict[str, Any]:
    built, optimizer, scheduler = model()
    for _ in range(3):
        optimizer.zero_grad()
        built(torch.randn(8, 4)).square().sum().backward()
        optimizer.step()
        scheduler.step()
    return {"model": built, "optimizer": optimizer, "scheduler": scheduler}


def training_described(parts: dict[str, Any]) -> Any:
    return {name: described({**part.state_dict()}) for name, part in parts.items()}


def shared() -> tuple[dict[str, Any], dict[str, Any]]:
    """Two states; the second needs most of the first one's pack, and leaves some of it dead."""
    frozen = np.arange(66 << 8, dtype=np.int32)
    return {"frozen": frozen, "dead": np.arange(500.0)}, {"frozen": frozen, "new": np.arange(7.0)}


def experiment(directory: str, seed: int = 0, n_epochs: int = 3) -> Experiment:
    torch.manual_seed(seed)
    rows = np.arange(64, dtype=np.float32).reshape(16, 4) / 64
    data = Dataset(pixels=rows, digit=np.arange(16) % 3)
    graph = ModelGraph(
        [
            ModelNode("body", torch.nn.Linear(4, 5), "pixels"),
            ModelNode("head", torch.nn.Linear(5, 3), "body"),
        ],
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.05),
    )
    loss = Loss("loss", torch.nn.functional.cross_entropy, output="head", target="digit")
    policy = Checkpointing(mode="disk", save_on="epoch_end", every_n=2)
    phase = TrainPhase(
        "train", data=data, losses=[loss], batch_size=4, n_epochs=n_epochs, checkpointing=policy
    )
    return Experiment("golden", graph, directory=directory).add(phase)


def weights_described(experiment: Experiment) -> Any:
    return {name: described({**experiment.graph[name].model.state_dict()}) for name in ("body", "head")}


def save(directory: pathlib.Path, name: str, value: Any, sharing: bundle.Sharing, seq: int = 1) -> None:
    moment = Moment(run="golden", hook="epoch_end", phase="train", epoch=2, step=30)
    draft = CheckpointRecord(
        id="0" * 32, name=name, kind="train", moment=moment, seq=seq, created=CREATED, tree=FileEntry("", 0, ""),
        packs=(), metrics={"loss": 0.1, "worst": float("nan")}, reason="golden", environment={"é": "x"},
    )  # fmt: skip
    bundle.save(LocalDisk(), str(directory), draft, state.capture(value), sharing)


def main(directory: pathlib.Path) -> None:
    expected = {}
    for make in (plain, generators, dtypes):
        value = make()
        expected[make.__name__] = described(value)
        save(directory, make.__name__, value, bundle.Sharing())
    parts = training()
    expected["training"] = training_described(parts)
    save(directory, "training", parts, bundle.Sharing())
    sharing, (first, second) = bundle.Sharing(), shared()
    save(directory / "elsewhere", "first", first, sharing)
    expected["shared"] = described(second)
    save(directory, "shared", second, sharing, seq=2)

    shutil.rmtree(directory / "elsewhere")
    with tempfile.TemporaryDirectory() as runs:
        shorter, run = experiment(f"{runs}/2", n_epochs=2), experiment(f"{runs}/3")
        shorter.run()
        expected["experiment at the checkpoint"] = weights_described(shorter)
        torch.manual_seed(0)
        run.run()
        expected["experiment at its end"] = weights_described(run)  # an epoch later
        shutil.copytree(f"{runs}/3/train/train_epoch1.ckpt.mml", directory / "experiment.ckpt.mml")
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in expected.items())
    (directory / "expected.json").write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
