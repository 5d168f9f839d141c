"""What a script switches in mid-run for all that runs in its process: put back, or named; and what a `with` block sets is neither."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

import holdfast
from holdfast import Checkpointing, Resume, Run, Write

torch = pytest.importorskip("torch")

_KERNELS = "flash=on, memory-efficient=on"


class Crash(Exception):
    """Ends a run from within."""


@pytest.fixture(autouse=True)
def process():
    """A process in which nothing was switched yet; called in a test, another one."""

    def begin() -> None:
        torch.set_grad_enabled(True)
        torch.set_default_device(None)
        torch.set_autocast_enabled("cpu", False)
        torch.backends.cuda.enable_math_sdp(True)
        os.environ.pop("STAGE", None)
        os.environ.pop("TRITON_STAGE", None)

    begin()
    yield begin
    begin()


def policy() -> Checkpointing:
    return Checkpointing(save_on="batch_end", write=Write(durability="process"))


def go(
    directory: Path,
    crash: int | None = None,
    *,
    switch: Callable[[], object] = lambda: None,
    around: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
    ignore: str = "nothing",
    **options,
) -> tuple[Run, list[float]]:
    """Eight steps, of which the third switches something; returns under which switches each step was made."""
    seen = np.zeros(8)
    with Run(directory, {"seen": seen}, checkpointing=policy(), **options) as run:
        run.ignore(ignore)
        with around():
            for step in run.steps(8):
                if step == crash:
                    raise Crash
                if step == 2:
                    switch()
                device = torch.get_default_device().type == "meta"
                grad, auto = torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")
                seen[step] = 1 + grad + 2 * auto + 4 * device + 8 * int(os.environ.get("STAGE", "0"))
    return run, seen.tolist()


def resumed(
    directory: Path, process: Callable[[], None], crash: int = 5, **options
) -> tuple[Run, list[float]]:
    process()
    with pytest.raises(Crash):
        go(directory, crash, **options)
    process()
    return go(directory, **{**options, "switch": lambda: None})


def test_the_grad_mode_is_put_back(tmp_path, process, caplog):
    _, expected = go(tmp_path / "other", switch=lambda: torch.set_grad_enabled(False))
    assert len({*expected}) == 2
    with caplog.at_level("INFO", "holdfast"):
        run, seen = resumed(tmp_path / "runs", process, switch=lambda: torch.set_grad_enabled(False))
    assert (run.last_resume.verdict, seen) == ("exact", expected)
    assert any(line.endswith(": exact; variables put back: torch grad mode") for line in caplog.messages)


@pytest.mark.parametrize(
    ("switch", "said"),
    [
        (lambda: torch.set_autocast_enabled("cpu", True), "torch autocast was cpu torch.bfloat16 and is off"),
        (lambda: torch.set_default_device("meta"), "torch default device was meta and is cpu"),
        (
            lambda: torch.backends.cuda.enable_math_sdp(False),
            f"torch attention kernels was {_KERNELS}, math=off and is {_KERNELS}, math=on",
        ),
    ],
)
def test_another_switch_is_named(switch, said, tmp_path, process):
    run, _ = resumed(tmp_path, process, switch=switch)
    assert run.last_resume.verdict == f"not exact: {said}"


@pytest.mark.parametrize(
    "around",
    [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu"), lambda: torch.device("meta")],
)
def test_what_the_loop_runs_in_is_as_it_was(around, tmp_path, process):
    _, expected = go(tmp_path / "other", around=around)
    run, seen = resumed(tmp_path / "runs", process, around=around)
    assert (run.last_resume.verdict, seen) == ("exact", expected)


def test_a_block_in_which_is_saved_manually_is_no_switch(tmp_path):
    with Run(tmp_path, {"weight": np.zeros(1)}, checkpointing=policy()) as run:
        for step in run.steps(3):
            if step == 1:
                with torch.no_grad():
                    run.save("best")
    run, seen = None, []
    with Run(tmp_path, {"weight": np.zeros(1)}, checkpointing=policy(), resume=Resume("best")) as run:
        for _ in run.steps(3):
            seen += [torch.is_grad_enabled()]
    assert (run.last_resume.verdict, seen) == ("exact", [True])


def test_what_a_block_around_the_batches_sets_is_no_switch(tmp_path):
    def train(crash: int | None) -> Run:
        with Run(tmp_path, {"weight": np.zeros(1)}, checkpointing=policy()) as run:
            for epoch in run.epochs(3):
                with torch.set_grad_enabled(epoch != 1):
                    for batch in run.batches([1, 2, 3]):
                        assert torch.is_grad_enabled() == (epoch != 1)
                        run["weight"][:] += batch
                        if run.step == crash:
                            raise Crash
        return run

    for crash in (3, 4, 5, 6):
        with pytest.raises(Crash):
            train(crash)
    assert train(None).last_resume.verdict == "exact"


# --- environment variables --------------------------------------------------------------------------


def stage() -> None:
    os.environ["STAGE"] = "9"


def test_an_environment_variable_is_named_and_its_value_is_nowhere(tmp_path, process, caplog):
    run, _ = resumed(tmp_path, process, switch=lambda: os.environ.__setitem__("STAGE", "31337"))
    assert run.last_resume.verdict == "exact but for: os.environ.STAGE"
    assert run.last_resume.unsaved == ("os.environ.STAGE",)
    [said] = [line for line in caplog.messages if line.startswith("not saved: os.environ.STAGE")]
    assert "run.ignore('os.environ.STAGE')" in said
    assert "31337" not in caplog.text
    for each in holdfast.scan(tmp_path):
        assert b"31337" not in b"".join(
            file.read_bytes() for file in Path(each.path).rglob("*") if file.is_file()
        )


def test_one_that_is_taken_away_is_named_too(tmp_path, process):
    def begin() -> None:
        process()
        stage()

    run, _ = resumed(tmp_path, begin, switch=lambda: os.environ.pop("STAGE"))
    assert run.last_resume.verdict == "exact but for: os.environ.STAGE"


def test_one_that_is_as_it_was_again_is_not_named(tmp_path, process):
    def briefly() -> None:
        stage()
        del os.environ["STAGE"]

    assert resumed(tmp_path, process, switch=briefly)[0].last_resume.verdict == "exact"


def test_one_that_was_set_before_the_loop_is_the_scripts(tmp_path, process):
    def begin() -> None:
        process()
        stage()

    assert resumed(tmp_path, begin)[0].last_resume.verdict == "exact"


def test_one_that_is_ignored_or_of_a_library_is_not_named(tmp_path, process):
    assert (
        resumed(tmp_path / "a", process, switch=stage, ignore="os.environ.*")[0].last_resume.verdict
        == "exact"
    )
    library = lambda: os.environ.__setitem__("TRITON_STAGE", "1")  # noqa: E731
    assert resumed(tmp_path / "b", process, switch=library)[0].last_resume.verdict == "exact"
