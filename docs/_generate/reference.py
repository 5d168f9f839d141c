"""The reference: a page for each group of public names, each name from its signature and docstring in the source."""

from __future__ import annotations

import ast
from pathlib import Path

GROUPS = {
    "saving": (
        "Saving and loading",
        'One call each, without a run. A state is a mapping from names to objects, such as `{"model": model}`.',
        ("save", "load", "capture", "restore", "attributes", "register_type", "register_adapter"),
    ),
    "runs": (
        "Runs",
        "A training loop of your own that can be killed at any instant.",
        ("Run", "resumable", "current_run", "Resume", "Verdict"),
    ),
    "policies": (
        "Policies",
        "When to save, what to keep, and how to write. `Checkpointing` holds the rest of these objects.",
        (
            *("Checkpointing", "Every", "Seconds", "Overhead", "MeanTimeBetweenFailures"),
            *("KeepLast", "KeepBest", "KeepEvery", "MaxBytes"),
            *("Write", "Lazy", "Preemption", "Divergence"),
        ),
    ),
    "checkpoints": (
        "Checkpoints",
        "Find, open, compare, copy, convert and remove what is on the disk. No run is needed.",
        (
            *("scan", "open", "Checkpoint", "archive", "fork", "plan", "prune"),
            *("diff", "average", "export", "import_checkpoint"),
        ),
    ),
    "experiments": (
        "Experiments",
        "Phases and groups on a graph of models, run in order and checkpointed throughout.",
        (
            *("Experiment", "PhaseGroup", "TrainPhase", "EvalPhase", "FitPhase"),
            *("ModelGraph", "ModelNode", "MergeNode", "Loss", "Metric", "Callback", "EarlyStopping"),
        ),
    ),
    "data": ("Data", "Batches in an order that can be resumed anywhere.", ("Dataset", "data.sample_rng")),
}
"""By page: its title, what it is about, and its names as they are found in `holdfast`."""

FRAMEWORKS = {
    "accelerate": "accelerate",
    "keras": "Keras",
    "lightgbm": "LightGBM",
    "lightning": "PyTorch Lightning",
    "mlflow": "MLflow",
    "modularml": "ModularML",
    "sklearn": "scikit-learn",
    "stable_baselines3": "stable-baselines3",
    "tensorboard": "TensorBoard",
    "transformers": "transformers",
    "wandb": "Weights & Biases",
    "xgboost": "XGBoost",
}


def pages(root: Path) -> dict[str, str]:
    """The pages of the reference, by where they lie in the site."""
    import holdfast

    listed = {name for _, _, names in GROUPS.values() for name in names}
    if forgotten := set(holdfast.__all__) - listed - {"__version__"}:
        raise LookupError(
            f"docs/_generate/reference.py puts these public names on no page: {sorted(forgotten)}"
        )
    made = {"reference/integrations.md": _integrations(root)}
    index = [_INDEX]
    for page, (title, about, names) in GROUPS.items():
        there = [name for name in names if "." in name or name in dir(holdfast)]
        entries = [f"::: holdfast.{name}\n" for name in there]
        made[f"reference/{page}.md"] = "\n".join([f"# {title}\n\n{about}\n", *entries])
        index.append(f"\n**[{title}]({page}.md)**\n")
        index.extend(
            f"- [`holdfast.{name}`][holdfast.{name}]: {_first_line(holdfast, name)}" for name in there
        )
    made["reference/index.md"] = "\n".join(index) + _INDEX_END
    return made


_INDEX = """# Reference

Every public name, from its docstring. What is not listed here is private, and may change without notice.
`holdfast.__version__` is the version, a string.
"""

_INDEX_END = """

**[Integrations](integrations.md)**, each in a module of its own, which imports its framework.

**[The command line](command-line.md)**, each command with its options and its counterpart in Python.

**[Errors](errors.md)**, each with when it is raised and what to do next.
"""


def _first_line(module: object, name: str) -> str:
    for part in name.split("."):
        module = getattr(module, part)
    return (module.__doc__ or "").strip().partition("\n")[0]


def _integrations(root: Path) -> str:
    parts = ["# Integrations\n\nFrameworks come first, then what notes checkpoints elsewhere.\n"]
    trackers = ("mlflow", "tensorboard", "wandb")
    for module in sorted(
        modules(root), key=lambda name: (name in trackers, FRAMEWORKS.get(name, name).lower())
    ):
        parts.append(f"## {FRAMEWORKS[module]}\n")
        parts.extend(
            f"::: holdfast.integrations.{module}.{name}\n    options:\n      heading_level: 3\n"
            for name in public_names(modules(root)[module])
        )
    return "\n".join(parts)


def modules(root: Path) -> dict[str, Path]:
    """The integrations that users import, by name: a file or a folder of `holdfast.integrations`."""
    found = {}
    for path in (root / "src" / "holdfast" / "integrations").iterdir():
        source = path / "__init__.py" if path.is_dir() else path
        if path.stem in FRAMEWORKS and source.exists():
            found[path.stem] = source
    return found


def public_names(source: Path) -> list[str]:
    """What a module offers: its `__all__`, else the classes and functions that it defines or hands on (`x as x`).

    Read, not imported: a framework need not be installed.
    """
    found = []
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets
        ):
            return sorted(ast.literal_eval(node.value))
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.append(node.name)
        if isinstance(node, ast.ImportFrom):
            found.extend(alias.name for alias in node.names if alias.asname == alias.name)
    return sorted(name for name in found if not name.startswith("_"))
