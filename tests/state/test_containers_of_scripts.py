"""Containers that scripts make for themselves: keys that are no plain data, subclasses, attrs, pydantic, arrays of objects."""

from __future__ import annotations

import enum
import os
import subprocess
import sys
from array import array
from collections import OrderedDict, UserDict, UserList, defaultdict, deque, namedtuple
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pydantic
import pytest

import holdfast
from holdfast import Run
from holdfast.errors import CheckpointDamagedError, StateMismatchError, UnsupportedStateError
from holdfast.records import Object
from holdfast.state import MemorySnapshot, _registry, capture, digest, rebuild, restore
from tests.support.small_loop import Crash, policy


class Split(enum.Enum):
    TRAIN, TEST = "train", "test"


class Level(enum.IntEnum):
    LOW, HIGH = 1, 2


Place = namedtuple("Place", ("x", "y"))


class Attributed(dict):
    """As EasyDict: every entry is an attribute, too."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)

    __setattr__ = __setitem__


class History(list):
    def __init__(self, *items: Any) -> None:
        super().__init__(items)
        self.best = min(items, default=None)

    def append(self, item: Any) -> None:
        raise AssertionError("its own methods are not for restoring")


class Ordered(OrderedDict):
    pass


class Window(deque):
    pass


class Groups(defaultdict):
    pass


@attrs.define
class Settings:
    rate: float
    weights: Any = attrs.field(
        factory=lambda: np.zeros(2), validator=attrs.validators.instance_of(np.ndarray)
    )


@attrs.frozen
class Frozen:
    rate: float


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    rate: float = 0.0
    losses: list[float] = []
    _seen: int = pydantic.PrivateAttr(default=0)


class FrozenModel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)
    rate: float = 0.0


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch):
    monkeypatch.setattr(_registry, "_types", [])


def attributed(**entries: Any) -> Attributed:
    made = Attributed()
    for name, value in entries.items():
        made[name] = value
    return made


def windowed(*items: Any) -> Window:
    return Window(items, maxlen=2)


def seen(model: Model, count: int) -> Model:
    model._seen = count
    return model


def objects(*items: Any) -> np.ndarray:
    made = np.empty(len(items), object)
    for index, item in enumerate(items):
        made[index] = item
    return made


VALUES: dict[str, tuple[Any, Any]] = {
    "keys of an Enum": ({Split.TRAIN: [1], Split.TEST: [2]}, {Split.TRAIN: [0], Split.TEST: [0]}),
    "keys of an IntEnum": ({Level.LOW: 1.0, Level.HIGH: 2.0}, {Level.HIGH: 0.0, Level.LOW: 0.0}),
    "dates": ({date(2026, 1, 2): 3}, {date(2026, 1, 2): 0}),
    "paths": ({Path("a/b"): 1, "a/b": 2}, {Path("a/b"): 0, "a/b": 0}),
    "NumPy scalars": ({np.int64(3): "x", np.float32(0.5): "y"}, {}),
    "named tuples": ({Place(1, 2): "x"}, {Place(1, 2): "y"}),
    "nested tuples": ({(Decimal(1), (date(2026, 1, 2), 3)): 1}, {}),
    "a set of an Enum": ({Split.TEST}, {Split.TRAIN, Split.TEST}),
    "a set of decimals": ({Decimal("0.1"), Decimal("0.2")}, set()),
    "a frozenset of frozensets": (frozenset({frozenset({Level.LOW})}), frozenset({frozenset({Level.LOW})})),
    "attributes that are entries": (attributed(rate=0.1, sizes=[1, 2]), attributed(rate=0.2, sizes=[3])),
    "a list with attributes": (History(3, 1, 2), History(5)),
    "an ordered one": (Ordered(b=1, a=2), Ordered(a=0, b=0)),
    "a bounded deque": (windowed(1, 2, 3), windowed(0)),
    "a defaultdict of its own": (Groups(list, a=[1]), Groups(list)),
    "a UserDict": (UserDict(a=1), UserDict(a=2)),
    "a UserList": (UserList([1, 2]), UserList([3])),
    "attrs": (Settings(0.1, np.ones(2)), Settings(0.2)),
    "frozen attrs": (Frozen(0.1), Frozen(0.2)),
    "pydantic": (seen(Model(rate=0.1, losses=[1.0], note="x"), 3), seen(Model(note="y"), 0)),
    "frozen pydantic": (FrozenModel(rate=0.1), FrozenModel()),
    "an array.array": (array("d", [1.0, 2.0]), array("d")),
}


def described(value: Any) -> Any:
    """Types and values, all the way down."""
    if isinstance(value, np.ndarray):
        return type(value), value.dtype, value.shape, [described(each) for each in value.flat]
    if isinstance(value, dict | UserDict):
        return type(value), [(described(key), described(each)) for key, each in value.items()], own(value)
    if isinstance(value, list | tuple | deque | UserList):
        return type(value), [described(each) for each in value], getattr(value, "maxlen", None), own(value)
    if isinstance(value, Settings | Frozen):
        return type(value), [described(getattr(value, each.name)) for each in attrs.fields(type(value))]
    if isinstance(value, Model):
        return type(value), value.model_dump(), value._seen
    return type(value), value


def own(value: Any) -> Any:
    return {name: described(each) for name, each in getattr(value, "__dict__", {}).items() if name != "data"}


@pytest.mark.parametrize("name", VALUES)
def test_it_comes_back_into_a_live_one_as_what_it_was(tmp_path, name):
    value, other = VALUES[name]
    place = holdfast.save(tmp_path / "v", {"value": value, "n": 1})
    state = {"value": other, "n": 0}
    holdfast.load(place, into=state)
    assert described(state["value"]) == described(value)
    assert digest(capture({"value": state["value"]})) == digest(capture({"value": value}))


@pytest.mark.parametrize("name", VALUES)
def test_it_is_told_from_another_value(name):
    value, other = VALUES[name]
    if described(value) != described(other):
        assert digest(capture(value)) != digest(capture(other))


PLAIN = {
    "keys of an Enum": {"train": [1], "test": [2]},
    "attributes that are entries": {"rate": 0.1, "sizes": [1, 2]},
    "a list with attributes": [3, 1, 2],
    "a UserDict": {"a": 1},
    "frozen attrs": {"rate": 0.1},
    "pydantic": {"rate": 0.1, "losses": [1.0], "note": "x", "_seen": 3},
}


@pytest.mark.parametrize("name", PLAIN)
def test_without_a_live_one_it_is_plain_data(tmp_path, name):
    value, _ = VALUES[name]
    found = holdfast.load(holdfast.save(tmp_path / "v", {"value": value}))["value"]
    assert described(found) == described(PLAIN[name])


def test_containers_stay_the_same_objects(tmp_path):
    kept = {
        name: VALUES[name][1] for name in ("attributes that are entries", "a list with attributes", "attrs")
    }
    place = holdfast.save(tmp_path / "v", {name: VALUES[name][0] for name in kept})
    state = dict(kept)
    holdfast.load(place, into=state)
    assert all(state[name] is kept[name] for name in kept)


def test_a_frozen_one_that_others_share_stays_as_it_is(tmp_path):
    live = Frozen(0.2)
    state = {"value": live}
    holdfast.load(holdfast.save(tmp_path / "v", {"value": Frozen(0.1)}), into=state)
    assert live == Frozen(0.2)


def test_models_below_keys_of_an_enum_are_filled_in_place(tmp_path):
    live = {Split.TEST: np.zeros(3), Split.TRAIN: np.zeros(3)}
    arrays = dict(live)
    place = holdfast.save(
        tmp_path / "v", {"by_split": {Split.TRAIN: np.ones(3), Split.TEST: np.full(3, 2.0)}}
    )
    holdfast.load(place, into={"by_split": live})
    assert {key: list(each) for key, each in arrays.items()} == {
        Split.TRAIN: [1.0] * 3,
        Split.TEST: [2.0] * 3,
    }
    with pytest.raises(StateMismatchError, match="by_split/values/1: was saved, but there is no live object"):
        holdfast.load(place, into={"by_split": {Split.TRAIN: np.zeros(3)}})


def test_a_set_has_one_digest_in_every_process():
    script = (
        "import enum; from holdfast.state import capture, digest\n"
        "class Split(enum.Enum): A, B, C, D = 'abcd'\n"
        "print(digest(capture(set(Split))))"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(answers) == 1


ARRAYS: dict[str, tuple[np.ndarray, np.ndarray]] = {
    "objects": (objects("a", 1, None, [2, 3], np.arange(2)), objects("b", 0, 1, [0], np.zeros(2, np.int64))),
    "objects in two dimensions": (
        np.array([["a", 1], [None, 2.5]], object),
        np.array([["", 0], [0, 0]], object),
    ),
    "no objects": (np.empty((0, 2), object), np.empty((0, 2), object)),
    "records": (
        np.rec.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
        np.rec.array([(3, 4.0)], dtype=[("a", int), ("b", float)]),
    ),
    "a matrix": (np.eye(2).view(np.matrix), np.zeros((2, 2)).view(np.matrix)),
}
if hasattr(np.dtypes, "StringDType"):
    strings = np.dtypes.StringDType()
    ARRAYS["strings"] = np.array(["a", "longer"], strings), np.array(["", "b"], strings)


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_an_array_comes_back_in_place_and_as_a_new_one(tmp_path, name):
    value, other = ARRAYS[name]
    place = holdfast.save(tmp_path / "v", {"value": value})
    live = other.copy()
    state = {"value": live}
    holdfast.load(place, into=state)
    assert state["value"] is live
    assert described(live) == described(value)
    assert described(holdfast.load(place)["value"]) == described(value)
    assert (digest(capture(value)) == digest(capture(other))) is (not value.size)


def test_what_does_not_fit_is_named(tmp_path):
    place = holdfast.save(tmp_path / "v", {"value": objects("a", "b"), "history": History(1)})
    with pytest.raises(StateMismatchError) as caught:
        holdfast.load(place, into={"value": objects("a"), "history": attributed()})
    array, history = caught.value.problems
    assert array == "value: an array of [2] objects was saved, the live one is object [1]"
    assert history.startswith("history: a ")
    assert history.endswith("History was saved, the live object is an Attributed")


def test_what_cannot_be_saved_within_is_named():
    with pytest.raises(UnsupportedStateError, match="'value/items/1'"):
        capture({"value": objects("a", object())})
    with pytest.raises(UnsupportedStateError, match="'value/keys/0'"):
        capture({"value": {object(): 1}})
    with pytest.raises(UnsupportedStateError, match="'value/0'"):
        capture({"value": {object()}})


@pytest.mark.parametrize(
    "saved",
    [
        Object("numpy.objects", "numpy.ndarray", {"shape": (3,), "items": ["a"]}, {"kind": "O"}),
        Object("numpy.view", "memmap", [1]),
        Object("dict.keyed", "builtins.dict", {"keys": [1, 2], "values": [3]}),
        Object("dict.keyed", "builtins.dict", {"keys": [[1]], "values": [3]}),
        Object("set.members", "builtins.set", [[1]]),
        Object("array.array", "array.array", ["d", b"1"]),
    ],
    ids=lambda saved: saved.adapter,
)
def test_what_no_writer_could_have_saved_is_damage(saved):
    with pytest.raises(CheckpointDamagedError):
        rebuild(MemorySnapshot({"value": saved}, ()))


def test_a_run_that_is_killed_gets_them_back(tmp_path):
    def go(cut: int | None) -> Any:
        state = {
            "by_split": {Split.TRAIN: 0, Split.TEST: 0},
            "history": History(),
            "cfg": attributed(rate=1.0),
        }
        with Run(tmp_path, state, checkpointing=policy(save_on="batch_end")) as run:
            for step in run.steps(6):
                if step == cut:
                    raise Crash
                state["by_split"][Split.TRAIN] += step
                list.append(state["history"], step)
                state["cfg"]["rate"] *= 0.5
        return described(state), run.last_resume and run.last_resume.verdict

    with pytest.raises(Crash):
        go(4)
    found, verdict = go(None)
    assert verdict == "exact"
    expected = {
        "by_split": {Split.TRAIN: 15, Split.TEST: 0},
        "history": History(),
        "cfg": attributed(rate=2.0**-6),
    }
    list.extend(expected["history"], range(6))
    assert found == described(expected)


def test_restore_takes_a_plain_dict_into_a_subclass():
    live = attributed(rate=0.0)
    restore(capture({"cfg": {"rate": 0.5}}), {"cfg": live})
    assert live["rate"] == 0.5
