"""What holds for every command: exit codes, harmless output, plain output off a terminal, a fast start."""

import io
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from holdfast import __version__, cli, errors
from holdfast.cli._output import as_text
from holdfast.cli._output import exit as exits
from holdfast.cli._output.columns import Column, fit, layout
from holdfast.cli._output.console import Console
from holdfast.records import Moment

HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\n\x9b31m\u202e\u200b[red]:skull:[/]\x7f"


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """`python -m holdfast …` in a process of its own, without a terminal."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "holdfast", *map(str, arguments)],
        capture_output=True,
        env=os.environ | environment,
        timeout=60,
    )


def every_error() -> list[errors.HoldfastError]:
    def below(kind: type[errors.HoldfastError]) -> list[type[errors.HoldfastError]]:
        return [kind, *(deeper for sub in kind.__subclasses__() for deeper in below(sub))]

    return [kind.__new__(kind) for kind in below(errors.HoldfastError) if kind is not errors.HoldfastError]


@pytest.mark.parametrize("err", every_error(), ids=lambda err: type(err).__name__)
def test_every_error_of_ours_has_an_exit_code_that_help_tells(err, holdfast):
    code = exits.exit_code(err)
    assert code in range(1, 10)
    assert f"{code} " in " ".join(holdfast("--help").stdout.split())


@pytest.mark.medium
def test_errors_are_one_line_and_an_exit_code_never_a_traceback(experiment, tmp_path):
    shown = command("show", tmp_path / "no\nwhere\x1b[2J")
    assert shown.returncode == 2
    assert shown.stdout == b""
    [line] = shown.stderr.decode().splitlines()
    assert line.startswith(f"holdfast: {tmp_path}/no\\nwhere\\x1b[2J: there is no checkpoint of this path")


def test_wrong_usage_exits_with_2(holdfast):
    for arguments in (("nonsense",), ("ls", "--nonsense"), ("show",), ("rm",), ("show", "x", "--depth", "0")):
        assert holdfast(*arguments).exit_code == 2


def test_hostile_text_reaches_no_terminal(experiment, holdfast, monkeypatch):
    """Names, metrics, reasons, keys and types are written by whoever made the file."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "400")
    place = experiment.save(
        f"{HOSTILE.replace('/', '')}/name\u202e\u200b[red]skull[]",  # a record's name holds no controls
        {HOSTILE: {"deep": np.zeros(3)}, "text": HOSTILE, "bytes": HOSTILE.encode(), "list": [HOSTILE, 1]},
        moment=Moment(run=HOSTILE, hook=HOSTILE, phase=HOSTILE),
        created=HOSTILE,
        reason=HOSTILE,
        metrics={HOSTILE: 1.0},
        versions={HOSTILE: HOSTILE},
        environment={HOSTILE: HOSTILE},
        commit=HOSTILE,
    )
    place = place.rename(place.with_name(f"name{HOSTILE.replace('/', '')}.ckpt.mml"))
    path = next(leaf["path"] for leaf in json.loads(holdfast("show", place, "--json").stdout)["arrays"])
    runs = [holdfast("show", place, "--all"), holdfast("show", place, "--json")]
    experiment.rot(place, path)
    listings = (("ls", "--wide"), ("ls", "--json"), ("verify",), ("verify", "--json"))
    runs += [
        holdfast(*arguments, experiment.directory) for arguments in (*listings, ("du",), ("du", "--json"))
    ]
    other = experiment.save("other", {"x": np.zeros(3)}, metrics={HOSTILE + "2": 1.0})
    runs += [
        holdfast("diff", *pair, *how)
        for pair in ((place, other), (other, place))
        for how in ((), ("--json",))
    ]
    runs += [
        holdfast("bisect", experiment.directory, "--run", HOSTILE[:3], *how)
        for how in (("--nan",), ("--nan", "--json"))
    ]
    runs += [
        holdfast("export", place, experiment.directory / "a.npz", "--overwrite", *how)
        for how in ((), ("--json",))
    ]
    (place / "checkpoint.json").write_bytes(b"")
    runs += [holdfast("ls", experiment.directory), holdfast("show", place), holdfast("rm", place, "--yes")]
    for shown in runs:
        text = shown.stdout + shown.stderr
        for ours in (
            "\x1b[0m",
            "\x1b[1m",
            "\x1b[2m",
            *(f"\x1b[{color}m" for color in ("31", "32", "33", "35", "36", "1;31")),
        ):
            text = text.replace(ours, "")
        assert "skull" in text
        assert [line for line in text.split("\n") if not line.isprintable()] == []


@given(st.text())
def test_printable_text_has_one_line_and_no_controls_and_plain_text_stays_as_it_is(text):
    shown = as_text.printable(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text


@given(st.integers(0, 10**18))
def test_sizes_have_three_digits_and_are_right_to_half_a_percent(size):
    number, unit = as_text.size(size).split()
    factor = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15}[unit]
    assert abs(float(number) * factor - size) <= 0.005 * size
    assert len(number) <= 4 or unit == "PB"


@pytest.mark.parametrize(
    ("created", "shown"),
    [
        ("2026-03-01T12:00:00.000000+00:00", "0 s ago"),
        ("2026-03-01T11:57:30+00:00", "2 min ago"),
        ("2026-03-01T09:00:00+00:00", "3 h ago"),
        ("2026-02-01T10:00:00+00:00", "2026-02-01"),
        ("2026-03-01T12:00:01+00:00", "2026-03-01"),  # another machine's clock
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+14:00"),
        ("yesterday", "yesterday"),
    ],
)
def test_ages_are_told_and_times_that_make_no_sense_shown_as_they_are(created, shown):
    assert as_text.age(created, 1772366400.0).startswith(shown)


def moments():
    hooks = [
        "epoch_end",
        "batch_start",
        "phase_end",
        "experiment_start",
        "preempted",
        "",
        "_",
        "step_end",
        "run",
    ]
    index = st.none() | st.integers(0, 9)
    return st.builds(
        Moment,
        run=st.just("r"),
        hook=st.sampled_from(hooks),
        phase=st.none() | st.just("p"),
        epoch=index,
        batch=index,
    )


@given(moments())
def test_where_a_run_was_is_told_for_any_moment(moment):
    text = as_text.where(moment)
    for name, index in (("phase", moment.phase), ("epoch", moment.epoch), ("batch", moment.batch)):
        if index is not None:
            assert (f"{name} {index}" if name != "phase" else index) in text
    for word in moment.hook.split("_"):
        assert word in text


COLUMNS = (
    Column("name", floor=6, keep_end=True),
    Column("kind", expendable=2),
    Column("size", right=True),
    Column("reason", floor=4, expendable=1),
)


@given(st.lists(st.tuples(*[st.text("ab 漢é", max_size=20)] * 4), max_size=5), st.integers(40, 120))
def test_a_table_fits_the_terminal_and_its_columns_are_aligned(rows, limit):
    cells = [[(text, "") for text in row] for row in rows]
    lines, left_out = layout(COLUMNS, cells, limit)
    printed = ["".join(text for text, _ in line) for line in lines]
    assert all(cell_len(line) <= limit for line in printed)
    assert set(left_out) <= {"kind", "reason"}
    complete, nothing = layout(COLUMNS, cells, None)
    assert nothing == []
    for row, line in zip(rows, complete[1:], strict=True):
        assert [text.strip() for text, _ in line] == [text.strip() for text in row][: len(line)]


def test_a_narrow_terminal_costs_the_expendable_columns_first():
    widths = [20, 5, 8, 30]
    assert fit(COLUMNS, widths, 69) == (widths, [0, 1, 2, 3])
    assert fit(COLUMNS, widths, 50) == ([20, 5, 8, 11], [0, 1, 2, 3])
    assert fit(COLUMNS, widths, 26) == ([10, 0, 8, 4], [0, 2, 3])
    assert fit(COLUMNS, widths, 10) == ([6, 0, 8, 0], [0, 2])  # as good as it gets


def test_output_to_a_terminal_has_colours_unless_no_color_is_set(experiment, holdfast, monkeypatch):
    experiment.save("a", metrics={"loss": 1.0})
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[36mloss 1" in holdfast("ls", experiment.directory).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[36m" not in holdfast("ls", experiment.directory).stdout


@pytest.mark.medium
def test_python_m_holdfast_is_the_command():
    assert command("--version").stdout == f"holdfast {__version__}\n".encode()


@pytest.mark.medium
def test_a_terminal_that_knows_few_letters_gets_what_it_knows(experiment):
    experiment.save("a")
    shown = command("ls", experiment.directory, PYTHONIOENCODING="ascii")
    assert shown.returncode == 0
    assert b"pretrain ? epoch 1 end" in shown.stdout


@pytest.mark.medium
def test_a_reader_that_closes_the_pipe_ends_the_command_without_a_word(experiment):
    experiment.save("a", {f"key{index}": index for index in range(50_000)})
    place = experiment.directory / "a.ckpt.mml"
    for arguments in (("show", place, "--all"), ("ls", experiment.directory, "--json")):
        reader, writer = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-m", "holdfast", *map(str, arguments)], stdout=writer, stderr=subprocess.PIPE
        )
        os.close(writer)
        os.close(reader)
        _, complaints = process.communicate(timeout=60)
        assert (process.returncode, complaints) == (141, b"")


@pytest.mark.medium
def test_the_command_starts_fast_and_imports_no_framework(experiment):
    experiment.save("a")
    script = (
        "import sys; from holdfast.cli import app; app(['ls', sys.argv[1]], standalone_mode=False);"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    before = os.times()
    shown = subprocess.run(
        [sys.executable, "-c", script, str(experiment.directory)], capture_output=True, text=True, check=True
    )
    after = os.times()
    took_s = after.children_user + after.children_system - before.children_user - before.children_system
    loaded = set(shown.stdout.splitlines()[-1].split())
    assert "numpy" in loaded
    assert not loaded & {"torch", "sklearn", "pandas", "jax", "scipy", "safetensors"}
    assert took_s < 2.0  # of processor time; 0.35 s on a quiet machine


def test_a_command_is_a_file_of_the_folder():
    commands = {info.callback.__name__ for info in cli.app.registered_commands if info.callback}
    assert {"ls", "show", "verify", "rm"} <= commands


def test_every_command_has_json(holdfast):
    for info in cli.app.registered_commands:
        assert "--json" in holdfast(info.name, "--help", env={"COLUMNS": "200"}).stdout, info.name


def test_a_console_writes_lines_of_any_length_uncut():
    console = Console()
    console.file = io.StringIO()
    console.say("x" * 1000)
    assert console.file.getvalue() == "x" * 1000 + "\n"


def test_errors_keep_their_exit_code_across_processes():
    err = errors.CheckpointDamagedError("place", "what")
    assert exits.exit_code(pickle.loads(pickle.dumps(err))) == 1
