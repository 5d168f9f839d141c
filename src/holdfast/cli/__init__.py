"""The `holdfast` command. One module per subcommand, found by being here: see `_app`."""

from ._app import app, main

__all__ = [
    "app",
    "main",
]
