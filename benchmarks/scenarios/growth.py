"""Whether time per byte stays flat as states grow, and how long it takes to list many checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import holdfast
from holdfast import bundle
from holdfast.runtime import ExperimentDirectory
from holdfast.state import capture

from .. import states
from ..contenders import Loading, Saving
from ..contenders.holdfast import draft_of
from ..measure import Bench, cool_down, sync_tree, timed
from .single import start


@dataclass(frozen=True, slots=True)
class _Size:
    bytes: int

    @property
    def name(self) -> str:
        return f"{self.bytes >> 20} MiB"


def sizes(bench: Bench, savings: Sequence[Saving], loadings: Sequence[Loading]) -> None:
    """Seconds per GiB, by size: durable, and restored from a cold cache (an 8 GiB file may not fit a warm one)."""
    saving = next(each for each in savings if each.name == "Holdfast (copy)")
    loading = next(each for each in loadings if each.name == "Holdfast (streaming)")
    with ExitStack() as stack:
        saver = start(bench, "S1", [saving], stack)[saving.name]

        def turn(size: _Size, round: int) -> None:
            state = states.transformer(size.bytes)
            gib = states.size_bytes(state) / states.GiB
            with bench.fresh_folder() as root:
                saver.begin(root)
                saver.save(state, "first")  # makes the buffers fit, as they are in a run's later saves
                saver.finish()
            with bench.fresh_folder() as root:
                saver.begin(root)
                with timed() as seconds:
                    saver.save(state, "checkpoint")
                    saver.finish()
                    bench.samples.add("growth, save", size.name, round, seconds() / gib)
                sync_tree(root)
                cool_down(root)
                with timed() as seconds:
                    loading.into(root, "checkpoint", state)
                    bench.samples.add("growth, restore", size.name, round, seconds() / gib)

        repeats = min(3, bench.scale.repeats)
        bench.rounds("growth", [_Size(size) for size in bench.scale.growth_bytes], turn, repeats=repeats)


def scan(bench: Bench) -> None:
    """Seconds to list many small checkpoints, per 10,000."""
    number = bench.scale.scanned
    with bench.fresh_folder() as root, ExperimentDirectory(root, "0" * 32) as directory:
        snapshot = capture({"weight": states.torch.zeros(4), "epoch": 1})
        for index in range(number):
            draft = replace(draft_of(directory, f"epoch{index}"), durability="process", seq=index + 1)
            bundle.save(directory.disk, f"{root}/{index // 1000}", draft, snapshot, bundle.Sharing())
        for round in range(-1, bench.scale.repeats):
            with timed() as seconds:
                found = holdfast.scan(root)
                bench.samples.add("scan", "Holdfast", round, seconds() * 10_000 / number)
            if len(found) != number:
                raise ValueError(f"{len(found)} checkpoints were listed, {number} are there")
