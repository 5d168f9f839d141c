"""Sparse and nested tensors come back as what they were, in the live object; what has no bytes of its own is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import holdfast
from holdfast import state
from holdfast.errors import CheckpointDamagedError, StateMismatchError, UnsupportedStateError
from holdfast.records import Object

pytestmark = [
    pytest.mark.filterwarnings("ignore:Sparse"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
    pytest.mark.filterwarnings("ignore:torch.quantize"),
]
LAYOUTS = ["coo", "csr", "csc", "bsr", "bsc"]


def sparse(layout: str, dense: torch.Tensor) -> Any:
    if layout == "coo":
        return dense.to_sparse()
    block = {"blocksize": (2, 2)} if layout.startswith("b") else {}
    return getattr(dense, f"to_sparse_{layout}")(**block)


def dense(fill: float = 1.0) -> torch.Tensor:
    return fill * torch.tensor([[0.0, 2, 0, 0], [1, 0, 0, 3]], dtype=torch.float64)


def same(left: Any, right: Any) -> bool:
    return (
        (left.layout, left.shape, left.dtype) == (right.layout, right.shape, right.dtype)
        and state.digest(state.capture(left)) == state.digest(state.capture(right))
        and torch.equal(left.to_dense(), right.to_dense())
    )


def jagged(*lengths: int, fill: float = 1.0) -> Any:
    rows = [fill * (1 + torch.arange(2.0 * length).reshape(length, 2)) for length in lengths]
    return torch.nested.nested_tensor(rows, layout=torch.jagged)


def equal_nested(left: Any, right: Any) -> bool:
    pairs = zip(left.unbind(), right.unbind(), strict=True)
    return left.layout == right.layout and all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_sparse_tensor_comes_back_in_its_memory_or_in_a_new_one(tmp_path, layout):
    value = sparse(layout, dense())
    place = holdfast.save(tmp_path / "it", {"it": value, "again": value})
    found = holdfast.load(place)
    assert same(found["it"], value)
    assert found["it"].values().data_ptr() == found["again"].values().data_ptr()
    as_many, fewer = sparse(layout, dense(5)), sparse(layout, torch.eye(2, 4, dtype=torch.float64))
    memory = as_many.values().data_ptr()
    for live in (as_many, fewer):
        into = {"it": live, "again": live}
        holdfast.load(place, into=into)
        assert into["it"] is live
        assert same(live, value)
    assert as_many.values().data_ptr() == memory
    with holdfast.open(place) as opened:
        assert opened.verify(deep=True) == []
        assert np.array_equal(opened.load(mmap=True)["it/values"], value.values().numpy())


def test_what_was_not_coalesced_stays_so(tmp_path):
    twice = torch.sparse_coo_tensor(torch.tensor([[1, 1], [0, 0]]), torch.tensor([1.0, 2]), (2, 2))
    live = torch.sparse_coo_tensor(torch.tensor([[0, 1], [1, 0]]), torch.tensor([5.0, 6]), (2, 2)).coalesce()
    holdfast.load(holdfast.save(tmp_path / "it", {"it": twice}), into={"it": live})
    assert not live.is_coalesced()
    assert live._values().tolist() == [1, 2]
    holdfast.load(holdfast.save(tmp_path / "other", {"it": twice.coalesce()}), into={"it": live})
    assert live.is_coalesced()


def test_what_changes_after_a_capture_does_not_reach_it():
    value, nested = sparse("csr", dense()), jagged(2, 3)
    taken = state.capture({"sparse": value, "nested": nested})
    before = state.digest(taken)
    value.values().zero_()
    nested.values().zero_()
    assert state.digest(taken) == before
    assert state.rebuild(taken)["sparse"].values().tolist() == [2, 1, 3]
    assert state.digest(state.capture({"sparse": value, "nested": nested})) != before


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (lambda: sparse("csc", dense()), "a sparse_csr tensor was saved, the live one is a sparse_csc"),
        (
            lambda: sparse("csr", dense().t()),
            r"float64 \[2, 4\] with indices int64 was saved, the live one is float64 \[4, 2\]",
        ),
        (lambda: sparse("csr", dense().float()), r"float64 \[2, 4\] .* the live one is float32"),
        (lambda: dense(), "the live value is a Tensor"),
    ],
)
def test_what_does_not_fit_a_sparse_tensor_is_named(other, why):
    other = other()
    before = state.digest(state.capture(other))
    with pytest.raises(StateMismatchError, match=why):
        state.restore(state.capture({"it": sparse("csr", dense())}), {"it": other})
    assert state.digest(state.capture(other)) == before
    with pytest.raises(StateMismatchError, match="was saved"):
        state.restore(state.capture({"it": dense()}), {"it": sparse("csr", dense())})


def test_one_sparse_tensor_cannot_become_two(tmp_path):
    place = holdfast.save(tmp_path / "it", {"a": sparse("coo", dense()), "b": sparse("coo", dense(2))})
    live = sparse("coo", dense())
    with pytest.raises(StateMismatchError, match="their saved values differ"):
        holdfast.load(place, into={"a": live, "b": live})


class Forms(nn.Module):
    def __init__(self, fill: float, *lengths: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(sparse("csr", dense(fill)))
        self.register_buffer("mask", sparse("coo", dense(fill) * (1 if fill > 1 else dense())))
        self.register_buffer("batch", jagged(*lengths, fill=fill))


@pytest.mark.parametrize("lengths", [(2, 3), (1, 4)])
def test_a_module_holds_them_too(tmp_path, lengths):
    value, live = Forms(2.0, 2, 3), Forms(1.0, *lengths)
    weight = live.weight
    holdfast.load(holdfast.save(tmp_path / "it", {"it": value}), into={"it": live})
    assert live.weight is weight
    assert weight.requires_grad
    assert same(live.weight, value.weight)
    assert same(live.mask, value.mask)
    assert equal_nested(live.batch, value.batch)
    (live.weight @ torch.ones(4, 1, dtype=torch.float64)).sum().backward()
    assert live.weight.grad is not None


def test_a_jagged_tensor_comes_back_with_its_lengths(tmp_path):
    value, other = jagged(2, 3), None
    other = torch.nested.nested_tensor_from_jagged(value.values() + 1, value.offsets())
    place = holdfast.save(tmp_path / "it", {"it": value, "other": other})
    found = holdfast.load(place)
    assert equal_nested(found["it"], value)
    assert equal_nested(
        found["it"] + found["other"], value + other
    )  # they share their offsets, as torch demands
    live = {"it": jagged(2, 3, fill=7), "other": jagged(1, 4)}
    as_long, memory = live["it"], live["it"].values().data_ptr()
    holdfast.load(place, into=live)
    assert live["it"] is as_long
    assert as_long.values().data_ptr() == memory
    assert equal_nested(live["it"], value)
    assert equal_nested(live["other"], other)


def test_a_jagged_tensor_with_gaps_or_turned_comes_back(tmp_path):
    starts, lengths = torch.tensor([0, 1, 2]), torch.tensor([2, 2, 3])
    gaps = torch.nested.narrow(torch.arange(15.0).reshape(3, 5), 1, starts, lengths, layout=torch.jagged)
    turned = jagged(2, 3).transpose(1, 2)
    found = holdfast.load(holdfast.save(tmp_path / "it", {"gaps": gaps, "turned": turned}))
    assert equal_nested(found["gaps"], gaps)
    assert equal_nested(found["turned"], turned)


def test_a_strided_nested_tensor_comes_back_in_place(tmp_path):
    value = torch.nested.nested_tensor([torch.arange(2.0), torch.arange(3.0)])
    place = holdfast.save(tmp_path / "it", {"it": value})
    assert equal_nested(holdfast.load(place)["it"], value)
    live = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    holdfast.load(place, into={"it": live})
    assert equal_nested(live, value)
    with pytest.raises(StateMismatchError, match=r"it/1: an array float32 \[3\] was saved"):
        holdfast.load(place, into={"it": torch.nested.nested_tensor([torch.ones(2), torch.ones(4)])})


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (lambda: jagged(2, 3, 1), r"of 2 components float32 \[\*, 2\] was saved, the live one is of 3"),
        (lambda: jagged(2, 3).double(), r"is of 2 components float64"),
        (lambda: nn.Parameter(jagged(1, 4)), "had other lengths"),
    ],
)
def test_what_does_not_fit_a_jagged_tensor_is_named(other, why):
    with pytest.raises(StateMismatchError, match=why):
        state.restore(state.capture({"it": jagged(2, 3)}), {"it": other()})


class Changed:
    """A snapshot whose tree says something else of its bytes."""

    def __init__(self, taken: Any, about: dict[str, Any], swap: tuple[str, str] | None = None) -> None:
        it = taken.tree["it"]
        parts = dict(it.state)
        if swap is not None:
            parts[swap[0]], parts[swap[1]] = parts[swap[1]], parts[swap[0]]
        self.tree = {"it": Object(it.adapter, it.type, parts, {**it.about, **about})}
        self.read_into = taken.read_into


@pytest.mark.parametrize(
    ("value", "about", "swap"),
    [
        (lambda: sparse("csr", dense()), {"shape": [2, 2]}, None),
        (lambda: sparse("coo", dense()), {"shape": [2, 1]}, None),
        (
            lambda: torch.sparse_coo_tensor(torch.tensor([[1, 1], [0, 0]]), torch.ones(2), (2, 2)),
            {"coalesced": True},
            None,
        ),
        (lambda: sparse("csr", dense()), {"layout": "sparse_odd"}, None),
        (lambda: jagged(2, 3), {"ragged": 9}, None),
        (lambda: jagged(2, 3), {"ragged": 2}, None),
        (lambda: jagged(2, 3), {}, ("values", "offsets")),
    ],
)
def test_a_file_cannot_make_one_that_reaches_beyond_its_memory(value, about, swap):
    source: Any = Changed(state.capture({"it": value()}), about, swap)
    with pytest.raises(CheckpointDamagedError):
        state.rebuild(source)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (
            lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
            r"quantised .*qint8.* int_repr\(\)",
        ),
        (lambda: torch.ones(2, device="meta"), "meta device"),
        (lambda: torch.empty(2, dtype=vars(torch)["int4"]), "dtype torch.int4"),
        (lambda: torch.empty(2, dtype=torch.bits8), "dtype torch.bits8"),
    ],
)
def test_what_has_no_bytes_of_its_own_is_refused_by_its_name(value, why):
    value = value()
    with pytest.raises(UnsupportedStateError, match=why):
        state.capture({"it": value})
    with pytest.raises(StateMismatchError, match="the live value is a"):
        state.restore(state.capture({"it": torch.ones(2)}), {"it": value})
