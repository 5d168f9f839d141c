"""S5: a real training loop that saves every few steps, against the same loop that saves nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import mean

import torch

from ..contenders import BlocksLater, Saver, Saving
from ..measure import Bench, timed
from ..states import Language
from .single import start

_STEPS_BETWEEN = 3
_SAVES = 2
_TOKENS = (1, 64)  # sequences, length
NOTHING = "no saving"


@dataclass(frozen=True, slots=True)
class _Nothing:
    name: str = NOTHING


def run(bench: Bench, savings: Sequence[Saving]) -> None:
    """Time blocked by a save, and the entire loop's time beyond that of the loop without saving, per save.

    After the last save the loop continues for as many steps as between saves, and then waits for it.
    """
    torch.manual_seed(5)
    model = Language(bench.scale.s5_width, bench.scale.s5_layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    noise = torch.Generator().manual_seed(5)
    tokens = torch.randint(1000, _TOKENS, generator=noise)

    def step() -> None:
        optimizer.zero_grad()
        logits = model(tokens)
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, 1000), tokens[:, 1:].reshape(-1))
        loss.backward()
        optimizer.step()

    def save(saver: Saver, saving: Saving, number: int) -> float:
        with timed() as seconds:
            if saving.wants_objects:
                state = {"model": model, "optimizer": optimizer}
            else:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            saver.save(state, f"step{number}")
            return seconds()

    with ExitStack() as stack:
        savers = start(bench, "S5", savings, stack)
        without_s: dict[int, float] = {}

        def turn(who: Saving | _Nothing, round: int) -> None:
            blocked_s = []
            with bench.fresh_folder() as root:
                if isinstance(who, Saving):
                    savers[who.name].begin(root)
                step()
                with timed() as seconds:
                    for number in range(_SAVES + 1):
                        for _ in range(_STEPS_BETWEEN):
                            step()
                        if isinstance(who, Saving) and number < _SAVES:
                            blocked_s.append(save(savers[who.name], who, number))
                    if isinstance(who, Saving):
                        savers[who.name].finish()
                    loop_s = seconds()
            if not isinstance(who, Saving):
                without_s[round] = loop_s
                bench.samples.add("S5 step", who.name, round, loop_s / (_STEPS_BETWEEN * (_SAVES + 1)))
                return
            saver = savers[who.name]
            later_s = saver.blocked_s / _SAVES if isinstance(saver, BlocksLater) else 0.0
            bench.samples.add("S5 blocked", who.name, round, max(mean(blocked_s), later_s))
            bench.samples.add("S5 added", who.name, round, (loop_s - without_s[round]) / _SAVES)

        bench.rounds("S5", [_Nothing(), *(saving for saving in savings if saving.name in savers)], turn)
