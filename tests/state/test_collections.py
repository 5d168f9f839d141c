"""The standard containers and small values come back with their types, and nothing else can pose as one."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from holdfast.errors import (
    CheckpointDamagedError,
    RestoreIncompleteError,
    StateMismatchError,
    UnsupportedStateError,
)
from holdfast.policy import Checkpointing
from holdfast.records import Node, Object
from holdfast.state import MemorySnapshot, capture, digest, rebuild, restore

VALUES: dict[str, Any] = {
    "an ordered dict": OrderedDict(b=1, a=2),
    "a counter": Counter("kelp"),
    "a default dict": defaultdict(list, a=[1]),
    "a default dict without a default": defaultdict(None, a=1),
    "a bounded deque": deque([1, 2], maxlen=2),
    "an endless deque": deque([(1, 2)]),
    "nested ones": OrderedDict(a=defaultdict(int, b=1), c=[deque([Counter(x=2)])]),
    "a bytearray": bytearray(b"abc"),
    "a long bytearray": bytearray(5000),
    "a range": range(3, 20, 4),
    "a slice": slice(None, 5),
    "a size": torch.Size([2, 3]),
    "an element type": torch.bfloat16,
    "a device": torch.device("cuda", 1),
}


def types(value: Any) -> Any:
    """The types all the way down."""
    if isinstance(value, dict):
        return type(value), [types(entry) for entry in value.values()]
    if isinstance(value, list | tuple | deque):
        return type(value), [types(entry) for entry in value]
    return type(value)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_value_is_rebuilt_with_its_type(value):
    made = rebuild(capture({"value": value}))["value"]
    assert made == value
    assert types(made) == types(value)
    assert getattr(made, "maxlen", None) == getattr(value, "maxlen", None)
    assert getattr(made, "default_factory", None) is getattr(value, "default_factory", None)
    assert digest(capture(made)) == digest(capture(value))


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("live", [None, 0, [], {}, OrderedDict(), deque(), range(2)], ids=repr)
def test_any_plain_live_value_makes_room_for_it(live, value):
    made = restore(capture({"value": value}), {"value": live}).value["value"]
    as_plain = dict if isinstance(value, dict) else list if isinstance(value, deque) else lambda same: same
    assert as_plain(made) == as_plain(value)


entries = st.dictionaries(
    st.text(max_size=3), st.integers() | st.lists(st.booleans(), max_size=2), max_size=4
)


@settings(max_examples=50)
@given(entries, st.sampled_from([dict, OrderedDict]), st.sampled_from([dict, OrderedDict]))
def test_a_live_dict_of_any_kind_takes_a_saved_one_of_any_kind_and_keeps_its_own(saved, there, here):
    live = here(old=1)
    restored = restore(capture({"d": there(saved)}), {"d": live}).value["d"]
    assert restored is live
    assert list(live.items()) == list(saved.items())


def test_memory_mode_gives_a_module_state_as_the_ordered_dict_it_was():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    policy = Checkpointing(mode="memory", save_on="epoch_end")
    policy.record_memory(0, capture({"model": model.state_dict(), "epoch": 3}))
    state = policy.get_state(0)
    assert type(state["model"]) is OrderedDict
    assert state["model"]._metadata == model.state_dict()._metadata
    fresh = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    fresh.load_state_dict(state["model"])
    assert torch.equal(fresh[0].weight, model[0].weight)


def test_a_scheduler_that_counts_its_milestones_resumes():
    def built() -> Any:
        optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
        return torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 2, 5])

    trained, fresh = built(), built()
    trained.optimizer.step()
    trained.step()
    restore(capture({"s": trained}), {"s": fresh})
    assert type(fresh.milestones) is Counter
    assert digest(capture(fresh)) == digest(capture(trained))


@pytest.mark.parametrize("factory", [lambda: 0, dict.fromkeys, OrderedDict])
def test_a_default_dict_whose_factory_cannot_be_named_is_refused_by_path(factory):
    with pytest.raises(UnsupportedStateError, match=r"'at/seen'.*defaultdict") as caught:
        capture({"at": {"seen": defaultdict(factory)}})
    assert caught.value.path == "at/seen"


FORGED: dict[str, Node] = {
    "a class that is no collection": Object("collection", "builtins.eval", {"a": 1}),
    "a factory of another table": Object("collection", "collections.defaultdict", {}, {"factory": "eval"}),
    "a deque without its bound": Object("collection", "collections.deque", [1]),
    "a range of texts": Object("builtins.range", "builtins.range", ["a", 1, 1]),
    "an element type that is a function": Object("torch.dtype", "torch.dtype", "torch.load"),
    "a device of nowhere": Object("torch.device", "torch.device", "moon:1"),
    "a generator of nothing": Object("numpy.random", "numpy.random.Generator", {"bit_generator": "PCG64"}),
    "a generator of an unknown algorithm": Object("numpy.random", "numpy.random.Generator", {}),
    "a random without words": Object("random.Random", "random.Random", {"version": 3}),
}


@pytest.mark.parametrize("node", FORGED.values(), ids=FORGED)
def test_a_forged_value_is_damage_and_never_a_stray_error(node):
    forged = MemorySnapshot({"value": node}, ())
    with pytest.raises(CheckpointDamagedError, match=node.type):
        rebuild(forged)
    with pytest.raises(RestoreIncompleteError, match=node.type):
        restore(forged, {"value": None})


FORGED_OBJECTS: dict[str, tuple[Node, Any]] = {
    "an optimizer without groups": (Object("torch.optim.Optimizer", "torch.optim.sgd.SGD", {}), None),
    "an optimizer whose groups are a number": (
        Object("torch.optim.Optimizer", "torch.optim.sgd.SGD", {"param_groups": 3}),
        None,
    ),
    "a group without parameters": (
        Object("torch.optim.Optimizer", "torch.optim.sgd.SGD", {"param_groups": [{"lr": 1}]}),
        None,
    ),
    "a generator that is a dict": (
        Object("numpy.random", "numpy.random._generator.Generator", {"bit_generator": "PCG64", "state": 1}),
        np.random.default_rng(0),
    ),
}


@pytest.mark.parametrize("case", FORGED_OBJECTS)
def test_a_forged_object_is_told_before_anything_is_changed(case):
    node, live = FORGED_OBJECTS[case]
    live = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.5) if live is None else live
    before = digest(capture(live))
    with pytest.raises(StateMismatchError, match=r"value|the state"):
        restore(MemorySnapshot({"value": node}, ()), {"value": live})
    assert digest(capture(live)) == before
