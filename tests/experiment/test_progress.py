"""The progress display: there for a person at a terminal, and for nobody else."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from holdfast.experiment import Progress


def terminal(**options) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=100, **({"force_terminal": True, "force_jupyter": False} | options)), out


def show(console: Console, enabled: bool = True) -> Progress:
    with Progress(enabled, console=console) as progress:
        for label in ("pretrain", "test"):
            progress.phase(label)
            for epoch in range(2):
                progress.epoch(epoch, n_epochs=2, n_batches=3)
                for batch in range(3):
                    progress.batch(loss=1 / (batch + 1))
    return progress


def test_a_terminal_shows_phase_epoch_batch_and_loss_and_is_clean_afterwards(monkeypatch):
    monkeypatch.delenv("HOLDFAST_NO_PROGRESS", raising=False)
    console, out = terminal()
    assert show(console).is_shown
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "test  epoch 2/2" in text
    assert "3/3" in text
    assert "loss 0.3333" in text
    assert out.getvalue().rstrip("\n").endswith("\x1b[2K"), "the line is wiped"


def test_a_phase_that_resumes_in_the_middle_starts_there():
    console, out = terminal()
    with Progress(console=console) as progress:
        progress.phase("[bold]odd[/bold]")
        progress.epoch(4, n_epochs=9, n_batches=10, batch=6)
        progress.batch()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "[bold]odd[/bold]  epoch 5/9" in text
    assert "7/10" in text


@pytest.mark.parametrize("how", ["no terminal", "environment", "argument"])
def test_nothing_is_written_where_nobody_looks(how, monkeypatch):
    monkeypatch.delenv("HOLDFAST_NO_PROGRESS", raising=False)
    if how == "environment":
        monkeypatch.setenv("HOLDFAST_NO_PROGRESS", "1")
    console, out = terminal(force_terminal=how != "no terminal")
    assert not show(console, enabled=how != "argument").is_shown
    assert out.getvalue() == ""


def test_an_error_in_the_run_leaves_a_clean_terminal():
    console, out = terminal()

    def interrupted():
        with Progress(console=console) as progress:
            progress.phase("pretrain")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert out.getvalue().count("\x1b[?25l") == out.getvalue().count("\x1b[?25h") == 1, "the cursor is back"
