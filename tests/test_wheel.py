"""What a stranger installs: the quickstarts run from the built wheel, in an environment of its own, far from the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.docs.test_docs import DOCS, OTHERS, blocks

ROOT = DOCS.parent
ONE_LINE = "import holdfast; holdfast.save('x', {'a': 1}); print(holdfast.load('x'))"


def run(*command: str | Path, cwd: Path) -> str:
    without = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        command, cwd=cwd, env=without, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has the wheel, and borrows all but Holdfast from this environment."""
    place = tmp_path_factory.mktemp("stranger")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", place / "wheels", ROOT, cwd=place)
    run(sys.executable, "-m", "venv", "--without-pip", place / "venv", cwd=place)
    made = place / "venv" / "bin" / "python"
    own = run(made, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place).strip()
    # A path file in a borrowed directory is not read, so the checkout that is installed here stays out of sight.
    (Path(own) / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    (wheel,) = (place / "wheels").glob("holdfast-*.whl")
    run(*pip, "install", "--no-deps", "--target", own, wheel, cwd=place)
    return made


@pytest.mark.slow
def test_it_is_the_wheel_that_runs(python, tmp_path):
    shown = Path(run(python, "-c", "import holdfast; print(holdfast.__file__)", cwd=tmp_path).strip())
    assert shown.is_relative_to(python.parents[1])
    assert run(python, "-c", ONE_LINE, cwd=tmp_path) == "{'a': 1}\n"
    assert "x" in run(python, "-m", "holdfast", "ls", ".", cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(DOCS.glob("quickstart*.md")), ids=lambda page: page.name)
def test_a_quickstart_runs_from_it(page: Path, python, tmp_path):
    printed = run(python, "-W", "error", *OTHERS, "-c", blocks(page, "python"), cwd=tmp_path)
    assert printed == blocks(page, "output")
