"""A process in which only what `pip install "holdfast[modularml]"` brings can be imported: it trains and saves there."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import ROOT


def closure(wanted: Iterable[str]) -> set[str]:
    """The names of all distributions that an installation of these brings, with extras."""
    found: set[tuple[str, str]] = set()
    ahead = [(Requirement(each), extra) for each in wanted for extra in ["", *Requirement(each).extras]]
    while ahead:
        requirement, extra = ahead.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in found:
            continue
        found.add((name, extra))
        try:
            needs = [Requirement(each) for each in requires(name) or ()]
        except PackageNotFoundError:
            continue
        for each in needs:
            if each.marker is None or each.marker.evaluate({"extra": extra}):
                ahead += [(each, further) for further in ["", *each.extras]]
    return {name for name, _ in found}


class Only:
    """One of Python's finders, as it is where nothing but these distributions is installed."""

    def __init__(self, finder: Any, brought: set[str], owners: Mapping[str, Sequence[str]]) -> None:
        self._finder, self._brought, self._owners = finder, brought, owners

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)

    def find_distributions(self, *context: Any) -> Iterator[Any]:
        """Torch, too, asks what is installed, and imports that."""
        for each in getattr(self._finder, "find_distributions", lambda *_: ())(*context):
            if canonicalize_name(each.name) in {*self._brought, "holdfast"}:
                yield each

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        owners = {canonicalize_name(each) for each in self._owners.get(name.partition(".")[0], ())}
        if owners and not owners & {*self._brought, "holdfast"}:
            return None
        return self._finder.find_spec(name, path, target)


if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["modularml"]
    brought, owners = closure([*project["dependencies"], *extra]), packages_distributions()
    sys.meta_path[:] = [Only(finder, brought, owners) for finder in sys.meta_path]
    import tempfile

    from holdfast.integrations import modularml as hf

    with tempfile.TemporaryDirectory() as directory:
        hf.enable(directory)
        import modularml as mml

        from tests.support.integrations.modularml_experiment import experiment, run, train_phase

        made = experiment()
        made.execution_plan.add_item(
            train_phase("train", mml.Checkpointing(mode="disk", save_on="epoch_end"), n_epochs=1)
        )
        run(made)
        hf.disable()
        print("trained and saved" if [*Path(directory).rglob("checkpoint.json")] else "nothing saved")
