"""`holdfast demo`: the main promise, shown on a real experiment in under a minute."""

from __future__ import annotations

import importlib.util
import secrets
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ...errors import HoldfastError, UsageError
from .._options import Json, Seed
from .._output import as_text
from .._output.console import Console
from .._output.disk import Sharing

if TYPE_CHECKING:
    from ...demo.killing import Outcome


def demo(
    kills: Annotated[int, typer.Option(min=0, max=20, help="How often to kill the second run.")] = 3,
    seed: Seed = None,
    keep: Annotated[
        str | None, typer.Option(metavar="DIR", help="Keep the checkpoints in this new directory.")
    ] = None,
    json: Json = False,
) -> None:
    """Train a digit classifier in two phases, once uninterrupted and once killed at random; compare every bit."""
    lacking = [name for name in ("torch", "sklearn") if importlib.util.find_spec(name) is None]
    if lacking:
        raise UsageError(
            f"the demonstration needs {' and '.join(lacking)}: pip install 'holdfast[torch,sklearn]'"
        )
    from ...demo.killing import run_killed, run_uninterrupted

    console = Console(stderr=json)  # progress is for people
    seed = secrets.randbelow(10_000) if seed is None else seed
    place = tempfile.mkdtemp(prefix="holdfast-demo-") if keep is None else keep
    try:
        console.say("scikit-learn's digits: pretrain an encoder, freeze it, train a classifier.")
        console.say("first run: uninterrupted")
        first = run_uninterrupted(f"{place}/uninterrupted")
        console.say(
            f"second run: killed with SIGKILL at {as_text.count(kills, 'random instant')} (--seed {seed}):"
        )
        killed = run_killed(
            f"{place}/killed",
            first.seconds,
            kills=kills,
            seed=seed,
            tell=lambda line: console.say(f"  {line}"),
        )
        if json:
            runs = {"uninterrupted": asdict(first), "killed": asdict(killed)}
            Console().json([{"seed": seed, "same": first.digest == killed.digest, **runs}])
        else:
            console.say()
            console.print(_table(first, killed))
        if first.digest != killed.digest:
            raise HoldfastError("the two runs ended in different states")
        console.say("Both runs ended in the same state, bit for bit.", "bold green")
        if keep is not None:
            console.say(f"Look at what they saved: holdfast ls {keep}/killed")
    finally:
        if keep is None:
            shutil.rmtree(place, ignore_errors=True)


def _table(first: Outcome, killed: Outcome) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("")
    table.add_column("uninterrupted", justify="right")
    table.add_column(f"killed {as_text.count(len(killed.killed), 'time')}", justify="right")
    rows: list[tuple[str, Callable[[Outcome], str]]] = [
        ("state digest", lambda run: run.digest[:16]),
        ("accuracy on the test digits", lambda run: f"{run.accuracy:.4f}"),
        ("checkpoints", lambda run: str(len(run.checkpoints))),
        ("complete copies would take", lambda run: as_text.size(Sharing(run.checkpoints).copies)),
        ("bytes on disk", lambda run: as_text.size(Sharing(run.checkpoints).of().size)),
        ("training was blocked for", lambda run: f"{run.blocked_s:.2f} s"),
    ]
    for name, value in rows:
        table.add_row(name, value(first), value(killed))
    return table
