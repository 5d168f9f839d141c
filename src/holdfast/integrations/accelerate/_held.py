"""`hold`: an Accelerator whose states are bundles."""

from __future__ import annotations

import glob
import logging
import os
import secrets
from collections.abc import Callable
from typing import Any, final

from accelerate import Accelerator

from ... import bundle, fingerprint, rng, state
from ...checkpoint import Place, find, path_of, scan
from ...checkpoint import open as open_checkpoint
from ...errors import CheckpointNotFoundError, DamagedError, PlanMismatchError, StateMismatchError, UsageError
from ...harness import file_place
from ...harness import place as sent_to
from ...policy import Checkpointing, Limits, check_name
from ...records import Moment
from ...runtime import (
    Ahead,
    ExperimentDirectory,
    Resume,
    ResumeReport,
    Resumption,
    Run,
    SavedState,
    save_manually,
)
from ...variables import Mode
from .._common.arguments import Abilities, Arguments
from .._common.held_training import differences
from ._hooks import FileHooks
from ._prepared import Prepared

logger = logging.getLogger("holdfast")

_OURS = ("loaders", "gradients", "random")
"""What a bundle of `save_state` holds beside the parts."""
_SEEN = "stale_gradients"
"""This too, but for the first ones."""
_FILES = "files_of_hooks"
"""And this, if there are any."""

_ENTER = "with hold(accelerator, 'runs/mine') as run:"
_DEFAULTS = (None, True, "train", False, "save", None)
ABILITIES = Abilities(
    limits=Limits(where="a run of accelerate"),
    needs_directory=False,
    refused={"allow_reread": "a prepared loader has a position, and resumes from it; leave it out"},
)


def hold(
    accelerator: Accelerator,
    directory: str | os.PathLike[str] | None = None,
    *,
    checkpointing: Checkpointing | None = None,
    resume: bool | Place | Resume = True,
    label: str = "train",
    allow_reread: bool = False,
    share_directory: bool = False,
    variables: Mode = "save",
    on_rollback: Callable[[Run], None] | None = None,
) -> Held:
    """Take hold of all that `accelerator` prepares and registers, before this call or after it, until the run begins.

    `with hold(accelerator, "runs/mine") as run:` is a `holdfast.Run` of all that: it resumes, and saves by its policy while
    `run.epochs(…)` and `run.batches(loader)` are gone through. Accelerate has no loop of its own in which that could be done.

    Without the `with`, nothing is saved by itself. `accelerator.save_state(path)` commits a bundle `path.ckpt.mml`, and
    `accelerator.load_state(place)` restores one, or the newest intact one below a directory: the random states and the
    place in the data too. Both default to `directory`.

    Args:
        directory: where checkpoints are saved, and looked for.
            By default the `project_dir` of the accelerator, if it has one.
        checkpointing: when to save and what to keep; by default `Checkpointing.default()`.
        resume: True: resume from the newest complete checkpoint, or start from scratch if there is none. A name or path:
            from that checkpoint. False: start from scratch. A `Resume` says how as well.
        label: what is trained, in names such as `train_epoch3`.
        allow_reread: whether data without a position may be read again from the start of an epoch, to skip what was done.
            Refused: a prepared loader has a position.
        share_directory: run even though another live run uses the directory.
        variables: "save": variables of the script that have changed since the loop began are saved and put back, too,
            and those that cannot be are named. "watch": all of them are only named. "off": they are the script's affair.
        on_rollback: called with the callback or run after each rollback (`on_divergence="rollback"`), once everything is
            as it was in the checkpoint: the place to lower a learning rate.

    Raises:
        UsageError: there are several processes, or a loader that cannot resume exactly; or an argument asks for what cannot
            be done, or needs a directory.
    """
    if not isinstance(accelerator, Accelerator):
        raise UsageError(f"hold() takes an accelerate.Accelerator, not {accelerator!r}.")
    if accelerator.num_processes > 1:
        raise UsageError(
            "this holds an accelerator of one process; with several, a Trainer of transformers or Lightning with DDP is held"
        )
    if accelerator.project_configuration.total_limit is not None:
        raise UsageError(
            "total_limit of the ProjectConfiguration deletes folders of accelerate's own: leave it out, and say what to "
            "keep by checkpointing=."
        )
    place = directory or accelerator.project_dir
    arguments = ABILITIES.check(
        place or "", checkpointing, resume, label, allow_reread, share_directory, variables, on_rollback
    )
    if place is None and (checkpointing, resume, label, share_directory, variables, on_rollback) != _DEFAULTS:
        raise UsageError(f"these arguments are for a run, and a run needs a directory: {_ENTER}")
    return Held(accelerator, arguments)


@final
class Held:
    """What an accelerator has prepared, by name, in the hands of Holdfast. In a `with` statement it is a `holdfast.Run`."""

    def __init__(self, accelerator: Accelerator, arguments: Arguments) -> None:
        self._accelerator, self._arguments = accelerator, arguments
        self._directory = os.fspath(arguments.directory)  # "" if there is none
        self._run: Run | None = None  # inside the `with`
        self._loaded: Resumption | None = None  # by `load_state`
        self._prepared = Prepared(accelerator)
        self._hooks = FileHooks(accelerator)
        accelerator.save_state = self.save_state  # type: ignore[method-assign]
        accelerator.load_state = self.load_state  # type: ignore[method-assign]

    def __enter__(self) -> Run:
        """Begin the run: all that was prepared is as in the checkpoint that it resumes from.

        Inside, nothing can be prepared or registered.

        Raises: as `holdfast.Run`; UsageError without a directory, or inside of it, or if nothing was prepared.
        """
        if not self._directory:
            raise UsageError(f"a run needs a directory: {_ENTER}")
        if self._run is not None:
            raise UsageError("the run of this accelerator has begun already")
        self._hooks.refuse_run()
        run = self._arguments.run(self._prepared.parts())
        self._run = run.__enter__()
        self._prepared.close("its run has begun")
        return run

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        run, self._run = self._run, None
        self._prepared.reopen()
        assert run is not None
        run.__exit__(kind, error, trace)

    @property
    def parts(self) -> dict[str, Any]:
        """Models, optimizers, schedules, registered objects and the scaler, for a `holdfast.Run` with more in it.

        Nothing can be prepared or registered afterwards.

        Raises:
            UsageError: nothing was prepared.
        """
        self._prepared.close("`parts` of hold(accelerator) was read")
        return self._prepared.parts()

    def save_state(self, output_dir: str | os.PathLike[str] | None = None, **options: Any) -> str:
        """Commit everything now; returns the bundle's path. Between two batches of a prepared loader, or outside of any.

        Without `output_dir` the directory gets the next `checkpoint_0`, `checkpoint_1`, …; inside the `with` that is a
        checkpoint of the run, from which it can resume.

        Raises:
            UsageError: there is neither an `output_dir` nor a directory, or it cannot be a bundle's.
            SaveError: the disk refused.
        """
        if output_dir is None:
            if not self._directory:
                raise UsageError(
                    "say where: save_state('runs/mine/step_100'), or hold(accelerator, 'runs/mine')"
                )
            name = _next_name(sent_to(self._directory))
            if self._run is not None:
                return str(self._run.save(name, overwrite=False))
            output_dir = os.path.join(self._directory, name)
        place = file_place(output_dir).removesuffix(bundle.SUFFIX)
        folder, name = os.path.split(place)
        run = secrets.token_hex(16)
        files = self._hooks.files()
        parts = {
            **self._prepared.parts(),
            "loaders": [
                {
                    **each.get_state(),
                    "exactness": each.source.exactness,
                    "about_data": [each.source.describe()],
                    "next_batch": each.source.fingerprint(),
                }
                for each in self._prepared.loaders
            ],
            "gradients": self._prepared.updates.pending,
            _SEEN: self._prepared.updates.seen,
            "random": rng.capture_state(),
            **({_FILES: files} if files else {}),
        }
        moment = Moment(run=run, hook="", phase="train", step=self._accelerator.step)
        with ExperimentDirectory(folder or ".", run, share=True) as directory:
            directory.resumption = self._loaded
            return str(
                save_manually(
                    *(directory, folder or ".", check_name(name), lambda: parts),
                    kind="train",
                    moment=moment,
                    ahead=Ahead,
                )
            )

    def load_state(self, input_dir: str | os.PathLike[str] | None = None, **options: Any) -> str:
        """Restore the bundle at `input_dir`, or the newest below it of which every byte is as it was saved; returns its path.

        Without `input_dir`: the newest below the directory.

        The next iterator of a prepared loader then resumes where the loader was. As it begins, all is compared with the
        checkpoint once more, and `last_resume` has the verdict. It speaks of what was prepared or registered, and of nothing
        else: an optimizer beside that is found only inside the `with`.

        Raises:
            CheckpointNotFoundError: there is none.
            CheckpointUnreadableError: the system refuses to read one that may be the newest; nothing was changed.
            DamagedError: it is damaged, or all are; nothing was changed.
            StateMismatchError: it does not fit; nothing was changed.
        """
        if self._run is not None:
            raise UsageError("a run resumes by itself when it begins: pass resume= to hold()")
        input_dir = input_dir or self._directory
        if not input_dir:
            raise UsageError("say from where: load_state('runs/mine'), or hold(accelerator, 'runs/mine')")
        place, damage, skipped = path_of(input_dir), None, list[str]()
        newest_first = _newest_first(place)
        bundle.refuse_unreadable(newest_first)
        for each in newest_first:
            try:
                return self._load(each.path, skipped)
            except DamagedError as err:
                logger.warning("skipped %s: %s", each.path, err)
                skipped.append(f"{each.path}: {err}")
                damage = damage or err
        raise damage or CheckpointNotFoundError(place, "there is no checkpoint at or below it")

    @property
    def last_resume(self) -> ResumeReport | None:
        """From where the run resumed, or what `load_state` loaded last, and how exactly; None if neither.

        Of `load_state` the verdict is `"not compared yet"` until the next iteration of a prepared loader begins.
        """
        if self._run is not None:
            return self._run.last_resume
        return None if self._loaded is None else self._loaded.report

    def _load(self, path: str, skipped: list[str]) -> str:
        with open_checkpoint(path) as checkpoint:
            tree = checkpoint.tree()
            if isinstance(tree, dict) and "run" in tree:
                raise PlanMismatchError([f"{path} is of a run, which resumes by itself: {_ENTER}"])
            if not isinstance(tree, dict) or tree.keys() - {_SEEN, _FILES} != {
                *self._prepared.parts(),
                *_OURS,
            }:
                raise PlanMismatchError([f"{path} holds other things than the accelerator does"])
            saved, gradients, streams = (checkpoint[name] for name in _OURS)
            seen = checkpoint[_SEEN] if _SEEN in tree else {}
            files = checkpoint[_FILES] if _FILES in tree else None
            if len(saved) != len(self._prepared.loaders):
                raise PlanMismatchError(
                    [f"{path} is of {len(saved)} loaders, and here are {len(self._prepared.loaders)}"]
                )
            try:
                state.restore(checkpoint.source, dict(self._prepared.parts()), verify="first")
            except StateMismatchError as err:
                raise StateMismatchError(err.problems) from err
            record = checkpoint.record
            context = fingerprint.differences(record.versions, fingerprint.versions())
            context += fingerprint.differences(record.environment, fingerprint.environment())
            loaded = self._loaded = Resumption(path, record, skipped, context)
            loaded.expect(SavedState.of(checkpoint.source, self._prepared.parts()), self._prepared.parts)
        # What they load of the prepared is compared with ours at the first step.
        lost = self._hooks.load(files)
        self._prepared.updates.resume(self._accelerator.step, gradients, seen)
        for loader, where in zip(self._prepared.loaders, saved, strict=True):
            loader.set_state(where)
        rng.restore_state(streams)
        self._compare_at_first_step(loaded, saved, lost)
        return path

    def _compare_at_first_step(self, loaded: Resumption, saved: list[Any], lost: list[str]) -> None:
        """Let the verdict be found out once a loader is iterated; at once, if there is none."""
        loaders, streams = self._prepared.loaders, rng.capture_state()  # reading draws from them
        found = lost + [
            each
            for loader, where in zip(loaders, saved, strict=True)
            for each in differences(
                {"exactness": "exact", **where},
                [loader.source],
                is_another_batch=where.get("next_batch") not in (None, loader.source.fingerprint()),
            )
        ]

        def compare() -> None:
            for each in loaders:
                vars(each)["on_begin"] = lambda: None
            loaded.announce(lambda: Ahead(streams=streams), found)

        for each in loaders:
            vars(each)["on_begin"] = compare
        if not loaders:
            compare()


def _newest_first(path: str) -> list[bundle.Listed]:
    """The checkpoint at this path, or those below it; of a script that saves elsewhere now, what it has saved there."""
    for where in dict.fromkeys([file_place(path), sent_to(path), path]):
        if (found := find(where)) is not None:
            return [found]
        if where != path and os.path.isdir(where) and (listed := scan(where)):
            return listed[::-1]
    return scan(path)[::-1]


def _next_name(directory: str) -> str:
    """`checkpoint_0`, or one more than the greatest that is there."""
    places = glob.glob(f"{glob.escape(directory)}/checkpoint_*{bundle.SUFFIX}")
    names = map(os.path.basename, places)
    numbers = (name.removeprefix("checkpoint_").removesuffix(bundle.SUFFIX) for name in names)
    return f"checkpoint_{max((int(each) + 1 for each in numbers if each.isdecimal()), default=0)}"
