"""The ledger: what is there, in what order, what goes, and that memory copies are independent."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import state
from holdfast.errors import UnsupportedStateError, UsageError
from holdfast.policy import Checkpointing, Evicted

KEYS = st.integers() | st.text() | st.from_regex(r"epoch[0-9]{1,3}_batch[0-9]{1,3}", fullmatch=True)


def on_disk(**more) -> Checkpointing:
    return Checkpointing(mode="disk", **more)


def test_keys_are_in_natural_order_and_not_in_that_of_text():
    policy = on_disk()
    for key in ["b", 10, 2, *range(11, 4, -1), "a", "epoch2_batch10", "epoch2_batch9"]:
        policy.record_disk(key, f"/{key!r}")
    assert policy.saved_keys == [2, 5, 6, 7, 8, 9, 10, 11, "a", "b", "epoch2_batch9", "epoch2_batch10"]


@given(st.sets(st.integers()), st.sets(st.text()))
def test_integers_come_by_value_and_then_strings_whatever_came_first(integers, strings):
    policy, again = on_disk(), on_disk()
    for key in [*strings, *integers]:
        policy.record_disk(key, "/x")
    for key in sorted([*strings, *integers], key=repr):
        again.record_disk(key, "/x")
    assert policy.saved_keys[: len(integers)] == sorted(integers)
    assert set(policy.saved_keys[len(integers) :]) == strings
    assert policy.saved_keys == again.saved_keys


@given(st.sets(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6))))
def test_batch_keys_come_in_the_order_of_training(moments):
    policy = on_disk()
    for epoch, batch in moments:
        policy.record_disk(f"epoch{epoch}_batch{batch}", "/x")
    assert policy.saved_keys == [f"epoch{epoch}_batch{batch}" for epoch, batch in sorted(moments)]


def test_a_number_of_ten_thousand_digits_in_a_key_is_sorted_too():
    policy = on_disk()
    for key in ("9" * 10_000, "1" * 10_001):
        policy.record_disk(key, "/x")
    assert policy.saved_keys == ["9" * 10_000, "1" * 10_001]


# Eviction


def test_beyond_max_to_keep_the_oldest_goes_and_is_handed_back_with_its_path():
    policy = on_disk(max_to_keep=2)
    assert policy.record_disk(5, "/5") == policy.record_disk(1, Path("/1")) == ()
    assert policy.record_disk(3, "/3") == (Evicted(5, Path("/5")),)
    assert policy.saved_keys == [1, 3]
    assert not policy.has_key(5)
    assert policy.get_path(5) is None


def test_eviction_in_memory_has_no_path():
    policy = Checkpointing(max_to_keep=1)
    policy.record_memory("old", {})
    assert policy.record_memory("new", {}) == (Evicted("old", None),)
    assert policy.get_state("old") is None


def test_without_a_limit_all_are_kept():
    policy = on_disk()
    assert not any(policy.record_disk(epoch, f"/{epoch}") for epoch in range(50))
    assert policy.saved_keys == list(range(50))


def test_an_existing_key_is_replaced_and_keeps_its_age():
    policy = on_disk(max_to_keep=2)
    policy.record_disk("first", "/a")
    policy.record_disk("second", "/b")
    assert policy.record_disk("first", "/a2") == ()
    assert policy.get_path("first") == Path("/a2")
    assert policy.keys_by_age == ["first", "second"]
    assert policy.record_disk("third", "/c") == (Evicted("first", Path("/a2")),)


@given(st.lists(KEYS), st.integers(1, 6))
def test_the_newest_k_remain_in_the_order_of_their_age(keys, max_to_keep):
    policy = on_disk(max_to_keep=max_to_keep)
    by_age: list[int | str] = []
    for key in keys:
        if key not in by_age:
            by_age.append(key)
        expected, by_age = by_age[:-max_to_keep], by_age[-max_to_keep:]
        evicted = policy.record_disk(key, f"/{key!r}")
        assert [entry.key for entry in evicted] == expected
    assert policy.keys_by_age == by_age


def test_a_path_that_another_key_names_is_not_free_to_be_deleted():
    policy = on_disk(max_to_keep=2)
    for epoch in (0, 1):
        policy.record_disk(epoch, "runs/latest.ckpt.mml")
    (gone,) = policy.record_disk(2, "runs/other.ckpt.mml")
    assert gone == Evicted(0, Path("runs/latest.ckpt.mml"))
    assert policy.is_named("runs/latest.ckpt.mml")
    assert policy.is_named(Path("runs/phase/../latest.ckpt.mml").absolute())
    (gone,) = policy.record_disk(3, "runs/other.ckpt.mml")
    assert not policy.is_named(gone.path)


def test_the_policy_itself_deletes_nothing(tmp_path):
    policy = on_disk(max_to_keep=1)
    paths = [tmp_path / f"{n}.ckpt.mml" for n in range(3)]
    for n, path in enumerate(paths):
        path.mkdir()
        policy.record_disk(n, path)
    policy.reset()
    assert all(path.is_dir() for path in paths)


def test_reset_forgets_keys_and_counters():
    policy = Checkpointing(every_n=2)
    policy.should_save("epoch_end")
    policy.record_memory(0, {})
    policy.reset()
    assert (policy.saved_keys, policy.get_counters(), policy.get_state(0)) == ([], {}, None)
    assert not policy.should_save("epoch_end")


# Keys and modes


@pytest.mark.parametrize("key", [True, None, 1.0, ("a",), b"a"], ids=repr)
def test_a_key_is_an_integer_or_a_string(key):
    with pytest.raises(UsageError, match="integer or a string"):
        on_disk().record_disk(key, "/x")
    with pytest.raises(UsageError, match="integer or a string"):
        Checkpointing().record_memory(key, {})


def test_a_numpy_integer_is_the_same_key_as_the_integer():
    policy = on_disk()
    policy.record_disk(np.int64(3), "/x")  # type: ignore[arg-type]
    assert policy.has_key(3)
    assert type(policy.saved_keys[0]) is int


def test_recording_in_the_wrong_mode_says_which_mode_is_needed():
    with pytest.raises(UsageError, match="mode='memory'"):
        on_disk().record_memory(0, {})
    with pytest.raises(UsageError, match="mode='disk'"):
        Checkpointing().record_disk(0, "/x")


def test_a_state_is_none_on_disk_and_a_path_is_none_in_memory():
    disk, memory = on_disk(), Checkpointing()
    disk.record_disk(0, "/x")
    memory.record_memory(0, {"a": 1})
    assert disk.has_key(0)
    assert memory.has_key(0)
    assert disk.get_state(0) is None
    assert disk.get_snapshot(0) is None
    assert memory.get_path(0) is None
    assert (disk.get_path(0), memory.get_state(0)) == (Path("/x"), {"a": 1})


def test_an_unknown_key_has_neither_state_nor_path():
    assert Checkpointing().get_state("x") is None
    assert on_disk().get_path("x") is None
    assert not on_disk().has_key("x")


def test_a_path_without_meaning_is_refused():
    with pytest.raises(UsageError):
        on_disk().record_disk(0, "")


# Copies


def test_training_on_does_not_change_what_was_recorded():
    policy, weights, nested = Checkpointing(), np.zeros(3), {"history": [1]}
    policy.record_memory(0, {"weights": weights, "nested": nested})
    weights += 1
    nested["history"].append(2)
    kept = policy.get_state(0)
    np.testing.assert_array_equal(kept["weights"], np.zeros(3))
    assert kept["nested"] == {"history": [1]}


def test_each_get_state_is_a_fresh_copy():
    policy = Checkpointing()
    policy.record_memory(0, {"weights": np.zeros(3), "list": [1]})
    first = policy.get_state(0)
    first["weights"] += 7
    first["list"].clear()
    second = policy.get_state(0)
    np.testing.assert_array_equal(second["weights"], np.zeros(3))
    assert second["list"] == [1]


def test_containers_and_scalars_come_back_with_their_types():
    kept = {"list": [1, 2.5, None, True], "tuple": (1, "a"), "set": {1, 2}, "bytes": b"ab", 3: "integer key"}
    policy = Checkpointing()
    policy.record_memory("x", kept)
    back = policy.get_state("x")
    assert back == kept
    assert {key: type(value) for key, value in back.items()} == {
        key: type(value) for key, value in kept.items()
    }


def test_arrays_come_back_with_their_dtype_and_scalars_as_scalars():
    policy = Checkpointing()
    policy.record_memory(0, {"half": np.ones(2, np.float16), "scalar": np.float32(1.5)})
    back = policy.get_state(0)
    assert back["half"].dtype == np.float16
    assert type(back["scalar"]) is np.float32


def test_torch_tensors_stay_torch_tensors_and_restoring_twice_gives_the_same():
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(3, 2, dtype=torch.bfloat16)
    optimizer = torch.optim.Adam(model.parameters())

    def train():
        optimizer.zero_grad()
        model(torch.ones(1, 3, dtype=torch.bfloat16)).sum().backward()
        optimizer.step()

    train()
    policy = Checkpointing()
    policy.record_memory(0, {"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(2):  # live objects must not alias what was kept: a second restore was corrupt
        kept = policy.get_state(0)
        assert all(type(value) is torch.Tensor for value in kept["model"].values())
        assert all(torch.equal(kept["model"][name], before[name]) for name in before)
        assert kept["optimizer"]["state"][0]["step"] == 1
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        train()
    assert not torch.equal(model.weight, before["weight"])


def test_a_snapshot_that_was_already_taken_is_kept_as_it_is():
    snapshot = state.capture({"a": np.arange(2)})
    policy = Checkpointing()
    policy.record_memory(0, snapshot)
    assert policy.get_snapshot(0) is snapshot
    np.testing.assert_array_equal(policy.get_state(0)["a"], np.arange(2))


def test_what_cannot_be_copied_safely_is_refused_and_the_ledger_stays_as_it_was():
    policy = Checkpointing(max_to_keep=1)
    policy.record_memory(0, {"a": 1})
    with pytest.raises(UnsupportedStateError):
        policy.record_memory(1, {"file": object()})
    assert policy.saved_keys == [0]
    assert policy.get_state(0) == {"a": 1}
