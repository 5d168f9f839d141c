"""The page of the command line: every command from its own help."""

from __future__ import annotations

import re
from typing import Any

TWINS = {
    "archive": ("archive",),
    "average": ("average",),
    "bisect": (),
    "check": (),
    "demo": (),
    "diff": ("diff",),
    "du": (),
    "export": ("export",),
    "fork": ("fork",),
    "import": ("import_checkpoint",),
    "log": (),
    "ls": ("scan",),
    "pin": (),
    "prune": ("plan", "prune"),
    "replay": (),
    "rm": (),
    "show": ("open",),
    "top": (),
    "torture": (),
    "unpin": (),
    "verify": ("Checkpoint.verify",),
}
"""What does the same in Python, by command; nothing, if there is only the command."""


def commands() -> dict[str, Any]:
    """Every command, by name."""
    import typer

    from holdfast.cli import app

    group: Any = typer.main.get_command(app)
    return {name: command for name, command in sorted(group.commands.items()) if not command.hidden}


def page() -> str:
    """The page: usage, what it does, arguments and options, and what does the same in Python."""
    from holdfast.cli import app

    intro = (
        "# The command line\n\n"
        "`holdfast COMMAND --help` prints the same; [how to use them](../command-line.md), with what they print, has a page.\n\n"
        f"{_escaped(str(app.info.epilog))}\n"
    )
    return "\n".join([intro, *(_command(name, command) for name, command in commands().items())])


def _command(name: str, command: Any) -> str:
    import typer

    context = typer.Context(command, info_name=name)
    usage = _plain(" ".join(["holdfast", name, *command.collect_usage_pieces(context)]))
    records = [
        parameter.get_help_record(context)
        for parameter in command.params
        if not getattr(parameter, "hidden", False)
    ]
    rows = [f"| {_code(names)} | {_escaped(help_)} |" for names, help_ in filter(None, records)]
    table = ["| argument or option | meaning |", "|---|---|", *rows, ""] if rows else []
    twins = ", ".join(f"[`holdfast.{twin}`][holdfast.{twin}]" for twin in TWINS[name])
    return "\n".join(
        [
            f"## `holdfast {name}` {{#{name}}}\n",
            f"```text\n{usage}\n```\n",
            f"{_escaped(_unwrapped(command.help or ''))}\n",
            *table,
            f"In Python: {twins}.\n" if twins else "",
        ]
    )


def _plain(usage: str) -> str:
    """Usage without the marks of what is required and what may come again, which the metavars say already."""
    return re.sub(r"(\.\.\.)(?:[\]}]*\.\.\.)", r"\1", re.sub(r"[{}]", "", usage)).replace("[[", "[")


def _unwrapped(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.replace("\f", "").split("\n\n"))


def _code(names: str) -> str:
    return f"`{names}`".replace("|", "\\|")


def _escaped(text: str) -> str:
    """Plain text as Markdown, with what stands in backticks left as it is."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()) if "\n\n" not in text else text)
    plain = [part if part.startswith("`") else re.sub(r"([\\*_\[\]<>|#])", r"\\\1", part) for part in parts]
    return "".join(part.replace("|", "\\|") if part.startswith("`") else part for part in plain)
