"""Draws `docs/assets/terminal.svg`: a terminal in which the README's first block is run twice, and looked at.

`python docs/_generate/terminal.py` makes it, and needs torch. The picture fetches no fonts.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parent.parent.parent
PICTURE = ROOT / "docs" / "assets" / "terminal.svg"
WIDTH = 88
COMMANDS = [
    "python train.py",
    "python train.py",
    "holdfast ls runs/first",
    "holdfast verify runs/first",
]


def main() -> None:
    readme = (ROOT / "README.md").read_text()
    first = re.findall(r"^```python\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)[0]
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "train.py").write_text(first)
        for command in COMMANDS:
            console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
            console.print(Text.from_ansi(_output(command, folder)))
    PICTURE.write_text(_without_fonts(console.export_svg(title="Holdfast", unique_id="terminal")))


def _output(command: str, folder: str) -> str:
    python = f"{sys.executable} -m holdfast" if command.startswith("holdfast") else sys.executable
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
    done = subprocess.run(
        [*python.split(), *command.split()[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.rstrip("\n")


def _without_fonts(svg: str) -> str:
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return svg.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace")


if __name__ == "__main__":
    main()
