"""`python -m benchmarks.reliability`: kills, full disks, flipped bits and power cuts, for Holdfast and its peers alike.

Every fault strikes one library after the other, round after round. The table goes into docs/reliability.md, between
its marks. Disk full and power cuts need root (file systems of their own); without, they are left out, with a line.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.support.reliability.volumes import (
    EXT4_NO_AUTO_DA,
    MIB,
    SMALL_TMPFS,
    XFS,
    Kind,
    Volume,
    lacking,
    power_cut,
)

from . import machine
from .faulted import PEERS, Worker

BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"
OLD, NEW = 1, 2
DAY_S = 24 * 3600
TESTS = ("damage", "full", "cut", "kill")
RAW = Path("runs/reliability.json")
Tally = dict[str, Counter[str]]
Each = Callable[[], Iterator[Worker]]


def kills(each: Each, rounds: int, draw: random.Random, size_bytes: int = 32 * MIB) -> Tally:
    """SIGKILL at a random instant of a save over an existing name; then: what is there?"""
    tally: Tally = defaultdict(Counter)
    with _folder() as folder:
        save_s: dict[str, float] = {}
        number: Counter[str] = Counter()
        for round in range(rounds + 1):
            for worker in each():
                peer, root = worker.peer.name, _root(folder, worker)
                if round > 10 and not worker.peer.forks:
                    continue  # each kill costs it a start
                if number[peer] == 0 or worker.load(root, "best", size_bytes) != number[peer]:
                    number[peer] += 1  # the first one, or in place of what a kill has ruined
                    began_s = time.monotonic()
                    worker.save(root, "best", number[peer], size_bytes)
                    save_s[peer] = time.monotonic() - began_s
                if round == 0:
                    continue
                old = number[peer]
                after_s = draw.uniform(0, 1.1 * save_s[peer])
                if not worker.kill_amid_save(root, "best", old + 1, size_bytes, after_s):
                    save_s[peer] *= 0.7  # the machine has become faster: no kill amid a save, so not counted
                    number[peer] = old + 1
                    tally[peer]["too late"] += 1
                    continue
                save_s[peer] *= 1.1
                found = worker.load(root, "best", size_bytes)
                kind = {old: "old", old + 1: "new"}.get(found, "none") if isinstance(found, int) else "none"
                tally[peer][kind] += 1
                number[peer] = found if isinstance(found, int) else old + 1
        for worker in each():
            root = _root(folder, worker)
            for path in root.rglob("*"):
                if not path.is_symlink():
                    os.utime(path, (time.time() - DAY_S,) * 2)
            worker.save(root, "best", 98, size_bytes)
            left = max(0, _bytes_below(root) - size_bytes - MIB)
            tally[worker.peer.name]["left MB"] = round_mb(left)
    return tally


def round_mb(size_bytes: int) -> int:
    return round(size_bytes / 1e6)


def disk_full(each: Each, rounds: int, size_bytes: int = 8 * MIB) -> Tally:
    """A tmpfs with room for a part of what is needed more: over an existing name, and under a new one.

    What replaces the old one is twice as large, so that there is too little room also for who deletes that first.
    """
    tally: Tally = defaultdict(Counter)
    with Volume(SMALL_TMPFS) as volume:
        for share in (round / (rounds + 1) for round in range(1, rounds + 1)):
            for worker in each():
                for name in ("old", "new"):
                    root, found = _root(volume.path, worker), tally[worker.peer.name]
                    worker.save(root, "old", OLD, size_bytes)
                    ballast = volume.path / "ballast"
                    before = _bytes_below(root)
                    with ballast.open("wb") as file:
                        room = volume.free_bytes - int(share * size_bytes)
                        os.posix_fallocate(file.fileno(), 0, room)
                    error = worker.save(root, name, NEW, size_bytes * (2 if name == "old" else 1))
                    kept = _bytes_below(root) > before + size_bytes // 20
                    old = worker.load(root, "old", size_bytes)
                    if error is None:
                        old = OLD  # it has found a way
                    found[f"{name}: raised"] += error is not None
                    found["old lost"] += old != OLD
                    found["room kept"] += error is not None and kept
                    found["cases"] += 1
                    ballast.unlink()
                    shutil.rmtree(root)
    return tally


def damage(each: Each, flips: int, draw: random.Random, size_bytes: int = MIB // 2) -> Tally:
    """One bit flipped anywhere; one within 4 KiB of a file's ends; a file cut short. Then: what does a load say?"""
    tally: Tally = defaultdict(Counter)
    with _folder() as folder:
        for worker in each():
            worker.save(_root(folder, worker), "best", OLD, size_bytes)
            found = worker.load(_root(folder, worker), "best", size_bytes)
            assert found == OLD, f"{worker.peer.name} does not work: it loads {found}"
        for how, count in (("anywhere", flips), ("near the ends", flips // 2), ("cut", flips // 2)):
            for _ in range(count):
                for worker in each():
                    root = _root(folder, worker)
                    files = [
                        path for path in sorted(root.rglob("*")) if path.is_file() and path.stat().st_size
                    ]
                    files = [path for path in files if not path.name.startswith(".")]
                    file, spoiled = _spoiled(files, how, draw)
                    original = file.read_bytes()
                    file.write_bytes(spoiled)
                    found = worker.load(root, "best", size_bytes)
                    file.write_bytes(original)
                    verdict = (
                        "detected" if isinstance(found, str) else "harmless" if found == OLD else "silent"
                    )
                    tally[worker.peer.name][f"{how}: {verdict}"] += 1
    return tally


def _spoiled(files: Sequence[Path], how: str, draw: random.Random) -> tuple[Path, bytes]:
    """A file, any byte of all as likely as another (or any file, near its ends), and what becomes of it."""
    sizes = [path.stat().st_size for path in files]
    if how == "anywhere":
        (file,) = draw.choices(files, sizes)
    else:
        file = draw.choice(files)
    data = bytearray(file.read_bytes())
    if how == "cut":
        return file, bytes(data[: draw.randrange(len(data))])
    at = draw.randrange(len(data))
    if how == "near the ends":
        at = draw.choice([*range(min(4096, len(data))), *range(max(0, len(data) - 4096), len(data))])
    data[at] ^= 1 << draw.randrange(8)
    return file, bytes(data)


def power_cuts(each: Each, kind: Kind, rounds: int, size_bytes: int = 2 * MIB) -> Tally:
    """The power goes right after the save has returned: over an existing name, and under a new one."""
    tally: Tally = defaultdict(Counter)
    with Volume(kind) as volume:
        for _ in range(rounds):
            for worker in each():
                for name in ("old", "new"):
                    root, found = _root(volume.path, worker), tally[worker.peer.name]
                    worker.save(root, "old", OLD, size_bytes)
                    subprocess.run(["sync", "-f", volume.path], check=True)
                    worker.save(root, name, NEW, size_bytes)
                    power_cut(volume.path)
                    if not worker.peer.forks:
                        worker.restart()  # it may have files open
                    volume.mount_again()
                    holds = worker.load(root, name, size_bytes)
                    old = holds if name == "old" else worker.load(root, "old", size_bytes)
                    found["cuts"] += 1
                    found["save lost"] += holds != NEW
                    found["old gone too"] += old not in (OLD, NEW)
                    shutil.rmtree(root, ignore_errors=True)
    return tally


def _folder() -> tempfile.TemporaryDirectory[str]:
    """On the disk that the project is on: the usual place may be in memory."""
    runs = Path("runs")
    runs.mkdir(exist_ok=True)
    return tempfile.TemporaryDirectory(dir=runs.absolute(), prefix="reliability-")


def _root(folder: str | Path, worker: Worker) -> Path:
    root = Path(folder, worker.peer.name.replace(" ", "_"))
    root.mkdir(exist_ok=True)
    return root


def _bytes_below(root: Path) -> int:
    found = {path.stat().st_ino: path.stat().st_size for path in root.rglob("*") if path.is_file()}
    return sum(found.values())


# --- the table ------------------------------------------------------------------------------------------

COLUMNS = (
    *("", "killed during an overwrite: nothing loads", "files left a day and a save later"),
    *("disk full: old checkpoint lost", "space kept by the failed save"),
    *("flipped bit: silently wrong", "the same, near a file's ends", "cut file: silently wrong"),
    *("power cut after `save` returned: save lost", "and the old one too"),
)


def table(results: dict[str, Tally], names: Sequence[str]) -> str:
    rows = [COLUMNS, ["---", *["--:"] * (len(COLUMNS) - 1)]]
    for name in names:
        kill, full, flip = (results.get(test, {}).get(name, Counter()) for test in ("kill", "full", "damage"))
        cut = sum((tally.get(name, Counter()) for test, tally in results.items() if "cut" in test), Counter())
        died = kill["old"] + kill["new"] + kill["none"]
        rows.append(
            [
                name,
                _of(kill["none"], died),
                f"{kill['left MB']} MB" if died else "-",
                _of(full["old lost"], full["cases"]),
                _of(full["room kept"], full["cases"]),
                *(
                    _of(
                        flip[f"{how}: silent"],
                        sum(flip[f"{how}: {v}"] for v in ("detected", "harmless", "silent")),
                    )
                    for how in ("anywhere", "near the ends", "cut")
                ),
                _of(cut["save lost"], cut["cuts"]),
                _of(cut["old gone too"], cut["cuts"]),
            ]
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _of(part: int, total: int) -> str:
    if not total:
        return "-"
    return f"**{part}** of {total}" if part else f"0 of {total}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[peer.name for peer in PEERS], metavar="PEER")
    parser.add_argument("--tests", nargs="+", choices=TESTS, default=TESTS)
    parser.add_argument("--add", action="store_true", help="keep what the last run found in the other tests")
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument(
        "--rooms", type=int, default=9, help="part-full disks, from nearly none to nearly all"
    )
    parser.add_argument("--flips", type=int, default=100)
    parser.add_argument(
        "--cuts", type=int, default=5, help="on each file system, over an old and under a new name"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path, help="Markdown file; what is between its marks is replaced")
    options = parser.parse_args(arguments)

    workers: list[Worker] = []
    notes: list[str] = []
    for peer in PEERS:
        if peer.name in options.only:
            try:
                workers.append(Worker(peer))
            except EOFError:
                notes.append(f"{peer.name}: left out, it cannot be imported")
    draw = random.Random(options.seed)
    results: dict[str, Tally] = {}
    if options.add and RAW.exists():
        raw = json.loads(RAW.read_text())
        results = {
            test: {peer: Counter(found) for peer, found in tally.items()} for test, tally in raw.items()
        }

    facts = machine.describe(Path("."))
    versions = f"{facts['kernel']}, {facts['file system']}, Python {facts['Python']}; {facts['packages']}."

    def attempt(test: str, run: Callable[[], Tally], kind: Kind | None = None) -> None:
        if test.split()[0] not in options.tests:
            return
        why = lacking(kind) if kind is not None else None
        if why is not None:
            notes.append(f"{test}: left out, {why}")
            return
        began_s = time.monotonic()
        results[test] = run()
        print(f"{test}: {time.monotonic() - began_s:.0f} s", *results[test].items(), sep="\n  ", flush=True)
        RAW.parent.mkdir(exist_ok=True)
        RAW.write_text(json.dumps(results))
        if options.report is not None:  # also what an end that comes too early would lose
            lines = [table(results, [worker.peer.name for worker in workers]), "", versions, *notes]
            _write(options.report, "\n".join(lines))

    def each() -> Iterator[Worker]:
        return iter(workers)

    try:
        attempt("damage", lambda: damage(each, options.flips, draw))
        attempt("full", lambda: disk_full(each, options.rooms), SMALL_TMPFS)
        for kind in (EXT4_NO_AUTO_DA, XFS):
            attempt(f"cut on {kind.name}", lambda kind=kind: power_cuts(each, kind, options.cuts), kind)
        attempt("kill", lambda: kills(each, options.kills, draw))
    finally:
        for worker in workers:
            worker.close()
    print(table(results, [worker.peer.name for worker in workers]), *notes, sep="\n")


def _write(path: Path, measured: str) -> None:
    """Replace what is between the marks; a page without them gets them at its end."""
    page = path.read_text() if path.exists() else "# Reliability\n"
    if BEGIN not in page:
        page = f"{page.rstrip()}\n\n{BEGIN}\n{END}\n"
    before, after = page.partition(BEGIN)[0], page.partition(END)[2]
    path.write_text(f"{before}{BEGIN}\n{measured}\n{END}{after}")


if __name__ == "__main__":
    main()
