"""The command line: finds its subcommands, and turns errors into a line and an exit code.

Every module of `inspect`, `manage` and `rerun` without a leading underscore is a subcommand: it offers a function of its name, or `register(app)` where it
is more than one; nothing else needs to know of it. Its top-level imports are paid by every other command too, so a
framework is imported inside the function.
"""

from __future__ import annotations

import importlib
import io
import pkgutil
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .. import __version__
from ..errors import HoldfastError, RestoreError
from . import inspect, manage, rerun
from ._output.as_text import printable
from ._output.console import Console, die_of_broken_pipe
from ._output.exit import INTERRUPTED, describe, exit_code


class _Group(TyperGroup):
    """Our errors become one red line and an exit code; Ctrl+C and a closed pipe just the code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # a pipe that was closed is noticed here, not while Python shuts down
        except HoldfastError as err:
            Console(stderr=True).say(f"holdfast: {_message(err)}", "red")
            raise typer.Exit(exit_code(err)) from None
        except BrokenPipeError:
            die_of_broken_pipe()
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        return result


def _message(err: HoldfastError) -> str:
    # These may be lists, one problem a line; in all others characters that could break a line are escaped.
    lines = str(err).split("\n") if isinstance(err, RestoreError) else [str(err)]
    return "\n".join(printable(line) for line in lines)


app = typer.Typer(
    name="holdfast",
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=describe(),
)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"holdfast {__version__}")
        raise typer.Exit


@app.callback()
def _holdfast(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Look at, compare, verify, convert and delete the checkpoints of machine-learning experiments."""


def _register(name: str) -> None:
    module = importlib.import_module(name)
    function = name.rpartition(".")[2]
    if hasattr(module, "register"):
        module.register(app)
    else:
        app.command(function.rstrip("_"))(getattr(module, function))


for _package in (inspect, manage, rerun):
    for _module in pkgutil.iter_modules(_package.__path__):
        if not _module.name.startswith("_"):
            _register(f"{_package.__name__}.{_module.name}")


def main() -> None:
    """The console entry point."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a terminal cannot encode must not end the command
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
