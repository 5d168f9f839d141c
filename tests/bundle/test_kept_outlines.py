"""What a save takes from the save before changes no byte of a bundle."""

from __future__ import annotations

import tracemalloc
from itertools import count

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from holdfast import bundle, state  # noqa: E402
from holdfast.bundle import _commit  # noqa: E402
from holdfast.bundle._format.tree import StoredTree  # noqa: E402
from holdfast.bundle._format.tree_text import TreeText, encode_tree  # noqa: E402
from holdfast.checkpoint import draft  # noqa: E402
from holdfast.records import Alias, Leaf, Moment, Node, Object, leaves  # noqa: E402
from holdfast.storage import MemoryDisk  # noqa: E402
from tests.state.test_kept_plans import CHANGES, Training  # noqa: E402


class Line:
    """Saves of one run in a directory of its own, with the ids 0, 1, 2, …"""

    def __init__(self) -> None:
        self.disk, self.sharing, self.ids = MemoryDisk(), bundle.Sharing(), count()
        self.disk.mkdir("run")

    def save(self, monkeypatch, snapshot, made) -> dict[str, bytes]:
        monkeypatch.setattr(_commit, "new_id", lambda: f"{next(self.ids):032x}")
        bundle.save(self.disk, "run", made, snapshot, self.sharing)
        with self.disk.open_directory(f"run/{made.name}.ckpt.mml") as inside:
            return {name: _content(inside, name) for name in inside.names()}


def _content(inside, name: str) -> bytes:
    file = inside.open(name)
    data = bytearray(file.size)
    file.read_into(0, memoryview(data))
    return bytes(data)


@pytest.mark.medium
@given(changes=st.lists(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=6))
@settings(max_examples=60)
def test_a_bundle_is_the_same_to_the_byte_whatever_was_kept(changes):
    run, plan, buffers = Training(), state.Plan(), state.Buffers()
    run.others["large"] = torch.zeros(1 << 16)  # that is shared
    kept, fresh = Line(), Line()
    for seq, change in enumerate(("nothing", *changes, "a step"), start=1):
        try:
            CHANGES[change](run)
            snapshot = state.capture(run.parts(), plan=plan, buffers=buffers)
        except Exception:  # not after what came before
            continue
        fresh.sharing.outline = None
        made = draft(f"c{seq % 3}", "train", Moment(run="r", hook="save"), reason="a test")
        with pytest.MonkeyPatch.context() as patch:
            files, others = (line.save(patch, snapshot, made) for line in (kept, fresh))
        assert files == others
        snapshot.release()


def _leaves(name: str, number: int) -> dict[str, Leaf]:
    return {str(n): Leaf(f"{name}/{n}", "float32", (n % 3, 2)) for n in range(number)}


@st.composite
def trees(draw, parts):
    """Trees of the same parts in other places, under other names, and of values of their own."""
    below = st.recursive(
        st.sampled_from(parts) | st.integers() | st.floats() | st.text(max_size=3) | st.just(Alias("a")),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
            | st.builds(Object, st.just("adapter"), st.just("Type"), inner)
        ),
        max_leaves=6,
    )
    return draw(below)


@pytest.mark.medium
@given(st.data())
@settings(max_examples=200)
def test_the_text_of_a_tree_is_the_same_whatever_it_has_in_common_with_another(data):
    inner = Object("adapter", "Inner", _leaves("inner", 17))
    parts = [inner, _leaves("few", 3), {"1": 1.5, "inner": inner}, _leaves("many", 20)]
    before = None
    for _ in range(3):
        tree = data.draw(trees(parts))
        text = TreeText(tree, before=before)
        stored = StoredTree(tree, [*leaves(tree)], {leaf.path: [] for leaf in leaves(tree)}, {})
        assert text.leaves == stored.leaves
        assert text.filled(stored) == encode_tree(stored)
        before = text


def test_a_part_that_is_kept_counts_in_the_depth_of_the_tree():
    part = _leaves("part", 20)
    before = TreeText(part)
    deep = part
    for _ in range(124):  # two brackets each, and six of the part; of the file one
        deep = {"a": deep}
    for kept in (before, None):
        TreeText([deep], before=kept)
        with pytest.raises(ValueError, match="nested 257 deep"):
            TreeText([[deep]], before=kept)


def test_the_text_of_a_nested_tree_is_kept_once_however_deep_it_is():
    tree: dict[str, Node] = {**_leaves("inner", 20), "text": "x" * 1_000_000}
    for _ in range(80):
        tree = {"inner": tree}
    tracemalloc.start()
    try:
        text = TreeText(tree)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(text.leaves) == 20
    assert kept < 4_000_000
