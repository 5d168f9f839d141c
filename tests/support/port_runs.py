"""Runs the scripts of `examples/ports/`: plain, uninterrupted, and killed three times.

python -m tests.support.port_runs [NAME …]    # a table of what became of each
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import holdfast
from holdfast.records import CheckpointRecord
from tests.support.preloaded import preloaded

PORTS = Path(__file__).parent.parent.parent / "examples" / "ports"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
SAVE_EVERY = {
    "dcgan": 13,
    "diffusion": 37,
    "dqn": 170,
    "lora": 23,
    "mingpt": 13,
    "mnist": 31,
    "nanogpt": 12,
    "ppo": 5,
    "reinforce": 17,
    "unet": 13,
    "vae": 47,
    "word_language_model": 43,
}
"""By name, after how many steps a port saves: a number that no interval of the script is a multiple of."""
KILLS = 1, 3, 2
"""After how many saves of a life it is killed, one life after the other."""

Report = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """How a killed port ended, beside the plain script and its own uninterrupted run.

    Attributes:
        as_plain: whether the uninterrupted port reported what the plain script did.
        differs: what of its report is another one than uninterrupted; empty if it ended in the same bits.
        differs_again: the same once the finished command was run again.
        verdicts: that of each resume.
        resumed_from: the checkpoint that each resumed from.
        said: what the last life wrote to its standard error.
    """

    name: str
    as_plain: bool
    differs: tuple[str, ...]
    differs_again: tuple[str, ...]
    verdicts: tuple[str, ...]
    resumed_from: tuple[str, ...]
    said: str


def run(
    script: Path, directory: Path, *, save_every: int = 0, kill_after: int = 0
) -> tuple[Report | None, str]:
    """What the script reported (None: killed, as it should be), and what it wrote to standard error."""
    directory.mkdir(exist_ok=True)
    environment = os.environ | ONE_THREAD
    if save_every:
        path = os.pathsep.join(
            [str(Path(__file__).parents[1] / "examples" / "killing"), os.environ.get("PYTHONPATH", "")]
        )
        environment |= {"PYTHONPATH": path, "SAVE_EVERY": str(save_every), "KILL_AFTER": str(kill_after)}
    command = [sys.executable, str(script), "report.json"]
    done = preloaded("torch").run(command, cwd=directory, env=environment, timeout=600)
    assert done.returncode == (-signal.SIGKILL if kill_after else 0), done.stderr
    return None if kill_after else json.loads((directory / "report.json").read_text()), done.stderr


def outcome(name: str, directory: Path, *, folder: str = "first", port: Path | None = None) -> Outcome:
    """Run a port uninterrupted and killed, and its plain script, each below `directory`."""
    port, every = port or PORTS / folder / f"{name}.py", SAVE_EVERY[name]
    plain, _ = run(PORTS / "plain" / f"{name}.py", directory / "plain")
    uninterrupted, _ = run(port, directory / "uninterrupted", save_every=every)
    assert plain is not None
    assert uninterrupted is not None
    verdicts, resumed_from, killed, said = [], [], None, ""
    for kill_after in (*KILLS, 0):
        resumed_from += [record.name for record in _newest(directory / "killed")]
        killed, said = run(port, directory / "killed", save_every=every, kill_after=kill_after)
        verdicts += [
            record.details["resume"]["verdict"]
            for record in _newest(directory / "killed")[: len(resumed_from)]
        ]
    again, _ = run(port, directory / "killed", save_every=every)
    return Outcome(
        name,
        as_plain=plain == uninterrupted,
        differs=_differences(killed, uninterrupted),
        differs_again=_differences(again, uninterrupted),
        verdicts=tuple(verdicts),
        resumed_from=tuple(resumed_from),
        said=said,
    )


def _differences(found: Report | None, expected: Report) -> tuple[str, ...]:
    return tuple(key for key in expected if found is None or found.get(key) != expected[key])


def _newest(directory: Path) -> list[CheckpointRecord]:
    """The record of the newest checkpoint, if there is one."""
    there = holdfast.scan(directory / "runs") if directory.exists() else []
    return [listed.record for listed in there[-1:] if listed.record is not None]


def lines(ended: Outcome) -> Iterator[str]:
    """What became of a port, as a part of a table."""
    yield f"{ended.name}: " + (f"differs: {', '.join(ended.differs)}" if ended.differs else "same bits")
    if ended.differs_again != ended.differs:
        yield f"    run again: {', '.join(ended.differs_again) or 'same bits'}"
    if not ended.as_plain:
        yield "    uninterrupted, it does not report what the plain script does"
    yield f"    resumed from {', '.join(ended.resumed_from)}"
    yield from (f"    {verdict}" for verdict in dict.fromkeys(ended.verdicts))
    yield from (f"    | {line}" for line in ended.said.splitlines() if "not saved: " in line)


def main(names: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(os.cpu_count()) as pool:
        folders = [Path(directory, name) for name in names]
        for folder in folders:
            folder.mkdir()
        for ended in pool.map(outcome, names, folders):
            print("\n".join(lines(ended)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or sorted(SAVE_EVERY))
