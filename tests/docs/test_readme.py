"""The README's code runs as it stands, and again; its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.integrations import options, works_with

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def run(script: str, directory: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.medium
def test_the_readme_runs_and_a_second_time_it_resumes(tmp_path):
    readme = (ROOT / "README.md").read_text()
    script = "\n".join(blocks(ROOT / "README.md"))
    said = re.search(r"^```output\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    assert said is not None
    assert run(script, tmp_path) == said[1]
    again = run(script, tmp_path)
    assert again == "24 steps; resumed: exact\n"
    assert f"`{again.strip()}`" in readme


def test_the_loop_in_the_readme_takes_less_than_twenty_lines():
    lines = [line for line in blocks(ROOT / "README.md")[0].splitlines() if line.strip()]
    assert len(lines) < 20


def test_the_readme_has_no_line_that_nobody_can_read():
    lines = re.sub(
        r"^```.*?^```|^\|.*?$", "", (ROOT / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE
    )
    assert [line for line in lines.splitlines() if len(line) > 160] == []


def test_the_lines_for_a_framework_are_those_of_its_quickstart():
    """Which are run there; but for the trainer, which has more arguments on its page."""
    excerpts = re.findall(r"^```py\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    run_there = {line for page in ROOT.glob("docs/quickstart-*.md") for line in page.read_text().splitlines()}
    lines = [line for excerpt in excerpts for line in excerpt.splitlines()]
    assert [line for line in lines if line not in run_there] == [
        "trainer = L.Trainer(max_epochs=3, callbacks=[checkpoints])"
    ]


@pytest.mark.medium
def test_the_page_of_experiments_run_again_resumes_exactly(tmp_path):
    script = "\n".join(blocks(ROOT / "docs" / "experiment.md"))
    first = run(script, tmp_path)
    assert run(script + "\nassert experiment.last_resume.verdict == 'exact'\n", tmp_path) == first


def test_what_it_is_said_to_work_with_is_what_the_acceptance_test_holds_to_it():
    said = re.search(
        r"<!-- works with: begin -->\n(.*)<!-- works with: end -->",
        (ROOT / "README.md").read_text(),
        re.DOTALL,
    )
    assert said is not None
    assert said[1] == works_with.table(), "python -m tests.support.integrations.works_with prints the table"


def test_the_page_of_versions_names_those_of_every_extra_and_of_the_tests():
    page = (ROOT / "docs" / "integrations" / "versions.md").read_text()
    assert works_with.extras_table() in page, (
        "python -m tests.support.integrations.works_with prints the table"
    )


def test_the_oldest_version_that_an_extra_allows_is_the_oldest_that_is_tested():
    asked = [each for requirements in works_with.extras().values() for each in requirements]
    floors = {works_with.name_of(each): re.search(r"[>=]=([\d.]+)", each) for each in asked}
    assert None not in floors.values()
    untested = {"torch", "rich", "ipython"}  # see the page
    tested = {name.removesuffix("-cpu"): pin for name, pin in works_with.OLDEST.items()}
    differ = {
        name: (floor[1], tested.get(name))
        for name, floor in floors.items()
        if name not in untested and not f"{tested.get(name)}.".startswith(f"{floor[1]}.")
    }
    assert differ == {}


def test_what_a_policy_may_say_in_each_framework_is_what_the_acceptance_test_tries():
    page = (ROOT / "docs" / "integrations" / "README.md").read_text()
    said = re.search(r"<!-- options: begin -->\n(.*)<!-- options: end -->", page, re.DOTALL)
    assert said is not None
    assert said[1] == options.table(), "python -m tests.support.integrations.options prints the table"


@pytest.mark.slow
def test_the_commands_that_compare_search_and_torture_do_what_their_page_shows(tmp_path):
    """Each line after a `$` in its consoles; what it prints is compared by words, since times and sizes vary."""
    consoles = re.findall(
        r"^```console\n(.*?)^```", (ROOT / "docs" / "checking.md").read_text(), re.DOTALL | re.MULTILINE
    )
    run("from holdfast.cli import main; import sys; sys.argv[1:] = ['demo', '--keep', 'runs/demo', '--kills', '3', '--seed', '0']; main()",
        tmp_path)  # fmt: skip  # one of the kills comes late enough that there is something to resume from
    shown = re.findall(r"^\$ (holdfast .*)\n((?:[^$].*\n|\n)*)", "".join(consoles), re.MULTILINE)
    assert [command.split()[1] for command, _ in shown] == ["diff", "bisect", "torture", "show"]
    for command, output in shown:
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(here(command))],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        if " show " in command:  # of which a part is shown
            assert "  resumed      exact, from " in done.stdout
            continue
        if " torture " in command:  # of which the verdicts are shown
            verdicts = [line for line in words(output) if line[0] == "same"]
            assert verdicts
            assert [line for line in words(done.stdout) if line[0] == "same"] == verdicts
            continue
        assert words(done.stdout)[:2] == words(output)[:2]
        if " diff " not in command:  # of which a part is shown
            assert words(done.stdout)[-1] == words(output)[-1]


def here(command: str) -> str:
    """The command with this interpreter, and with one kill where there are three."""
    return command.replace("-- python ", f"-- {sys.executable} ").replace("--kills 3", "--kills 1")


def words(output: str) -> list[list[str]]:
    """The first word of each line that is not empty, and its first of the others that has no digit."""
    lines = [line.split() for line in output.splitlines() if line.strip()]
    return [[word for word in line if not re.search(r"[\d.]", word)][:2] for line in lines]


def is_generated(page: Path) -> bool:
    """Whether it is a page of the site that is made while the site is built."""
    site = ROOT / "docs"
    return page.resolve().is_relative_to(site / "reference") and str(page.resolve().relative_to(site)) in NAV


NAV = (ROOT / "mkdocs.yml").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page: Path):
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    places = [page.parent / each for each in targets if "://" not in each]
    assert [place for place in places if not (place.exists() or is_generated(place))] == []
