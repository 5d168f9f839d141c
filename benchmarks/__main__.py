"""`python -m benchmarks [--quick] [--only S1 …]`: measure, print the verdicts, and write the report."""

from __future__ import annotations

import argparse
import json
import shutil
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from . import machine, states
from .contenders import NOT_INSTALLED, Loading, Saving, gather
from .earlier import Earlier
from .goals import goals
from .measure import Bench
from .plot import plot
from .report import BEGIN, END, report, verdicts
from .scenarios import every_step, growth, loop, many, memory, series, single, step
from .training import one_thread

Scenario = Callable[[Bench, Sequence[Saving], Sequence[Loading]], None]
SCENARIOS: dict[str, Scenario] = {
    "S1": lambda bench, savings, loadings: single.run(bench, "S1", savings, loadings),
    "S2": lambda bench, savings, loadings: single.run(bench, "S2", savings, loadings),
    "S3": lambda bench, savings, loadings: series.frozen_layers(bench, savings),
    "S4": lambda bench, savings, loadings: series.replay_buffer(bench, savings),
    "S5": lambda bench, savings, loadings: loop.run(bench, savings),
    "S6": one_thread()(many.run),
    "S7": one_thread()(lambda bench, savings, loadings: every_step.run(bench, savings)),
    "S8": one_thread()(lambda bench, savings, loadings: step.run(bench, savings)),
    "memory": lambda bench, savings, loadings: memory.run(bench),
    "growth": growth.sizes,
    "scan": lambda bench, savings, loadings: growth.scan(bench),
}
_SCALES = {scale.name: scale for scale in (states.FULL, states.QUICK, states.TINY)}


def arguments_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_const", const="quick", dest="scale", help="smaller states")
    parser.add_argument("--scale", choices=_SCALES)
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), metavar="SCENARIO")
    parser.add_argument("--contenders", nargs="+", default=(), metavar="FILE", help="files of contenders/")
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks"), help="works here; is emptied")
    parser.add_argument("--report", type=Path, help="Markdown file whose measured part is replaced")
    parser.add_argument(
        "--add", action="store_true", help="keep what the report's last run measured of other scenarios"
    )
    parser.set_defaults(scale="full")  # here, as two arguments set it
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = arguments_parser().parse_args(arguments)
    warnings.simplefilter("ignore")  # other libraries' own

    shutil.rmtree(options.folder, ignore_errors=True)
    bench = Bench(options.folder, _SCALES[options.scale])
    conditions: dict[str, str] = {}
    again = {*options.only, NOT_INSTALLED}  # is found out anew
    kept = Earlier()
    if options.add and options.report and _raw(options.report).exists():
        earlier = json.loads(_raw(options.report).read_text())
        # Ratios are taken within a round of one run: who was measured before against whom is now would be none.
        others = {what: by for what, by in earlier["values"].items() if _first_word(what) not in again}
        bench.samples.load(others)
        conditions |= earlier["conditions"]
        bench.notes += [note for note in earlier.get("notes", ()) if _first_word(note) not in again]
    if options.add and options.report:
        kept = _kept(options.report, again | {_first_word(what) for what in bench.samples.values})
        conditions = {**kept.conditions, **conditions}
    savings, loadings, skipped = gather(options.contenders)
    for line in skipped:
        bench.note(line)
    for name in options.only:
        neighbours = machine.Neighbours()
        began_s = time.monotonic()
        try:
            SCENARIOS[name](bench, savings, loadings)
        except Exception as err:
            bench.note(f"{name} ended early: {type(err).__name__}: {err}")
        took_s = time.monotonic() - began_s
        conditions[name] = f"{neighbours.share():.0%} in {took_s:.0f} s"
        facts = _facts(options.folder, bench, conditions)
        if options.report is not None:  # after each, so that a crash costs one scenario
            _write(options.report, bench, facts, conditions, kept)
    shutil.rmtree(options.folder, ignore_errors=True)
    print("\n".join(["", *(f"{key}: {value}" for key, value in facts.items()), "", *bench.notes, ""]))
    print("\n".join(verdicts(bench.samples, goals(bench.scale), kept.rows)))


def _facts(folder: Path, bench: Bench, conditions: Mapping[str, str]) -> dict[str, str]:
    return machine.describe(folder) | {
        "rounds": f"{bench.scale.repeats}, after one that is not counted",
        "used of the cores by other processes": "; ".join(f"{k} {v}" for k, v in conditions.items()),
    }


def _kept(path: Path, again: Collection[str]) -> Earlier:
    """What the report says of scenarios that are not measured again; a checkout has no raw values."""
    picture = path.with_suffix(".svg")
    if not path.exists() or not picture.exists():
        return Earlier()
    measured = path.read_text().partition(BEGIN)[2].partition(END)[0]
    return Earlier.read(measured, picture.read_text(), lambda what: _first_word(what) not in again)


def _write(
    path: Path, bench: Bench, facts: Mapping[str, str], conditions: Mapping[str, str], kept: Earlier
) -> None:
    """Replace what is between the marks (or begin the file), and write plot and raw values beside it."""
    tables = report(bench.samples, goals(bench.scale), facts, bench.notes, bench.scale.name, kept)
    path.parent.mkdir(parents=True, exist_ok=True)
    before, after = "# Performance\n\n", ""
    if path.exists() and BEGIN in (old := path.read_text()):
        before, after = old.partition(BEGIN)[0], old.partition(END)[2]
    picture = f"![Ratios to torch.save and torch.load]({path.stem}.svg)"
    path.write_text(f"{before}{BEGIN}\n{picture}\n\n{tables}{END}{after or chr(10)}")
    path.with_suffix(".svg").write_text(plot(bench.samples, kept.panels))
    _raw(path).parent.mkdir(exist_ok=True)
    measured = {"conditions": conditions, "notes": bench.notes, "values": bench.samples.values}
    _raw(path).write_text(json.dumps(measured, indent=1))


def _first_word(text: str) -> str:
    """Of a measurement ("S1 blocked", "growth, save") or a note: its scenario."""
    return text.split()[0].rstrip(":,")


def _raw(report: Path) -> Path:
    """The values of every round, from which a report can be made again."""
    return Path("runs", f"{report.stem}.json")


if __name__ == "__main__":
    main()
