"""The figures to reach, each as a bound on something measured."""

from __future__ import annotations

from dataclasses import dataclass

from .measure import REFERENCE, Samples, Summary
from .states import MiB, Scale

COPY, LAZY = "Holdfast (copy)", "Holdfast (lazy)"
FIRST_SAVE = "Holdfast (copy, first save)"
STREAMING, FIRST = "Holdfast (streaming)", "Holdfast (first)"
IN_A_RUN = "Holdfast (Run)"
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
        Goal("S2 durable", "S2 durable", COPY, 0.5, REFERENCE, "S2 blocked", known="3.3, pickle 5 0.31"),
        Goal("S2 durable, processor time", "S2 processor", COPY, 0.5, REFERENCE),
        Goal("S2 durable, first save, processor time", "S2 processor", FIRST_SAVE, 0.5, REFERENCE),
        Goal("S2 load", "S2 load anew, warm", STREAMING, 0.3, LOAD, known="0.54, pickle 5 0.12"),
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
    rows += _many_arrays(scale)
    # "Flat" means here: no size takes a quarter longer for a byte than 256 MiB does.
    base = f"{scale.growth_bytes[min(2, len(scale.growth_bytes) - 1)] >> 20} MiB"
    rows += [
        Goal(f"growth, {way}: {size >> 20} MiB", f"growth, {way}", f"{size >> 20} MiB", 1.25, base)
        for way in ("save", "restore")
        for size in scale.growth_bytes
        if f"{size >> 20} MiB" != base
    ]
    return [*rows, Goal("scan of 10,000", "scan", "Holdfast", 2.0, unit="s")]


def _many_arrays(scale: Scale) -> list[Goal]:
    """S6 to S8. What a busy machine makes of waiting, it does not make of processor time: both are there."""
    middle = len(scale.s6_parameters) // 2
    rows: list[Goal] = []
    for parameters, factor in sorted(
        {scale.s6_parameters[-1]: 1.3, scale.s6_parameters[middle]: 1.0}.items()
    ):
        case = f"S6 {parameters}"
        for measure, who, bound, whose, against, known in (
            ("blocked", COPY, 0.10, REFERENCE, "", "0.9"),
            ("blocked, processor", COPY, 0.10, REFERENCE, "", "0.9"),
            ("stolen", COPY, 0.25, REFERENCE, "blocked", "0.8"),
            ("durable", COPY, 0.5, DURABLE, "", "0.9 to 1.9"),
            ("durable, processor", COPY, 0.5, DURABLE, "", ""),
            *(
                (f"restored{kind}", mode, 0.30, LOAD, "", known)
                for mode in (STREAMING, FIRST)
                for kind, known in (("", "1.07"), (", processor", "1.07"))
            ),
        ):
            row = f"{case} {measure}" + (f", {who}" if "restored" in measure else "")
            where = f"{case} {against}" if against else ""
            rows.append(
                Goal(row, f"{case} {measure}", who, round(factor * bound, 3), whose, where, known=known)
            )
    for busy in ("skip", "wait"):
        who = f'Holdfast (Run, busy="{busy}")'
        rows += [
            Goal(f'S7 step, busy="{busy}"', "S7 step", who, bound, whose)
            for whose, bound in (
                ("DCP async (kept stager)", 1.0),
                ("DCP async (kept stager and plan)", 1.0),
                (DURABLE, 1 / 3),
            )
        ]
    rows += [
        Goal(f"S8 {body} without a save, {way}", f"S8 {body}, added", way, bound, unit="s", known=known)
        for body in ("empty step", "step")
        for way, bound, known in (
            ("Run.steps", 5e-6, "20 to 60 µs"),
            ("Run.steps and log", 10e-6, "90 to 160 µs"),
            ("Run.batches", 5e-6, "20 to 60 µs"),
            ("Run.batches and log", 10e-6, "90 to 160 µs"),
        )
    ]
    return [
        *rows,
        Goal("S8 small state, blocked", "S8 small state, blocked", COPY, 0.001, unit="s"),
        Goal(
            "S8 small state, blocked, Run", "S8 small state, blocked", IN_A_RUN, 0.001, unit="s", known="6 ms"
        ),
        Goal("S8 small state, durable", "S8 small state, durable", COPY, 4.0, DURABLE),
    ]
