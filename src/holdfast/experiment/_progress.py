"""A live line per phase on the terminal, and nothing at all anywhere else."""

from __future__ import annotations

import os
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .. import rng

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


class Progress:
    """Shows phase, epoch, batch and loss while its `with` block runs, then wipes them away.

    It shows nothing if the output is no terminal, `HOLDFAST_NO_PROGRESS` is set (to anything but the
    empty string), or `enabled` is False; its methods then do nothing. It never touches what the run
    computes.

    Args:
        enabled: False turns it off.
        console: where to show it; standard error by default, so that a script's own output stays clean.
    """

    def __init__(self, enabled: bool = True, *, console: Console | None = None) -> None:
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._phase = ""
        if enabled and not os.environ.get("HOLDFAST_NO_PROGRESS"):
            self._bar = _rich_bar(console)

    @property
    def is_shown(self) -> bool:
        """Whether a loss is shown to anyone: reading one back from a GPU costs time."""
        return self._bar is not None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def phase(self, label: str) -> None:
        """A phase begins; its line takes the place of the one before."""
        if self._bar is None:
            return
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._phase = label
        self._task = self._bar.add_task(label, total=None, loss="")

    def epoch(self, epoch: int, n_epochs: int, n_batches: int | None, batch: int = 0) -> None:
        """Epoch `epoch` (from 0) of `n_epochs` begins, `batch` of its batches (None: unknown) already done."""
        if self._bar is not None and self._task is not None:
            label = f"{self._phase}  epoch {epoch + 1}/{n_epochs}"
            self._bar.reset(self._task, total=n_batches, completed=batch, description=label)

    def batch(self, loss: float | None = None) -> None:
        """One more batch is done."""
        if self._bar is None or self._task is None:
            return
        if loss is None:
            self._bar.advance(self._task)
        else:
            self._bar.update(self._task, advance=1, loss=f"loss {loss:.4g}")


def _rich_bar(console: Console | None) -> RichProgress | None:
    """A bar on this console, or None if it is not a terminal."""
    with rng.preserved():  # rich draws a number while it is imported
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = console or Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        return None
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}", markup=False),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
