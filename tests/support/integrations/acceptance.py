"""What every integration is held to, and how a framework joins: with one small script in `cases/`.

`cases/NAME_case.py` trains a small model with dropout and shuffling, through the integration and nothing else, and has

    NEEDS = ("lightning",)     # modules that must be installed; else the case is skipped

    def train(directory: Path, policy: Checkpointing, beat: Callable[[], None]) -> Ended: ...

`train` builds everything anew from fixed seeds, goes on from the newest checkpoint in `directory` if there is
one, trains to the end (20 to 60 batches, several epochs), saving by `policy`, which it passes on as it is, and calls
`beat()` once in each batch. All that is imported is imported at its top (a fork pays for it once), where warnings of
other people's packages are silenced, too: all others are errors. It logs a metric named `loss`, whatever its
direction, so that the best can be kept.

As a script, this file is the process that runs one case in newborns.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.integrations.crashing import Crash, counter
from tests.support.newborn import Beat, Kill, Newborns, serve

if TYPE_CHECKING:
    from holdfast import Checkpointing
    from holdfast.runtime import ResumeReport

HERE = Path(__file__).parent / "cases"
CASES = sorted(file.name.removesuffix("_case.py") for file in HERE.glob("*_case.py"))
SAVING = {"save_on": ["batch_end", "epoch_end"], "every_n": 3}
"""Saves of two kinds, at different intervals; a batch's policy counts on across epochs."""
WITHOUT_EPOCHS = ("lightgbm", "stable_baselines3", "xgboost")


@dataclass(frozen=True)
class Ended:
    """What `train` returns: the digest of all that there is at the end, and from where it went on."""

    digest: str
    resumed: ResumeReport | None


@dataclass(frozen=True)
class Outcome:
    """What became of a run; `digest` is None if it was killed, or ended by the exception `ended_by`.

    `told`: the names of the checkpoints of which `on_saved` was told.
    """

    beats: int
    was_killed: bool
    digest: str | None = None
    verdict: str | None = None
    resumed_from: str | None = None
    skipped: tuple[str, ...] = ()
    ended_by: str | None = None
    exit_code: int | None = None
    told: tuple[str, ...] = ()


def compiled_once(directory: str | Path) -> dict[str, str]:
    """An environment in which what JAX has compiled once is found in `directory`: compiling takes most of a small run."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(directory),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def _said(saving: Mapping[str, Any], policy: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a policy as plain data: those of `policy`, for the rest of `saving`."""
    rest = {
        name: value
        for name, value in saving.items()
        if "when" not in policy or name not in ("save_on", "every_n")
    }
    if "keep" in policy:
        rest.pop("max_to_keep", None)
    if policy.get("mode") == "memory":
        rest.pop("write", None)
    from holdfast import Checkpointing  # here, as below: the other end imports what it trains with first

    return Checkpointing(**{"mode": "disk"} | rest | policy).get_config()


class Runs(AbstractContextManager["Runs"]):
    """Runs of one case, each in a process of its own.

    The first has to be uninterrupted: it compiles whatever those that are killed will need, so that no kill tears a program.
    """

    def __init__(self, case: str) -> None:
        self._programs = tempfile.TemporaryDirectory()
        self._newborns = Newborns(__file__, case, environment=compiled_once(self._programs.name))
        self._saving = SAVING | ({"save_on": "batch_end"} if case in WITHOUT_EPOCHS else {})

    def run(
        self, directory: Path, kill: Kill | None = None, *, compile_anew: bool = False, **policy: Any
    ) -> Outcome:
        """Train in `directory`, from where a run before it has ended or was killed.

        Args:
            compile_anew: what JAX has compiled for others before is not used.
            policy: arguments of `Checkpointing` besides those in `SAVING`.
        """
        job = {
            "directory": str(directory),
            "policy": _said(self._saving, policy),
            "compile_anew": compile_anew,
        }
        answer = self._newborns.ask(job, kill)
        assert "error" not in answer, answer["error"]
        return self._outcome(answer)

    def ends(self, directory: Path, acts: Mapping[int, str], **policy: Any) -> Outcome:
        """The same, but what is to happen in these batches (from 1) happens, and may end the run.

        `acts`: "crash"; "request", a save; or the name of a signal.
        """
        job = {"directory": str(directory), "policy": _said(self._saving, policy), "acts": acts, "ends": True}
        return self._outcome(self._newborns.ask(job))

    def _outcome(self, answer: Mapping[str, Any]) -> Outcome:
        return Outcome(**{name: answer[name] for name in Outcome.__dataclass_fields__ if name in answer})

    def __exit__(self, *details: object) -> None:
        self._newborns.__exit__(*details)
        self._programs.cleanup()


def missing(case: str) -> str | None:
    """The module that a case needs and that is not installed."""
    for node in ast.parse((HERE / f"{case}_case.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "NEEDS":
            needs = ast.literal_eval(node.value)
            return next((name for name in needs if importlib.util.find_spec(name) is None), None)
    raise AssertionError(f"{case}_case.py has no NEEDS = (…)")


# --- the other end --------------------------------------------------------------------------------------


def _doing(train: Callable[..., Ended]) -> Callable[[dict[str, Any], Beat], dict[str, Any]]:
    from holdfast import Checkpointing

    def do(job: dict[str, Any], beat: Beat) -> dict[str, Any]:
        if job.get("compile_anew") and (jax := sys.modules.get("jax")):
            jax.config.update("jax_enable_compilation_cache", False)
        told: list[str] = []
        acts = job.get("acts")
        try:
            if acts is None:
                policy = Checkpointing(**{"mode": "disk"} | job["policy"])
            else:
                policy = Checkpointing(
                    **{"mode": "disk"} | job["policy"], on_saved=lambda record: told.append(record.name)
                )
                beat = _acting(policy, acts, beat)
            ended = train(Path(job["directory"]), policy, beat)
        except BaseException as err:
            if acts is None:
                return {"error": traceback.format_exc()}
            code = err.code if isinstance(err, SystemExit) else None
            return {"ended_by": f"{type(err).__name__}: {err}", "exit_code": code, "told": told}
        report = ended.resumed
        return {
            "digest": ended.digest,
            "verdict": report and report.verdict,
            "resumed_from": report and report.record.name,
            "skipped": report.skipped if report else [],
            "told": told,
        }

    return do


def _acting(policy: Checkpointing, acts: Mapping[str, str], beat: Beat) -> Beat:
    count = counter()

    def act() -> None:
        beat()
        match acts.get(str(count())):
            case None:
                pass
            case "crash":
                raise Crash("a cable was pulled")
            case "request":
                policy.request()
            case name:
                signal.raise_signal(signal.Signals[name])

    return act


if __name__ == "__main__":
    sys.modules["tests.support.integrations.acceptance"] = sys.modules[
        "__main__"
    ]  # what the case imports is this
    case = importlib.import_module(f"tests.support.integrations.cases.{sys.argv[1]}_case")
    import holdfast

    holdfast.capture({})  # imports what takes apart the objects of all that is imported
    serve(_doing(case.train))
