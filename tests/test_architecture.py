"""The shape of the house, held by tests: the direction of imports, an instant import, no code from files."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "holdfast"
FRAMEWORKS = {
    "torch",
    "sklearn",
    "pandas",
    "jax",
    "keras",
    "lightning",
    "transformers",
    "accelerate",
    "safetensors",
    "stable_baselines3",
    "gymnasium",
    "torchdata",
}


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def test_imports_go_one_way_downwards():
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint_imports], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", ["holdfast", "holdfast.runtime", "holdfast.cli", "holdfast.experiment"])
def test_an_import_brings_no_framework(module: str):
    loaded = set(run_python(f"import sys, {module}; print(*sys.modules)").split())
    assert not loaded & FRAMEWORKS


def test_import_holdfast_loads_nothing_but_itself_and_the_standard_library():
    loaded = set(run_python("import sys, holdfast; print(*sys.modules)").split())
    assert not loaded & {"numpy", "rich", "typer", "msgspec", "blake3", "xxhash"}


def calls(tree: ast.AST) -> list[tuple[int, str]]:
    """The line and the dotted name (`os.rename`) of every call."""
    return [(node.lineno, ast.unparse(node.func)) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.medium
def test_nothing_in_the_package_can_run_code_from_a_file():
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    offences = []
    for file in SOURCE.rglob("*.py"):
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            offences += [f"{file.name}: imports {name}" for name in names if name.split(".")[0] in forbidden]
        offences += [
            f"{file.name}:{line}: {call}"
            for line, call in calls(tree)
            if call in {"eval", "exec", "__import__"}
        ]
    assert offences == []


def imports(file: Path) -> set[str]:
    """The modules of the package that a file imports: in functions and for type checking, too."""
    package = ["holdfast", *file.relative_to(SOURCE).parent.parts]
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.startswith("holdfast.")}


@pytest.mark.medium
def test_no_room_imports_a_private_module_of_another():
    """Our own version, `holdfast._version`, belongs to no room."""
    private = [
        f"{file.relative_to(SOURCE)}: {name}"
        for file in SOURCE.rglob("*.py")
        for name in imports(file)
        for room, *inside in [name.split(".")[1:]]
        if inside
        and room != "_version"
        and room != file.relative_to(SOURCE).parts[0]
        and any(part.startswith("_") for part in inside)
    ]
    assert private == []


def imports_of(file: Path) -> set[Path]:
    """The modules of the package that this one imports: inside functions and for types alone, too."""
    package = file.parent
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package
            for _ in range(node.level - 1):
                base = base.parent
            base = base.joinpath(*(node.module or "").split("."))
            for alias in node.names:
                found |= {base / alias.name} if _file_of(base / alias.name) else {base}
    return {there for each in found if (there := _file_of(each)) and there != file}


def _file_of(module: Path) -> Path | None:
    return next(
        (each for each in (module.with_suffix(".py"), module / "__init__.py") if each.is_file()), None
    )


@pytest.mark.medium
def test_no_modules_import_each_other_in_a_circle():
    graph = graphlib.TopologicalSorter({file: imports_of(file) for file in SOURCE.rglob("*.py")})
    graph.prepare()  # raises a CycleError that names the circle


def test_no_folder_has_more_than_20_modules():
    folders = {file.parent for file in SOURCE.rglob("*.py")}
    assert {folder.name: many for folder in folders if (many := len([*folder.glob("*.py")])) > 20} == {}
