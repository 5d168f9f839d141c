"""What to do about a thing that a resume lost: in the words of the framework that trains."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal, get_args

Kind = Literal[
    "array",
    "iterator",
    "number",
    "index",
    "object",
    "environment",
    "hooks",
    "setting",
    "random state",
    "variable",
]

ORDER: Final[tuple[Kind, ...]] = get_args(Kind)
"""The most frequent cause first: batches that were fetched before the loop, and hidden states; iterators made before the
loop; counters; schedules and others that were not handed over; environments and buffers; what draws at random."""

_HOMES: Final = {
    ("lightning",): "a buffer of the module, or in the state_dict of a callback",
    ("transformers",): "a buffer of the model, or in a callback that is an ExportableState",
    ("model_graph",): "a buffer of a model, or in the state of a callback",
    ("callbacks",): "an attribute of a callback",
    ("policy", "progress"): "an attribute of a callback",
    ("booster",): "",
}
"""Where a framework keeps what a script adds, by what its checkpoints hold."""

_ANYWHERE: Final[Mapping[Kind, str]] = {
    "random state": "something draws from it, or seeds it, only in one of the two: seed at the top, before the run is entered",
    "hooks": "a resume begins without what was registered in the loop: register it before the loop, and let it decide by the step when to act",
    "setting": "a resume begins without what was set in the loop: set it before the loop, or derive it from the step or the epoch",
}
"""What does not depend on the framework."""


def hint(name: str, kind: Kind, holds: Collection[str]) -> str:
    """What to do about `name`, if the script's checkpoints hold parts of these names."""
    home = next((home for parts, home in _HOMES.items() if {*parts} <= {*holds}), None)
    if kind in _ANYWHERE:
        return _ANYWHERE[kind]
    if home is None:
        return _of_a_run(name, kind)
    if not home:
        return "only the rounds are saved: derive it from the number of the round"
    begins = (
        "a resume begins it from scratch: keep its place"
        if kind == "iterator"
        else "keep it where it is saved:"
    )
    return f"{begins} in {home}, or derive it from the step or the epoch"


def _of_a_run(name: str, kind: Kind) -> str:
    short = name.rpartition(".")[2]
    hand_over = f'hand it over with the rest of the state: {{"{short}": {name}, …}}'
    hints: Mapping[Kind, str] = {
        "array": f'{hand_over}; if it is not changed in place, put each new value back: run["{short}"] = …',
        "iterator": "a resume begins it from scratch: let run.batches(loader) go over the data, and make it there, not before the loop",
        "number": "keep it in a dictionary that is handed over, or derive it from run.step or run.epoch",
        "index": "a count that began again, as that of an enumerate does: use run.batch, run.epoch or run.step",
        "object": hand_over,
        "environment": "hand it over by its attributes: holdfast.attributes(env); or an object with state_dict and load_state_dict",
        "variable": "keep what of it changes in a dictionary that is handed over",
    }
    return hints[kind]


def kind_of_named(name: str) -> Kind:
    """Of what a run itself names as lost, by how it names it."""
    if name.endswith(".hooks"):
        return "hooks"
    return "setting" if name.startswith(("logging.", "os.environ.")) else "variable"
