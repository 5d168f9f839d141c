"""`holdfast torture -- python train.py`: does your script survive kills and a full disk?"""

from __future__ import annotations

import secrets
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import ExactnessError, NothingProvedError, UsageError
from .._options import Json, KeptIn, Seed
from .._output import as_text
from .._output.console import Cell, Console
from ._scratch import scratch

if TYPE_CHECKING:
    from ...harness.torture import Torture, Trial

_SHOWN = 3


def torture(
    command: Annotated[
        list[str],
        typer.Argument(
            metavar="-- COMMAND...",
            help="The script. It must save below $HOLDFAST_DIRECTORY, for which {dir} stands.",
        ),
    ],
    kills: Annotated[int, typer.Option(min=0, max=1000, help="How often to kill it.")] = 3,
    disk_full: Annotated[
        int, typer.Option("--disk-full", min=0, max=1000, help="How often to fill its disk.")
    ] = 0,
    directory: KeptIn = None,
    seed: Seed = None,
    json: Json = False,
) -> None:
    """Run a script uninterrupted, then kill it at random instants and fill its disk; say whether it reaches the same state."""
    from ...harness.torture import torture as run_torture

    if not kills and not disk_full:
        raise UsageError("there is nothing to do: pass --kills or --disk-full with a number above 0.")
    seed = secrets.randbelow(10_000) if seed is None else seed
    console = Console(stderr=json)
    with scratch("torture", directory) as place:
        report = run_torture(
            command,
            place,
            kills=kills,
            full_disks=disk_full,
            seed=seed,
            tell=lambda line: console.say(as_text.printable(line)),
        )
    if json:
        Console().json([_as_json(report, seed)])
    else:
        console.lines([[], *_conclusion(report, seed)])
    if not report.same:
        raise ExactnessError("the script did not reach the same state again")
    if not report.proved:
        raise NothingProvedError(
            "nothing was proved: no kill hit the training, since the script ended before. Let it train longer, or pass "
            "another --seed or more --kills."
        )


def _conclusion(report: Torture, seed: int) -> list[list[Cell]]:
    lines: list[list[Cell]] = []
    for trial in report.trials:
        what = f"{trial.injuries[0].what if trial.injuries else 'uninterrupted'}, {as_text.count(len(trial.injuries), 'time')}"
        if not trial.injuries:
            lines.append([("unproved ", "bold yellow"), ("the script ended before the first kill", "")])
        elif trial.same:
            reached = f"{what}: {as_text.printable(report.last)}, bit for bit{_lost(trial)}"
            lines.append([("same     ", "bold green"), (reached, "")])
        else:
            lines.append([("differs  ", "bold red"), (f"{what}{_lost(trial)}", "")])
            lines += [[(f"         {as_text.printable(path)}", "red")] for path in trial.differs[:_SHOWN]]
            if len(trial.differs) > _SHOWN:
                lines.append([(f"         … and {len(trial.differs) - _SHOWN} more", "red")])
            if trial.since is not None:
                lines.append([(f"         first seen in {as_text.printable(trial.since)}", "red")])
        for injury in trial.injuries:
            lines += [[("damaged  ", "bold red"), (as_text.printable(name), "")] for name in injury.damaged]
    about = f"{as_text.count(report.checkpoints, 'checkpoint')}, {report.steps} steps, {report.uninterrupted_s:.1f} s uninterrupted"
    lines.append([(f"{about}; --seed {seed}", "dim")])
    return lines


def _lost(trial: Trial) -> str:
    if not trial.injuries:
        return ""
    steps = [each.lost_steps for each in trial.injuries if each.lost_steps is not None]
    seconds = sum(each.lost_s for each in trial.injuries)
    return f"; lost {f'{sum(steps)} steps, ' if steps else ''}{seconds:.2f} s in all"


def _as_json(report: Torture, seed: int) -> dict[str, object]:
    trials = [{**asdict(trial), "same": trial.same} for trial in report.trials]
    return {"seed": seed, "same": report.same, "proved": report.proved, **asdict(report), "trials": trials}
