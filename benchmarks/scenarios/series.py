"""S3 and S4: many checkpoints of a state of which little changes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import mean

from .. import states
from ..contenders import Saving
from ..measure import Bench, disk_bytes, sync_tree, timed
from .single import start


def frozen_layers(bench: Bench, savings: Sequence[Saving]) -> None:
    """S3: one turn is an entire series; seconds until each is durable are summed, what lies on disk is counted."""
    state = states.frozen_and_changing(bench.scale.s3_bytes)
    with ExitStack() as stack:
        savers = start(bench, "S3", savings, stack)

        def turn(saving: Saving, round: int) -> None:
            saver = savers[saving.name]
            total_s = 0.0
            with bench.fresh_folder() as root:
                saver.begin(root)
                for number in range(bench.scale.s3_saves):
                    states.train_a_little(state)
                    with timed() as seconds:
                        saver.save(state, f"epoch{number}")
                        saver.finish()
                        if not saving.durable:
                            sync_tree(root)
                        total_s += seconds()
                bench.samples.add("S3 seconds", saving.name, round, total_s)
                bench.samples.add("S3 bytes", saving.name, round, disk_bytes(root))

        bench.rounds("S3", [saving for saving in savings if saving.name in savers], turn)


def replay_buffer(bench: Bench, savings: Sequence[Saving]) -> None:
    """S4: after a first save, each round is one more, with 1 % changed; others than Holdfast stop early."""
    buffer = states.replay_buffer(bench.scale.s4_bytes)
    with ExitStack() as stack:
        savers = start(bench, "S4", savings, stack)
        roots: dict[str, Path] = {}
        sizes: dict[str, int] = {}
        for name, saver in savers.items():
            roots[name] = stack.enter_context(bench.fresh_folder())
            saver.begin(roots[name])

        def turn(saving: Saving, round: int) -> None:
            saver, root = savers[saving.name], roots[saving.name]
            writes_all = saving.name.startswith("torch")
            if writes_all and round >= bench.scale.repeats:
                return
            with timed() as seconds:
                # The others have one name, and so write every save over the one before.
                saver.save(buffer, "buffer" if writes_all else f"step{round}")
                bench.samples.add("S4 blocked", saving.name, round, seconds())
                saver.finish()
                if not saving.durable:
                    sync_tree(root)
                bench.samples.add("S4 durable", saving.name, round, seconds())
            now = disk_bytes(root)
            written = now if writes_all else now - sizes.get(saving.name, 0)
            sizes[saving.name] = now
            if now:
                bench.samples.add("S4 bytes", saving.name, round, written)
            if saving is taking_part[-1]:
                states.play(buffer)

        taking_part = [saving for saving in savings if saving.name in savers]
        bench.rounds("S4", taking_part, turn, repeats=bench.scale.s4_saves)
        for who, written in list(bench.samples.values["S4 bytes"].items()):
            bench.samples.add("S4 bytes, average", who, 0, mean(written.values()))
            bench.samples.add("S4 bytes, largest", who, 0, max(written.values()))
