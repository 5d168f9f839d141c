"""Tensors of every dtype, layout and kind that torch can copy; modules under canonical names."""

import logging
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from holdfast.errors import StateMismatchError, UnsupportedStateError
from holdfast.records import Alias
from holdfast.state import capture, digest, find, rebuild, restore

DTYPES = [
    dtype
    for name in [
        "bool",
        "uint8",
        "int8",
        "int16",
        "uint16",
        "int32",
        "uint32",
        "int64",
        "uint64",
        "float16",
        "bfloat16",
        "float32",
        "float64",
        "complex32",
        "complex64",
        "complex128",
        "float8_e4m3fn",
        "float8_e5m2",
        "float8_e4m3fnuz",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
        "float4_e2m1fn_x2",
    ]
    if (dtype := getattr(torch, name, None)) is not None
]


def raw(tensor: torch.Tensor) -> bytes:
    dense = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return dense.view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def sample(dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    size = int(np.prod(shape)) * dtype.itemsize
    data = torch.arange(size, dtype=torch.uint8) % (2 if dtype == torch.bool else 251)
    return data.view(dtype).reshape(shape)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tensor_of_any_dtype_and_shape_comes_back_bit_for_bit(dtype, shape):
    tensor = sample(dtype, shape)
    snapshot = capture({"x": tensor})
    again = rebuild(snapshot)["x"]
    assert (again.dtype, again.shape, raw(again)) == (tensor.dtype, tensor.shape, raw(tensor))
    assert not again._is_view()  # which torch would not let be detached or given another size in place
    live = torch.zeros(tensor.nbytes, dtype=torch.uint8).view(dtype).reshape(shape)
    restore(snapshot, {"x": live})
    assert raw(live) == raw(tensor)


VIEWS: dict[str, Any] = {
    "transposed": lambda t: t.transpose(0, 2),
    "reversed axes": lambda t: t.permute(2, 1, 0),
    "strided": lambda t: t[:, ::2],
    "offset": lambda t: t[1:, 1:, 1:],
    "expanded": lambda t: t[:1].expand(3, -1, -1),
    "channels last": lambda t: t[None].to(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_saves_its_own_elements_in_their_order(view):
    tensor = VIEWS[view](torch.randn(3, 4, 5))
    snapshot = capture({"x": tensor})
    assert snapshot.size_bytes == tensor.numel() * 4
    assert torch.equal(rebuild(snapshot)["x"], tensor)
    live = VIEWS[view](torch.zeros(3, 4, 5))
    if view == "expanded":
        with pytest.raises(StateMismatchError, match="expanded"):
            restore(snapshot, {"x": live})
    else:
        restore(snapshot, {"x": live})
        assert torch.equal(live, tensor)
    plain = torch.zeros(tensor.shape)
    restore(snapshot, {"x": plain})
    assert torch.equal(plain, tensor)
    assert digest(capture({"x": plain})) == digest(snapshot)


@pytest.mark.filterwarnings("ignore:ComplexHalf")
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex32])
def test_conjugate_and_negative_views_save_what_they_show(dtype):
    tensor = sample(dtype, (3,))
    for view in (tensor.conj(), tensor.conj().imag):
        assert raw(rebuild(capture([view]))[0]) == raw(view)
    live = torch.zeros(3, dtype=dtype).conj()
    restore(capture([tensor]), [live])
    assert torch.equal(torch.view_as_real(live.resolve_conj()), torch.view_as_real(tensor))


def test_a_restore_is_an_in_place_change_that_autograd_sees():
    weight = torch.ones(3, requires_grad=True)
    squared = (weight * weight).sum()
    restore(capture({"w": torch.zeros(3)}), {"w": weight})
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        squared.backward()


def test_tied_weights_are_saved_once_and_come_back_tied():
    model = nn.Module()
    model.a, model.b = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    model.b.weight = model.a.weight
    snapshot = capture({"model": model})
    assert snapshot.tree["model"].state["b.weight"] == Alias("model/a.weight")
    assert snapshot.size_bytes == 36
    again = rebuild(snapshot)["model"]
    assert again["a.weight"] is again["b.weight"]
    assert find(snapshot.tree, "model/b.weight") == find(snapshot.tree, "model/a.weight")


def quantized() -> torch.Tensor:
    with warnings.catch_warnings(action="ignore"):  # deprecated, and still met
        return torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (torch.empty(2, device="meta"), "meta device"),
        (quantized(), "qint8"),
        (nn.LazyLinear(3), "not initialised"),
    ],
)
def test_tensors_without_bytes_of_their_own_are_refused_by_path(value, kind):
    with pytest.raises(UnsupportedStateError, match=kind) as caught:
        capture({"net": {"x": value}})
    assert caught.value.path.startswith("net/x")


class MyParameter(nn.Parameter):
    """A parameter with a class of its own."""


def test_a_subclass_of_parameter_is_a_parameter():
    model = nn.Linear(2, 2)
    model.weight = MyParameter(torch.ones(2, 2))
    other = nn.Linear(2, 2)
    other.weight = weight = MyParameter(torch.zeros(2, 2))
    restore(capture({"m": model}), {"m": other})
    assert other.weight is weight
    assert torch.equal(weight, torch.ones(2, 2))


class Counting(nn.Module):
    """Extra state, a plain attribute, a buffer that is not persistent."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls
        self.register_buffer("cache", torch.zeros(1), persistent=False)

    def get_extra_state(self) -> dict[str, Any]:
        return {"calls": self.calls, "trace": torch.full((2,), float(self.calls))}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.calls = state["calls"] + int(state["trace"][0])


def test_extra_state_goes_through_the_modules_own_loader():
    other = nn.Sequential(Counting(0))
    restore(capture({"m": nn.Sequential(Counting(3))}), {"m": other})
    assert other[0].calls == 6


def test_what_a_module_leaves_out_is_listed_once(caplog):
    class Listed(Counting):
        pass

    with caplog.at_level(logging.INFO, "holdfast"):
        capture(nn.Sequential(Listed(1), Listed(2)))
        capture(Listed(3))
    assert [record.getMessage() for record in caplog.records] == [
        "Listed: not saved (plain attributes, non-persistent buffers): ['cache', 'calls']"
    ]


class _Named(nn.Module):
    """Names that look like those of wrappers, and are not."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Linear(2, 2)
        self._orig_mod = nn.Linear(2, 2)


def test_wrappers_are_recognised_by_type_and_never_by_name():
    inner = nn.Sequential(nn.Linear(2, 2), _Named())
    expected = set(inner.state_dict())
    wrapped = nn.DataParallel(
        nn.Sequential(torch.compile(inner[0], backend="eager"), nn.DataParallel(inner[1]))
    )
    tree = capture({"m": wrapped}).tree
    assert set(tree["m"].state) == expected
    other = nn.Sequential(nn.Linear(2, 2), _Named())
    restore(capture({"m": wrapped}), {"m": other})
    assert digest(capture({"m": other})) == digest(capture({"m": wrapped}))
    for parameter in other.parameters():
        parameter.data.zero_()
    restore(capture({"m": other}), {"m": wrapped})
    assert all(not parameter.any() for parameter in inner.parameters())


def test_a_numpy_array_fits_a_tensor_of_its_dtype_and_the_other_way_round():
    tensor, array = torch.zeros(3), np.zeros(3, "f4")
    restore(capture({"x": np.ones(3, "f4")}), {"x": tensor})
    restore(capture({"x": tensor}), {"x": array})
    assert array.tolist() == [1, 1, 1]
