"""The figures to reach, each as a bound on something measured."""

from __future__ import annotations

from dataclasses import dataclass

from .measure import REFERENCE, Samples, Summary
from .states import MiB, Scale

COPY, LAZY = "Holdfast (copy)", "Holdfast (lazy)"
STREAMING, FIRST = "Holdfast (streaming)", "Holdfast (first)"
DURABLE = "torch.save + fsync + rename"
LOAD = "torch.load"


@dataclass(frozen=True, slots=True)
class Goal:
    """`who` in `what` is at most `at_most` times `whose` in `against` (or, without these, that much in `unit`)."""

    row: str
    what: str
    who: str
    at_most: float
    whose: str = ""
    against: str = ""
    unit: str = ""
    known: str = ""  # the best peer or the limit, as measured before the work began

    def measured(self, samples: Samples) -> Summary | None:
        if not self.whose:
            return samples.summary(self.what, self.who)
        return samples.ratio(self.what, self.who, self.against or self.what, self.whose)


def goals(scale: Scale) -> list[Goal]:
    """All rows, in the order of the report."""
    s1, s5 = "S1 blocked", "S5 added"
    rows = [
        Goal("S1 blocked, copy", s1, COPY, 0.20, REFERENCE, known="DCP with a kept stager 0.20, limit 0.16"),
        Goal("S1 blocked, copy, to the limit", s1, COPY, 1.2, "limit: copy into kept buffers"),
        Goal("S5 blocked, lazy", "S5 blocked", LAZY, 0.02, REFERENCE, known="DCP async 0.058"),
        Goal("S5 blocked, lazy, never worse than copy", "S5 blocked", LAZY, 1.0, COPY),
        Goal("S5 added a save, copy", s5, COPY, 0.6, DURABLE),
        Goal("S5 added a save, lazy", s5, LAZY, 0.3, DURABLE),
        *(
            Goal(f"S5 added a save, {mode}", s5, who, 1.0, f"DCP async ({how})")
            for who, mode in ((COPY, "copy"), (LAZY, "lazy"))
            for how in ("thread", "process", "kept stager")
        ),
        Goal("S1 durable", "S1 durable", COPY, 0.75, DURABLE, known="safetensors 0.71, no digests"),
        # At least 70 % of the speed is at most 1 / 0.7 of the time.
        Goal("S1 durable, to the limit", "S1 durable", COPY, 1 / 0.7, "limit: O_DIRECT write"),
    ]
    for who, mode in ((STREAMING, "streaming"), (FIRST, "first")):
        for cache, bound, known in (
            ("warm", 0.25, "safetensors 0.19 unchecked, limit 0.13"),
            ("cold", 0.70, "safetensors 0.95 unchecked, limit 0.48"),
        ):
            what = f"S1 restore, {cache}"
            rows.append(Goal(f"S1 restore, {mode}, {cache}", what, who, bound, LOAD, known=known))
    rows += [
        Goal(f"S1 one array of 16 MB, {cache}", f"S1 one array, {cache}", STREAMING, bound, LOAD)
        for cache, bound in (("warm", 0.02), ("cold", 0.05))
    ]
    rows += [
        Goal("S2 durable", "S2 durable", COPY, 0.4, REFERENCE, "S2 blocked", known="pickle 5 0.31"),
        Goal("S2 load", "S2 load anew, warm", STREAMING, 0.25, LOAD, known="pickle 5 0.12"),
        Goal("S3 bytes of ten", "S3 bytes", COPY, 0.19, DURABLE, known="floor 0.182"),
        Goal("S3 seconds of ten, durable", "S3 seconds", COPY, 0.20, DURABLE, known="prototype 0.15"),
        Goal("S4 bytes a save, average", "S4 bytes, average", COPY, 0.03, REFERENCE, "S4 bytes, largest"),
        Goal("S4 blocked", "S4 blocked", COPY, 1.2, "limit: copy into kept buffers"),
        *(
            Goal(f"memory: {who}", "memory", who, bound * MiB, unit="bytes")
            for who, bound in (
                ("Holdfast save, beside one snapshot", 32),
                ("Holdfast save, background=False", 32),
                ("Holdfast restore, streaming", 64),
                ("Holdfast restore, first", 64),
            )
        ),
    ]
    # "Flat" means here: no size takes a quarter longer for a byte than 256 MiB does.
    base = f"{scale.growth_bytes[min(2, len(scale.growth_bytes) - 1)] >> 20} MiB"
    rows += [
        Goal(f"growth, {way}: {size >> 20} MiB", f"growth, {way}", f"{size >> 20} MiB", 1.25, base)
        for way in ("save", "restore")
        for size in scale.growth_bytes
        if f"{size >> 20} MiB" != base
    ]
    return [*rows, Goal("scan of 10,000", "scan", "Holdfast", 2.0, unit="s")]
