"""Writers, readers and a deleter, processes in one real directory, are killed at random and started again.

What is saved says in every byte which save it is, so nothing lost and nothing mixed can pass for right.
"""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

import holdfast
from holdfast import bundle
from holdfast.checkpoint import remove
from holdfast.errors import CheckpointNotFoundError, CheckpointReplacedError
from holdfast.records import CheckpointRecord
from holdfast.runtime import ExperimentDirectory
from holdfast.state import capture
from holdfast.storage import LocalDisk
from tests.support.bundle_cases import draft, noise
from tests.support.reliability.race_log import Book, Log, Value, read

WRITERS, READERS, DELETERS = 8, 2, 1
_KEPT = 4  # checkpoints that a writer keeps under names of their own
_FROZEN = [noise(100 << 10, seed) for seed in range(2)]  # large enough to be shared
_HOUR_S = 3600
_PATIENCE_S = 60.0  # for what a process has begun when the time is up


@dataclass
class Figures:
    seconds: float
    seed: int
    saves: int
    deletions: int
    looks: int
    kills: int
    cut_short: int
    leftovers: int
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{WRITERS} writers, {READERS} readers, {DELETERS} deleter in {self.seconds:.0f} s: {self.saves:,} saves, "
            f"{self.looks:,} looks, {self.deletions:,} deletions, {self.kills:,} kills ({self.cut_short:,} in the middle of "
            f"one of these), {self.leftovers:,} leftovers, {len(self.violations)} lost or mixed (seed {self.seed})"
        )


@lru_cache(maxsize=64)
def state_of(writer: int, number: int) -> dict[str, Any]:
    """The state that save `number` of `writer` holds."""
    body = noise(80 << 10, seed=(writer << 32) + number)
    return {"frozen": _FROZEN[writer % 2], "body": body, "head": body[:99].copy(), "save": [writer, number]}


class Player:
    """One process of the race."""

    def __init__(self, path: str, log: Log, who: str, seed: int, until_s: float) -> None:
        self.path, self.who, self.until_s = path, who, until_s
        self.random = random.Random(seed)
        self._log = log

    def say(self, what: str, **facts: Any) -> None:
        self._log.say(self.who, what, **facts)

    def continues(self, pause_s: float) -> bool:
        time.sleep(self.random.uniform(0, pause_s))
        return time.monotonic() < self.until_s


def write(player: Player, writer: int, life: int) -> None:
    """Save under names of one's own and under names of all, as a run does; keep a few, and delete the older."""
    with ExperimentDirectory(player.path, f"w{writer}", share=True) as directory:
        _resume(directory)
        kept = _own_names(directory, writer)
        for number in count(life * 1_000_000):
            own = f"w{writer}_{number}"
            name = player.random.choice([own, own, f"w{writer}_last", "best", "newest"])
            player.say("save", name=name, value=(writer, number))
            directory.save(player.path, _record(name, writer, number), capture(state_of(writer, number)))
            player.say("ended")
            if name == own:
                kept.append((own, (writer, number)))
            while len(kept) > _KEPT:
                old, value = kept.pop(0)
                player.say("delete", name=old, value=value)
                directory.remove(bundle.bundle_path(player.path, old))
                player.say("ended")
            if not player.continues(0.02):
                return


def _record(name: str, writer: int, number: int) -> CheckpointRecord:
    record = draft(name, number, metrics={"writer": float(writer)})
    return replace(record, moment=replace(record.moment, run=f"w{writer}"))


def _resume(directory: ExperimentDirectory) -> None:
    """As a resumed run: verify the newest of one's own, and share with it from then on."""
    for listed in reversed(directory.own()):
        try:
            with bundle.Bundle(
                directory.disk, listed.path, expected_id=listed.record.id if listed.record else None
            ) as opened:
                assert list(opened.problems(deep=True)) == []
                directory.resume_from(opened)
                return
        except (CheckpointNotFoundError, CheckpointReplacedError):
            continue


def _own_names(directory: ExperimentDirectory, writer: int) -> list[tuple[str, Value]]:
    """What earlier lives kept under names of their own, oldest first, but for what this one went on from."""
    records = [listed.record for listed in directory.own() if listed.record]
    return [
        (record.name, (writer, record.moment.step))
        for record in records
        if record.name == f"w{writer}_{record.moment.step}" and record != directory.resumed_from
    ]


def look(player: Player, *_: int) -> None:
    """List, open, wait a while, and load: all of one save, or nothing."""
    names = ["best", "newest", *(f"w{writer}_last" for writer in range(WRITERS))]
    while player.continues(0.005):
        found = holdfast.scan(player.path)
        problems = [str(each.problem) for each in found if each.problem]
        assert not problems, problems
        if found and player.random.random() < 0.5:
            listed = player.random.choice(found)
            assert listed.record is not None
            player.say("look", name=listed.record.name)
            _look_at(player, listed)
        else:
            name = player.random.choice(names)
            player.say("look", name=name)
            _look_at(player, bundle.bundle_path(player.path, name))


def _look_at(player: Player, place: Any) -> None:
    try:
        with holdfast.open(place) as checkpoint:
            # What it holds was there when it was opened; a listed one may since have gone.
            writer, number = (int(value) for value in (checkpoint.metrics["writer"], checkpoint.moment.step))
            player.say("ended", value=(writer, number))
            time.sleep(player.random.choice([0, 0, 0.03]))
            loaded = checkpoint.load()
            expected = state_of(writer, number)
            assert loaded["save"] == expected["save"], (loaded["save"], expected["save"])
            for key in ("frozen", "body", "head"):
                assert np.array_equal(loaded[key], expected[key]), f"{key} is not of save {expected['save']}"
    except CheckpointReplacedError:
        player.say("dropped")
    except CheckpointNotFoundError:
        player.say("ended", value=None)


def delete(player: Player, *_: int) -> None:
    """Delete any checkpoint, as a person does with `holdfast rm`, and clear leftovers."""
    while player.continues(0.1):
        found = [each for each in holdfast.scan(player.path) if each.record]
        if found:
            listed = player.random.choice(found)
            assert listed.record is not None
            value = (int(listed.record.metrics["writer"]), listed.record.moment.step)
            player.say("delete", name=listed.record.name, value=value)
            try:
                remove(listed)
            except (CheckpointNotFoundError, CheckpointReplacedError):
                player.say("dropped")
            else:
                player.say("ended")
        bundle.sweep(LocalDisk(), player.path, time.time())


Role = Callable[[Player, int, int], None]
ROLES: dict[str, tuple[Role, int]] = {"w": (write, WRITERS), "r": (look, READERS), "d": (delete, DELETERS)}


@dataclass
class Child:
    role: str
    number: int
    life: int = 0
    pid: int = 0

    @property
    def who(self) -> str:
        return f"{self.role}{self.number}.{self.life}"


def race(directory: Path, seconds: float, seed: int) -> Figures:
    """Let them loose for some seconds; `directory` must be empty."""
    runs, log, draw = directory / "runs", Log(directory / "log"), random.Random(seed)
    runs.mkdir()
    until_s = time.monotonic() + seconds
    children = [Child(role, number) for role, (_, many) in ROLES.items() for number in range(many)]
    for child in children:
        _start(child, runs, log, seed, until_s)
    while time.monotonic() < until_s:
        time.sleep(draw.uniform(0.02, 0.3))
        victim = draw.choice(children)
        os.kill(victim.pid, signal.SIGKILL)
        _bury(victim, log)
        if victim.role == "w":
            _age(runs, f".w{victim.number}_")
        victim.life += 1
        _start(victim, runs, log, seed, until_s)
    for child in children:
        _end(child, log, until_s + _PATIENCE_S)
    return _judge(runs, read(log.lines()), seconds, seed)


def _start(child: Child, runs: Path, log: Log, seed: int, until_s: float) -> None:
    child.pid = os.fork()
    if child.pid:
        return
    code = 1
    try:
        player = Player(str(runs), log, child.who, hash((seed, child.number, child.life)), until_s)
        ROLES[child.role][0](player, child.number, child.life)
        code = 0
    except BaseException:
        log.say(child.who, "violation", text=traceback.format_exc()[-3000:])
    finally:
        os._exit(code)


def _end(child: Child, log: Log, deadline_s: float) -> None:
    """Wait until it leaves by itself; one that never does is as wrong as one that loses something."""
    while not os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if time.monotonic() > deadline_s:
            log.say(child.who, "violation", text="it hangs")
            os.kill(child.pid, signal.SIGKILL)
            break
        time.sleep(0.01)
    _bury(child, log)


def _bury(child: Child, log: Log) -> None:
    _, status = os.waitpid(child.pid, 0)
    log.say(child.who, "dead" if os.WIFSIGNALED(status) else "left")


def _age(runs: Path, prefix: str) -> None:
    """What a dead writer left under names of its own becomes two hours old, so that it may be swept."""
    past_s = time.time() - 2 * _HOUR_S
    for part in runs.glob(f"{prefix}*.part"):
        _date(part, past_s)


def _date(folder: Path, then_s: float) -> None:
    for entry in [*folder.iterdir(), folder]:
        try:
            os.utime(entry, (then_s, then_s))
        except FileNotFoundError:
            continue  # somebody clears it already


def _judge(runs: Path, book: Book, seconds: float, seed: int) -> Figures:
    final: dict[str, Value] = {}
    problems: list[str] = []
    for listed in holdfast.scan(runs):
        if listed.record is None:
            problems.append(f"{listed.path}: {listed.problem}")
            continue
        writer, number = int(listed.record.metrics["writer"]), listed.record.moment.step
        final[listed.record.name] = writer, number
        with holdfast.open(listed) as checkpoint:
            problems += map(str, checkpoint.verify(deep=True))
    leftovers = [entry for entry in runs.iterdir() if entry.name.startswith(".") and entry.is_dir()]
    if len(leftovers) > book.kills:
        problems.append(f"{len(leftovers)} leftovers of {book.kills} kills")
    problems += book.judge(final) + _clear(runs, [*final])
    return Figures(
        seconds, seed, book.count("save"), book.count("delete"), book.count("look"), book.kills, book.cut_short, len(leftovers), problems
    )  # fmt: skip


def _clear(runs: Path, names: list[str]) -> list[str]:
    """A day later another run sweeps, and saves over every name: nothing is left but what records name."""
    past_s = time.time() - 25 * _HOUR_S
    for folder in [entry for entry in runs.iterdir() if entry.is_dir()]:
        _date(folder, past_s)
    with ExperimentDirectory(runs, "after", share=True) as directory:
        listed = {each.record.name for each in directory.scan() if each.record}
        problems = [f"{name} went with the leftovers" for name in set(names) - listed]
        problems += [
            f"the leftover {entry.name} stays"
            for entry in runs.iterdir()
            if entry.is_dir() and entry.name.startswith(".") and entry.name != ".runs"
        ]
        for name in sorted(listed):
            record = directory.save(str(runs), draft(name, durability="process"), capture(state_of(0, 0)))
            there = {entry.name for entry in (runs / f"{name}.ckpt.mml").iterdir()}
            strays = there - {"checkpoint.json", record.tree.name, *(pack.name for pack in record.packs)}
            problems += [f"{stray} stays in {name}" for stray in strays]
    return problems
