"""What changes in an object that cannot be saved, or where no walk comes, is named; what stays as it was is not."""

from __future__ import annotations

import array
import collections
import csv
import functools
import importlib.util
import io
import itertools
import logging
import queue
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import ContextVar
from multiprocessing import Pipe
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import holdfast
from holdfast.variables import _other_modules
from tests.support.interrupted import Interrupted, begin, both_ways, stop_after
from tests.variables.test_unsaved_variables import interrupted_and_resumed

LIBRARY = """
import numpy as np

class ArrayEnv:
    def __init__(self): self.state = np.zeros(2)
    def step(self): self.state += 1

class RngEnv:
    def __init__(self): self.rng = np.random.default_rng(0)
    def step(self): return self.rng.random()

class ListEnv:
    def __init__(self): self.history = []
    def step(self): self.history.append(1.0)

class Nested:
    def __init__(self): self.inner = ListEnv()
    def step(self): self.inner.step()

class Slotted:
    __slots__ = ("n",)
    def __init__(self): self.n = 0
    def step(self): self.n += 1

class Augment:
    def __init__(self): self.rng = np.random.default_rng(0)
    def __call__(self): return self.rng.random()
    step = __call__

class Holder:
    def __init__(self, *held): self.held = held
    def step(self): pass
"""


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Any]:
    """A module of an installed package."""
    yield from imported("some_library", tmp_path / "site-packages", LIBRARY)


def imported(name: str, folder: Path, source: str) -> Iterator[ModuleType]:
    folder.mkdir()
    file = folder / f"{name}.py"
    file.write_text(source)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[name]


def verdict_of(make: Callable[[], Any], use: Callable[[Any], Any], directory: Path) -> str:
    def train(stop: int | None) -> Any:
        thing = make()
        with begin(directory) as run:
            for step in run.steps(6):
                use(thing)
                stop_after(stop, step)
        return run

    return interrupted_and_resumed(train).verdict


@pytest.mark.parametrize("kind", ["ArrayEnv", "RngEnv", "ListEnv", "Nested", "Slotted", "Augment"])
def test_an_object_of_a_library_is_named_once_anything_in_it_changes(kind: str, library: Any, tmp_path: Path):
    make = getattr(library, kind)
    assert verdict_of(make, lambda thing: thing.step(), tmp_path / "run") == "exact but for: thing"
    assert verdict_of(make, lambda thing: None, tmp_path / "still") == "exact"


def test_what_is_saved_under_a_name_of_its_own_is_not_named_again(library: Any, tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        generator, history, weights = np.random.default_rng(0), [0.0], np.zeros(2)
        holder = library.Holder(generator, history, weights)
        with begin(directory, {"weights": weights}) as run:
            for step in run.steps(6):
                history.append(generator.random())
                weights += history[-1]
                holder.step()
                stop_after(stop, step)
        return history, weights.tolist(), run.last_resume and run.last_resume.verdict

    (*expected, _), (*found, verdict) = both_ways(train, tmp_path, 2)
    assert found == expected
    assert verdict == "exact"


def filled(count: int = 50) -> queue.Queue[int]:
    made: queue.Queue[int] = queue.Queue()
    for index in range(count):
        made.put(index)
    return made


@pytest.fixture(autouse=True)
def opened() -> Iterator[ExitStack]:
    """Closes what a test has opened."""
    with OPENED:
        yield OPENED


OPENED = ExitStack()


def this_file() -> Any:
    return OPENED.enter_context(Path(__file__).open())


def sockets() -> Any:
    one, other = (OPENED.enter_context(each) for each in socket.socketpair())
    other.send(bytes(50))
    return one, other


def pipe() -> Any:
    return [OPENED.enter_context(each) for each in Pipe()]


def prefetched() -> list[Future[int]]:
    with ThreadPoolExecutor(1) as pool:
        return [pool.submit(int, index) for index in range(50)]


@functools.lru_cache
def remembered(index: int) -> int:
    return index


def cycled(items: list[int]) -> Iterator[int]:
    while True:
        yield from items


def counted_by_numpy() -> Iterator[np.ndarray]:
    index = np.int64(0)
    while True:
        yield np.zeros(1)
        index = index + 1


def begun(generator: Iterator[Any]) -> Iterator[Any]:
    next(generator)
    return generator


def blind() -> Iterator[int]:
    while True:
        yield next(OUTSIDE)


OUTSIDE = itertools.count()
COUNT: ContextVar[int] = ContextVar("count", default=0)

MOVING: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "queue": (filled, lambda thing: thing.get()),
    "reader": (lambda: csv.reader(io.StringIO("1\n" * 50)), next),
    "file": (this_file, lambda thing: thing.readline()),
    "lines": (lambda: begun(this_file()), next),
    "socket": (sockets, lambda thing: thing[0].recv(1)),
    "pipe": (pipe, lambda thing: thing[0].send(thing[1].poll())),
    "context": (lambda: COUNT, lambda thing: thing.set(thing.get() + 1)),
    "generator": (lambda: begun(cycled([*range(50)])), next),
    "counted": (lambda: begun(counted_by_numpy()), next),
    "blind": (lambda: begun(blind()), next),
    "chain": (lambda: itertools.chain([*range(50)]), next),
}


@pytest.mark.parametrize("name", MOVING)
def test_what_moves_without_attributes_is_named(name: str, tmp_path: Path):
    make, use = MOVING[name]
    assert verdict_of(make, use, tmp_path) in (
        "exact but for: thing",
        "exact but for: thing.0, thing.1",
        "exact but for: thing, OUTSIDE",
    )


STILL: dict[str, Callable[[], Any]] = {
    "queue": queue.Queue,
    "file": this_file,
    "partial": lambda: functools.partial(sorted, [1]),
    "cache": lambda: remembered,
    "generator": lambda: begun(cycled([*range(50)])),
    "chain": lambda: itertools.chain([1, 2]),
    "lock": threading.Lock,
    "event": threading.Event,
    "logger": lambda: logging.getLogger("some"),
    "over": prefetched,
    "thread": lambda: threading.Thread(target=print),
}


@pytest.mark.parametrize("name", STILL)
def test_what_stays_as_it_was_is_not_named(name: str, tmp_path: Path):
    assert verdict_of(STILL[name], lambda thing: None, tmp_path) == "exact"


def test_a_file_that_is_only_written_decides_nothing(tmp_path: Path):
    def make() -> Any:
        return OPENED.enter_context((tmp_path / "log.txt").open("w"))

    assert verdict_of(make, lambda thing: thing.write("1"), tmp_path / "run") == "exact"


def test_a_log_that_could_be_read_decides_nothing_while_it_is_written_at_its_end(tmp_path: Path):
    def make() -> Any:
        return OPENED.enter_context((tmp_path / "log.txt").open("w+"))

    assert verdict_of(make, lambda thing: thing.write("1"), tmp_path / "run") == "exact"


STREAMS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "text": (lambda: io.StringIO("1\n" * 50), lambda thing: thing.readline()),
    "bytes": (lambda: io.BytesIO(bytes(50)), lambda thing: thing.read(3)),
    "log": (io.StringIO, lambda thing: thing.write("1\n")),
    "ends": (lambda: io.StringIO("1\n2\r3", newline="\r"), lambda thing: thing.write("é\n")),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_in_memory_comes_back(name: str, tmp_path: Path):
    make, use = STREAMS[name]
    wanted = make()
    for _ in range(6):
        use(wanted)

    def train(stop: int | None) -> Any:
        thing = make()
        with begin(tmp_path) as run:
            for step in run.steps(6):
                use(thing)
                stop_after(stop, step)
        return run, thing

    with pytest.raises(Interrupted):
        train(2)
    run, thing = train(None)
    assert run.last_resume.verdict == "exact"
    assert (thing.getvalue(), thing.tell()) == (wanted.getvalue(), wanted.tell())


def test_a_batch_that_is_fetched_ahead_is_named(tmp_path: Path):
    def train(stop: int | None) -> Any:
        with ThreadPoolExecutor(1) as pool, begin(tmp_path) as run:
            ahead = pool.submit(int, 0)
            for step in run.steps(6):
                given = ahead.result()
                ahead = pool.submit(int, given + 1)
                stop_after(stop, step)
        return run

    assert "ahead" in interrupted_and_resumed(train).unsaved


# --- globals of other modules -------------------------------------------------------------------------

MODULE = """
import itertools
from collections.abc import Callable
from typing import Optional

Told, Sizes, Given = Callable[..., None] | None, dict[str, int], Optional[int]  # hold nothing

class Counter:
    def __init__(self): self.count = 0

state, turning, later, still = Counter(), itertools.cycle([1, 2, 3]), None, itertools.cycle([1, 2, 3])

def by_object(): state.count += 1
def by_iterator(): next(turning)
def by_later():
    global later
    if later is None: later = Counter()
    later.count += 1
def by_new():
    globals().setdefault("new", []).append(1)
"""


@pytest.mark.parametrize(
    ("by", "named"),
    [
        ("by_object", "state.count"),
        ("by_iterator", "turning"),
        ("by_later", "later.count"),
        ("by_new", "new"),
    ],
)
def test_globals_of_other_modules_that_are_no_data_are_named(
    by: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # All tests are modules of this user, and only the first ones are looked at.
    monkeypatch.setattr(_other_modules, "_users_modules", lambda count, newest: ["users_module"])
    for module in imported("users_module", tmp_path / "of_the_user", MODULE):

        def train(stop: int | None, module: Any = module) -> Any:
            with begin(tmp_path / "run") as run:
                for step in run.steps(6):
                    getattr(module, by)()
                    stop_after(stop, step)
            return run

        assert interrupted_and_resumed(train).unsaved == (f"users_module.{named}",)


def test_where_looking_at_other_modules_takes_long_what_was_found_is_said_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    looks: list[int] = []
    for module in imported("users_module", tmp_path / "of_the_user", MODULE):
        monkeypatch.setattr(_other_modules, "_users_modules", lambda count, newest: ["users_module"])
        monkeypatch.setattr(_other_modules, "_CHEAP_S", 0.0)
        monkeypatch.setattr(_other_modules, "_SHARE", 0.0)
        look = _other_modules.Pace.look
        monkeypatch.setattr(
            _other_modules.Pace, "look", lambda pace, look=look: (looks.append(1), look(pace))[1]
        )

        def train(stop: int | None, module: Any = module) -> Any:
            with begin(tmp_path / "run") as run:
                for step in run.steps(9):
                    module.by_object()
                    stop_after(stop, step)
            return run

        with pytest.raises(Interrupted):
            train(8)
        assert len(looks) == 3
        report = train(None).last_resume
        assert report is not None
        assert report.verdict == "exact but for: users_module.state.count"


# --- containers ---------------------------------------------------------------------------------------


class Node:
    def __init__(self, following: Node | None = None) -> None:
        self.count, self.following = 0.0, following


class Memory(list[float]):
    def __init__(self) -> None:
        super().__init__()
        self.added = 0

    def add(self, value: float) -> None:
        self.append(value)
        self.added += 1


class Table(dict[int, float]):
    pass


def of_objects() -> np.ndarray:
    made = np.empty(3, object)
    made[:] = 0.0
    return made


CONTAINERS: dict[str, tuple[Callable[[], Any], Callable[[Any, int], Any], Callable[[Any], Any]]] = {
    "keys": (
        lambda: {(0, 1): Node(), 0.5: Node(), None: Node()},
        lambda thing, step: [setattr(each, "count", each.count + step) for each in thing.values()],
        lambda thing: [each.count for each in thing.values()],
    ),
    "list": (Memory, lambda thing, step: thing.add(step), lambda thing: ([*thing], thing.added)),
    "dict": (Table, lambda thing, step: thing.update({step % 3: step}), dict),
    "user_dict": (collections.UserDict, lambda thing, step: thing.update({"a": step}), dict),
    "objects": (of_objects, lambda thing, step: thing.__setitem__(step % 3, step), lambda thing: [*thing]),
    "array": (
        lambda: array.array("d", [0.0]),
        lambda thing, step: thing.__setitem__(0, step),
        lambda thing: [*thing],
    ),
    "seeds": (
        lambda: np.random.SeedSequence(1),
        lambda thing, step: thing.spawn(1),
        lambda thing: thing.spawn(1)[0].spawn_key,
    ),
    "generator": (
        lambda: np.random.default_rng(1),
        lambda thing, step: thing.spawn(2),
        lambda thing: thing.spawn(1)[0].random(),
    ),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_and_what_spawns_come_back(name: str, tmp_path: Path):
    make, use, shown = CONTAINERS[name]

    def train(directory: Path, stop: int | None) -> Any:
        thing = make()
        with begin(directory) as run:
            for step in run.steps(6):
                use(thing, step)
                stop_after(stop, step)
        return shown(thing), run.last_resume and run.last_resume.verdict

    (expected, _), (found, verdict) = both_ways(train, tmp_path, 2)
    assert found == expected
    assert verdict == "exact"


def test_a_generator_that_is_handed_over_spawns_on(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        generator, drawn = np.random.default_rng(1), []
        with begin(directory, {"generator": generator, "drawn": drawn}) as run:
            for step in run.steps(6):
                drawn.append(generator.spawn(1)[0].random())
                stop_after(stop, step)
        return drawn, run.last_resume and run.last_resume.verdict

    (expected, _), (found, verdict) = both_ways(train, tmp_path, 2)
    assert found == expected
    assert verdict == "exact"


def many() -> list[Node]:
    return [Node() for _ in range(1500)]


def chained(depth: int) -> Node:
    head = Node()
    for _ in range(depth):
        head = Node(head)
    return head


@pytest.mark.parametrize("make", [many, lambda: chained(20)], ids=["many", "deep"])
def test_what_no_walk_comes_to_is_named(
    make: Callable[[], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING, "holdfast"):
        assert verdict_of(make, lambda thing: None, tmp_path) == "exact but for: thing"
    assert any("thing may have changed and is not saved" in each for each in caplog.messages)


def test_what_a_shorter_way_leads_to_is_not_too_deep(tmp_path: Path):
    def make() -> list[Node]:
        nodes = [chained(20)]
        while nodes[-1].following is not None:
            nodes.append(nodes[-1].following)
        return nodes

    assert verdict_of(make, lambda thing: None, tmp_path) == "exact"


# --- a part of a loop ---------------------------------------------------------------------------------


@pytest.mark.parametrize("around", [lambda items: items, lambda items: (each for each in items)])
def test_an_islice_that_counts_anew_is_reported(around: Any, tmp_path: Path):
    def train(stop: int | None) -> Any:
        with begin(tmp_path) as run:
            for _ in run.epochs(2):
                for _ in itertools.islice(around(run.batches([*range(6)])), 3):
                    stop_after(stop, run.step)
        return run

    report: holdfast.ResumeReport = interrupted_and_resumed(train)
    assert report.verdict.startswith("not exact: an islice around the run's iterator counts")
