"""Long campaigns of damage: each works for `budget_s` seconds and returns one line of figures.

A violation is an AssertionError that names what was done, so that it can be done again.
"""

from __future__ import annotations

import collections
import random
import time
from collections.abc import Callable, Iterator

import numpy as np

from holdfast import bundle
from holdfast.records import leaves
from holdfast.storage import MemoryDisk
from tests.support.bundle_cases import content_of, noise, place
from tests.support.reliability.forging import (
    RECORD,
    Files,
    files_of,
    files_of_state,
    flipped,
    put,
    save,
    told,
)
from tests.support.reliability.mutations import Fuzzer

STATE = {"weight": noise(3000, 1).reshape(3, -1), "bias": np.arange(5.0), "step": 3, "note": "é"}
REGIONS = ("record", "tree", "header", "padding", "data", "dead")


def bundle_with_dead_bytes() -> tuple[Files, str]:
    """A bundle that links a pack of which it uses a part only, with the digest of its state."""
    disk, sharing = MemoryDisk(), bundle.Sharing()
    live, dead = noise(72 << 10, 1), noise(66 << 10, 2)
    save(disk, "runs", {"live": live, "dead": dead}, name="old", sharing=sharing)
    state = {**STATE, "live": live}
    record = save(disk, "runs", state, seq=2, sharing=sharing)
    assert record.bytes_shared == live.nbytes
    return files_of(disk, place("runs")), content_of(state)


def regions(files: Files) -> dict[str, list[tuple[str, int, int]]]:
    """For each region of a bundle its spans: (file, first byte, byte after the last)."""
    found: dict[str, list[tuple[str, int, int]]] = {name: [] for name in REGIONS}
    with bundle.Bundle(put(MemoryDisk(), place("runs"), files), place("runs")) as opened:
        found["record"].append((RECORD, 0, len(files[RECORD])))
        found["tree"].append((opened.record.tree.name, 0, opened.record.tree.size))
        used = {
            (piece.file, piece.key)
            for leaf in leaves(opened.tree)
            for piece in opened.stored.pieces[leaf.path]
        }
        for pack in opened.record.packs:
            data = files[pack.name]
            start = 8 + int.from_bytes(data[:8], "little")
            text = len(data[:start].rstrip(b" "))
            found["header"].append((pack.name, 0, text))
            found["padding"].append((pack.name, text, start))
            for key, (first, end) in opened._packs.spans(pack.name).items():
                found["data" if (pack.name, key) in used else "dead"].append((pack.name, first, end))
    return found


def check_flip(files: Files, content: str, region: str, name: str, at: int, bit: int) -> None:
    said = told(files | {name: flipped(files[name], at, bit)}, content)
    # Of dead bytes nobody says anything, and what is read is right all the same; `told` has compared it.
    assert bool(said) == (region != "dead"), (
        f"bit {bit} of byte {at} of {name} ({region}): {said or 'not found'}"
    )
    if said and region != "record":
        assert place("runs") in said, said
        assert name in said or region == "tree", said


def flip_bits(seed: int, number: int) -> collections.Counter[str]:
    """Flip random bits, one at a time, in turn in each region; how many in each."""
    files, content = bundle_with_dead_bytes()
    spans, draw = regions(files), random.Random(seed)
    done: collections.Counter[str] = collections.Counter()
    for turn in range(number):
        region = REGIONS[turn % len(REGIONS)]
        name, first, end = draw.choice(spans[region])
        check_flip(files, content, region, name, draw.randrange(first, end), draw.randrange(8))
        done[region] += 1
    return done


def bit_flips(budget_s: float, seed: int) -> str:
    done: collections.Counter[str] = collections.Counter()
    for turn in rounds(budget_s):
        done += flip_bits(seed * 1_000_003 + turn, 300)
    regions = ", ".join(f"{name} {done[name]:,}" for name in REGIONS)
    return f"{done.total():,} flipped bits, 0 undetected ({regions}; those in dead bytes did no harm)"


def every_bit(budget_s: float, seed: int) -> str:
    """Each bit of a small bundle, in an order of its own for each seed, as far as the time goes."""
    files, content = files_of_state(STATE), content_of(STATE)
    places = [(name, at) for name, data in files.items() for at in range(8 * len(data))]
    random.Random(seed).shuffle(places)
    tree = next(name for name in files if name.endswith(".json") and name != RECORD)
    kinds = {RECORD: "record", tree: "tree"}
    began_s, done = time.monotonic(), 0
    for name, at in places:
        if done % 100 == 0 and time.monotonic() - began_s > budget_s:
            break
        check_flip(files, content, kinds.get(name, "pack"), name, *divmod(at, 8))
        done += 1
    return f"{done:,} of the {len(places):,} bits of a small bundle, 0 undetected"


def hostile_mutations(budget_s: float, seed: int) -> str:
    fuzzer, outcomes = Fuzzer(seed), collections.Counter[str]()
    for turn in rounds(budget_s):
        outcomes += fuzzer.run(200 * turn, 200 * (turn + 1))
    told = ", ".join(f"{name} {number:,}" for name, number in outcomes.most_common())
    return f"{outcomes.total():,} mutations, 0 foreign exceptions, 0 hangs ({told})"


def rounds(budget_s: float) -> Iterator[int]:
    """0, 1, 2, … until the time is over; at least once."""
    began_s, turn = time.monotonic(), 0
    while not turn or time.monotonic() - began_s < budget_s:
        yield turn
        turn += 1


CAMPAIGNS: dict[str, Callable[[float, int], str]] = {
    "bit flips": bit_flips,
    "every bit of a small bundle": every_bit,
    "hostile mutations": hostile_mutations,
}
