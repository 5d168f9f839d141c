"""Only what can still be read is state: the syntax tree says which variables that is."""

from __future__ import annotations

import itertools
import linecache
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast.variables._frames import Scope, scopes
from holdfast.variables._liveness import live_names, written_names

NUMBERS = itertools.count()


def defined(body: str) -> Callable[..., Any]:
    """The function `train(turns)` in a script with this text."""
    file = f"<script {next(NUMBERS)}>"
    source = textwrap.dedent(body)
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    names: dict[str, Any] = {"__name__": "script"}
    exec(compile(source, file, "exec"), names)
    return names["train"]


class Asking:
    """An iterator that asks at its second item which names can still be read."""

    def __init__(self) -> None:
        self.live: frozenset[str] | None = None
        self._items = iter(range(3))

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        here = scopes()[1].frame  # of the script, not of this method
        assert here is not None
        self.live = live_names(here)
        return next(self._items)


def live_in(body: str) -> frozenset[str] | None:
    turns = Asking()
    defined(body)(turns)
    return turns.live


@pytest.mark.parametrize(
    ("body", "live", "dead"),
    [
        ("loss = turn\n        total += loss", {"total"}, {"loss", "turn"}),
        ("if turn: x = 1\n        y = x", {"x"}, {"y"}),
        ("if turn: x = 1\n        else: x = 2\n        y = x", set(), {"x", "y"}),
        ("for k in range(turn): x = k\n        y = x", {"x"}, {"k"}),
        ("x += 1", {"x"}, set()),
        ("x = [x for x in range(3)]\n        y = x", set(), {"x", "y"}),
        ("try: x = 1 / turn\n        except ZeroDivisionError: pass\n        y = x", {"x"}, {"y"}),
        ("try: x = 1\n        finally: y = 2\n        y = x + y", set(), {"x", "y"}),
        ("with suppress(ValueError): x = int('a')\n        y = x", {"x"}, {"y"}),
        ("with open('/dev/null') as file: x = 1\n        y = x", set(), {"x", "y", "file"}),
        ("if turn == 1: continue\n        x = 1\n        y = x", set(), {"x", "y"}),
        ("x, y = 1, 2\n        total = x + y", set(), {"x", "y", "total"}),
        ("if turn and (x := 1): pass\n        y = x", {"x"}, set()),
        ("while total < 0: x = 1\n        y = x", {"x", "total"}, {"y"}),
        (
            "match turn:\n            case 0: x = 1\n            case y: pass\n        total = x",
            {"x"},
            {"total"},
        ),
        ("def inner(): return x\n        y = inner()", {"x"}, {"y"}),
        ("y = locals()", {"x", "y", "made later"}, set()),
        ("x = 0\n        del x", set(), {"x"}),
        ("with quiet(): x = 2\n        y = x", {"x"}, {"y"}),
        ("with lock, either: x = 1\n        y = x", set(), {"x", "y"}),
        ("with other: x = 1\n        y = x", {"x"}, {"y"}),
        ("with torch.no_grad(), torch.profile() as a: x = 1\n        y = x", set(), {"x", "y"}),
        ("y = table.query('loss > @x')", {"x"}, {"y"}),
        ("table.eval()\n        y = x = 1", set(), {"x", "y"}),
    ],
)
def test_what_can_still_be_read(body: str, live: set[str], dead: set[str]):
    found = live_in(script(body))
    assert found is not None
    assert all(name in found for name in live)
    assert not any(name in found for name in dead)


def script(body: str) -> str:
    return (
        "from contextlib import nullcontext, suppress\n"
        "from unittest.mock import MagicMock\n"
        "table = quiet = torch = MagicMock()\n"
        "lock = torch.Lock()\n"
        "either = nullcontext() if torch.one else torch.amp.autocast()\n"
        "other = torch.guard()\n"
        "def train(turns):\n"
        "    x = y = total = 0\n"
        "    for turn in turns:\n"
        f"        {body}\n"
    )


def test_what_is_read_after_the_loop_is_alive():
    assert "x" in (live_in(script("x = turn") + "    return x\n") or ())


def test_a_loop_in_one_line():
    found = live_in("def train(turns):\n    y = 0\n    for turn in turns: x = turn; y = x\n    return y\n")
    assert found is not None
    assert "x" not in found
    assert "y" in found


@pytest.mark.parametrize(
    ("around", "live"),
    [
        ("    try:\n{}    except ValueError:\n        return x\n", True),
        ("    try:\n{}    except ValueError:\n        pass\n    return x\n", True),
        ("    try:\n{}    finally:\n        print(x)\n", True),
        ("    with quiet():\n{}    return x\n", True),
        ("    with open('/dev/null'):\n{}    return y\n", False),
    ],
)
def test_what_is_read_where_anything_in_the_loop_has_failed_is_alive(around: str, live: bool):
    loop = "        for turn in turns:\n            x = int(turn)\n"
    head = "from unittest.mock import MagicMock\nquiet = MagicMock()\ndef train(turns):\n    x = y = 0\n"
    assert ("x" in (live_in(head + around.format(loop)) or ())) is live


@pytest.mark.parametrize(
    ("call", "live"),
    [
        ("x = look()", False),
        ("x, y = look(), 1", False),
        ("x: int = look()", False),
        ("x = [look(), x]", True),
        ("x += look()", True),
        ("x = y = 1 + look()", False),
        ("y = x if look() else 0", True),
        ("if look(): x = 1", True),
        ("try: x = look()\n        except ValueError: pass", True),
    ],
)
def test_what_a_statement_writes_is_dead_while_it_calls(call: str, live: bool):
    found: list[frozenset[str] | None] = []
    train = defined(
        f"def train(look):\n    x = y = 0\n    for turn in range(2):\n        {call}\n        print(x)\n"
    )
    train(lambda: found.append(live_names(sys._getframe(1))) or 1)
    assert [each is not None and "x" in each for each in found] == [live, live]


@pytest.mark.parametrize(
    ("before", "written"),
    [
        ("x = turn", True),
        ("if turn: x = 1", False),
        ("if turn: x = 1\n        else: x = 2", True),
        ("if turn: x = 1\n        elif y: x = 2", False),
        ("for x in range(turn): pass", False),
        ("with open('/dev/null') as x: pass", True),
        ("with quiet(): x = 2", False),
        ("try: x = turn\n        except ValueError: pass", False),
        ("x += 1", True),
        ("def x(): pass", True),
        ("y = (x := 1)", False),
    ],
)
def test_what_is_surely_written_on_the_way(before: str, written: bool):
    found: list[frozenset[str]] = []
    train = defined(
        "from unittest.mock import MagicMock\nquiet = MagicMock()\n"
        f"def train(look, x=0, y=0):\n    for turn in range(2):\n        {before}\n        look()\n        late = x\n"
    )
    train(lambda: found.append(written_names(sys._getframe(1))))
    assert ["x" in each for each in found] == [written, written]
    assert all("turn" in each and "late" not in each for each in found)


@pytest.mark.parametrize(
    ("around", "written"),
    [
        ("for x in range(2): look()", True),
        ("for x in (): pass\n    else: look()", False),
        ("with open('/dev/null') as x: look()", True),
        ("if look() or 1: x = 1", False),
        ("x = look()", False),
    ],
)
def test_what_a_statement_around_it_has_written(around: str, written: bool):
    found: list[frozenset[str]] = []
    defined(f"def train(look):\n    {around}\n")(lambda: found.append(written_names(sys._getframe(1))))
    assert {"x" in each for each in found} == {written}


def test_a_function_without_source_has_written_all_and_a_module_that_does_not_run_nothing():
    names: dict[str, Any] = {"__name__": "script", "look": lambda: written_names(sys._getframe(1))}
    exec("def train():\n    return look()\n", names)
    assert "x" in names["train"]()
    assert "x" not in written_names(None)


def test_a_function_without_source_keeps_all():
    names: dict[str, Any] = {"__name__": "script"}
    exec("def train(turns):\n    for turn in turns: x = turn\n", names)
    turns = Asking()
    names["train"](turns)
    assert turns.live is None


# What is put back is enough: a loop that begins in its middle with only the live variables ends the same.

VARIABLES = "abcd"
names = st.sampled_from(VARIABLES)
tests = st.builds(lambda name, number: f"({name} + turn) % 3 == {number}", names, st.integers(0, 2))
simple = st.one_of(
    st.builds("{} = {} * 3 + {} - turn".format, names, names, names),
    st.builds("{} += {} % 7".format, names, names),
    st.builds("{} = turn".format, names),
    st.builds("{0}, {1} = {1}, {0}".format, names, names),
    st.just("pass"),
)


def block(statements: list[str]) -> str:
    return textwrap.indent("\n".join(statements), "    ")


def compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    some = st.lists(inner, min_size=1, max_size=3).map(block)
    return st.one_of(
        st.builds("if {}:\n{}".format, tests, some),
        st.builds("if {}:\n{}\nelse:\n{}".format, tests, some, some),
        st.builds("for {} in range(turn % 3):\n{}".format, names, some),
        st.builds("for k in range(2):\n{}\nelse:\n{}".format, some, some),
        st.builds("try:\n{}\n    a = 1 // (turn % 2)\nexcept ZeroDivisionError:\n{}".format, some, some),
        st.builds("try:\n{}\nfinally:\n{}".format, some, some),
        st.builds("with suppress(ZeroDivisionError):\n    b = 1 // (turn % 2)\n{}".format, some),
        st.builds("if {}:\n{}\n    continue".format, tests, some),
        st.builds("if {} and turn > 3:\n{}\n    break".format, tests, some),
    )


bodies = st.lists(st.recursive(simple, compound, max_leaves=6), min_size=1, max_size=5).map(block)


class Stopped(Exception):
    pass


EPOCH = 4


class Turns:
    """Items from `first` on; stops before item `stop`, with what is live there, or begins with it and nothing else."""

    def __init__(self, first: int, stop: int | None, saved: dict[str, Any] | None = None) -> None:
        self._next, self._stop, self.saved = first, stop, saved
        self._end = 2 * EPOCH

    def epochs(self) -> range:
        return range(self._next // EPOCH, 2)

    def of(self, epoch: int) -> Turns:
        """The items of one epoch."""
        self._next, self._end = max(self._next, epoch * EPOCH), (epoch + 1) * EPOCH
        return self

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        scope = next(each for each in scopes() if each.name == "train")
        if self._next == self._end:
            raise StopIteration
        if self._next == self._stop:
            self._save(scope)
            raise Stopped
        if self.saved is not None:
            saved, self.saved = self.saved, None
            for name in VARIABLES:
                scope.put(name, saved.get(name, "never read"))
        self._next += 1
        return self._next - 1

    def _save(self, scope: Scope) -> None:
        assert scope.frame is not None
        live = live_names(scope.frame)
        assert live is not None
        self.saved = {name: value for name, value in scope.variables().items() if name in live}


@pytest.mark.medium
@settings(max_examples=150)
@given(body=bodies, after=st.sampled_from(["a", "(a, b)", "c", "None"]), stop=st.integers(1, 7))
def test_what_is_live_is_enough_to_end_the_same(body: str, after: str, stop: int):
    source = (
        "from contextlib import suppress\n"
        "def train(turns):\n"
        "    a, b, c, d = 1, 2, 3, 4\n"
        "    for turn in turns:\n"
        f"{textwrap.indent(body, '    ')}\n"
        f"    return {after}\n"
    )
    assert_ends_the_same(source, stop)


@pytest.mark.medium
@settings(max_examples=150)
@given(
    before=st.lists(simple, max_size=2).map(block),
    body=bodies,
    rest=st.builds(
        "    if {}:\n        {}\n{}".format, tests, st.sampled_from(["continue", "break", "pass"]), bodies
    ),
    after=st.sampled_from(["a", "(a, b)", "c", "None"]),
    stop=st.integers(1, 2 * EPOCH - 1),
)
@example(
    before="    b = a * 3",
    body="    pass",
    rest="    if (c + turn) % 3 == 0:\n        continue\n    a = turn",
    after="b",
    stop=2,
)
def test_what_is_live_in_a_loop_within_another_is_enough(
    before: str, body: str, rest: str, after: str, stop: int
):
    outside = [textwrap.indent(each.replace("turn", "epoch"), "    ") for each in (before, rest)]
    source = (
        "from contextlib import suppress\n"
        "def train(turns):\n"
        "    a, b, c, d = 1, 2, 3, 4\n"
        "    for epoch in turns.epochs():\n"
        f"{outside[0]}\n"
        "        for turn in turns.of(epoch):\n"
        f"{textwrap.indent(body, '        ')}\n"
        f"{outside[1]}\n"
        f"    return {after}\n"
    )
    assert_ends_the_same(source, stop)


def assert_ends_the_same(source: str, stop: int) -> None:
    train = defined(source)
    expected = train(Turns(0, None))
    stopped = Turns(0, stop)
    try:
        assert train(stopped) == expected  # it left the loop before
    except Stopped:
        assert train(Turns(stop, None, stopped.saved)) == expected
