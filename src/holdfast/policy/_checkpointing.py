"""The rule of when, where and under what name to save, and the ledger of what exists. It touches no file.

Whoever runs the training asks `should_save` once per hook, saves, and enters the checkpoint with
`record_memory` or `record_disk`; what that returns has been forgotten and can be deleted.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final

from .. import state as states
from ..errors import UsageError
from . import _labels, _values
from ._context import Context
from ._judge import Evicted, plan
from ._keep import Direction, Keep
from ._keys import Key, check_key, natural_order
from ._labels import check_name
from ._options import (
    OPTION_NAMES,
    Durability,
    OnDivergence,
    OnError,
    OnException,
    OnPreemption,
    OnSaved,
    Options,
    Taking,
    WhenBusy,
)


@final
class Checkpointing:
    """When to save, where, under what name, how many to keep, and which checkpoints exist.

    Args:
        mode: `"memory"` keeps copies in host memory, `"disk"` bundles in a directory.
        save_on: the hook or hooks at which to save. Which ones there are depends on the parent
            (`TRAINING_HOOKS`, `EXPERIMENT_HOOKS`) and is checked when the rule is attached.
        every_n: save at every n-th occurrence of a hook; each hook is counted for itself.
        directory: where bundles go. None: inherited, a folder per phase in the experiment's directory.
        name_template: `str.format` text with plain placeholders: `{phase}`, `{epoch}`, `{batch}` in a
            TrainPhase, `{label}` in an Experiment. None: the parent's own (see `training_name`).
        max_to_keep: beyond that many checkpoints the oldest goes; None keeps all.
        overwrite: whether a checkpoint may replace one of the same name on disk.
        durability: `"full"` waits until a save would survive a power cut, `"process"` only the process.
        background: whether training goes on while a save is written; a failure surfaces at the next hook.
        snapshot: `"copy"` copies the state before training goes on. `"lazy"` (mode="disk", background=True)
            copies what torch optimizers alone write while training goes on, under the contract of
            `docs/snapshots.md`.
        snapshot_check: with `"lazy"`, hold every save to that contract by comparing bytes, not only the first two.
        when_busy: what a save at an epoch or batch does while the one before is still being written: `"wait"`
            or `"skip"`. Saves at the ends of phases and of the experiment always wait.
        exclude: patterns of state paths, one or a list (see `paths.matches`: `*` stays within an element, `**`
            does not); what they mean is left out of checkpoints, and a run that goes on with the same patterns keeps its own.
        on_error: what a save that fails does: `"raise"`; `"warn"` and train on; `"retry"` twice, then raise.
        share_with: directories of trusted bundles, one or a list; arrays found there are not written again.
        every_seconds: save also at the first end of a batch or epoch when so many seconds have passed since
            the last save, whether or not `save_on` names that hook.
        max_overhead: save as often, and at epochs and batches only as often, as saving keeps training waiting
            for less than this share of the time (such as 0.01). The first save shows what one costs.
        mtbf_s: mean time between failures of the whole job, in seconds: save at the interval of Young and Daly,
            which loses the least. Of several intervals the longest holds.
        save_on_exception: save the last complete step when a run ends by an exception; Ctrl+C waits for the end of
            the step. True: wherever it came, for the price of a copy of the state in memory at the end of every
            step, or of as many as `max_overhead` allows. "between": only if it came between steps, for nothing;
            see `docs/checkpointing.md`.
        save_on_preemption: True (SIGTERM and SIGUSR1), a signal, or a list of them: when it comes the step is
            finished and saved, and the process leaves with `preemption_exit_code`; see `docs/preemption.md`.
        preemption_deadline_s: seconds after the signal at which the process leaves in any case.
        preemption_exit_code: what a scheduler is to take for "start it again"; 75 is EX_TEMPFAIL.
        on_saved: called with the record of each checkpoint once it is committed, in the thread that wrote it
            (in the background, if so saved). If it has a method `rewind(record)`, that is called, too, whenever
            the run goes on from a checkpoint, with its record, before training. What they raise is logged and
            harms nothing.
        keep: (mode="disk", as all that follow) what to keep, such as `KeepLast(3) | KeepBest(2, "val_loss")`;
            in place of `max_to_keep`, `keep_best` and `keep_every`. See `docs/keeping.md`.
        keep_best: keep so many whose metric `monitor` is lowest (`direction="min"`) or highest (`"max"`).
        monitor: the metric's name, as in the checkpoints' records.
        direction: `"min"` or `"max"`.
        keep_every: keep the first after every `"5 epochs"`, `"1000 steps"`, `"6h"`, `"30 min"` or `"2 d"`.
        max_bytes: bytes that this rule's checkpoints may take on the disk, shared files counted once: a number,
            or such as `"20 GB"`.
        thin_after: checkpoints older than so many newest ones give up their optimizers: models can be restored
            from them, but no run goes on from one.
        on_divergence: what to do once an array of the model or its optimizer, or a loss, is NaN or infinite: `"stop"`
            the run with a DivergenceError, `"rollback"` to the newest checkpoint that was finite (mode="disk"), with
            new random numbers, or `"warn"`. Arrays are looked at when they are saved, losses at every hook.
        max_rollbacks: how often a run may be rolled back; then it stops.
        may_be_infinite: glob patterns of arrays that are not finite by design, such as masks of attention.

    Warns:
        UserWarning: `directory` exists and holds checkpoints.

    Raises:
        UsageError: a value that has no meaning (a ValueError).

    A copy (`copy.copy` or `copy.deepcopy`) has a ledger of its own.
    """

    def __init__(
        self,
        *,
        mode: Literal["memory", "disk"] = "memory",
        save_on: str | list[str] | tuple[str, ...] | set[str] | frozenset[str] = "epoch_end",
        every_n: int = 1,
        directory: str | os.PathLike[str] | None = None,
        name_template: str | None = None,
        max_to_keep: int | None = None,
        overwrite: bool = True,
        durability: Durability = "full",
        background: bool = True,
        snapshot: Taking = "copy",
        snapshot_check: bool = False,
        when_busy: WhenBusy = "wait",
        exclude: str | list[str] | tuple[str, ...] = (),
        on_error: OnError = "raise",
        share_with: str | os.PathLike[str] | list[str | os.PathLike[str]] | tuple[Path, ...] | None = None,
        every_seconds: float | None = None,
        max_overhead: float | None = None,
        mtbf_s: float | None = None,
        save_on_exception: OnException = False,
        save_on_preemption: OnPreemption = False,
        preemption_deadline_s: float | None = None,
        preemption_exit_code: int = 75,
        on_saved: OnSaved | None = None,
        keep: Keep | None = None,
        keep_best: int | None = None,
        monitor: str | None = None,
        direction: Direction = "min",
        keep_every: str | None = None,
        max_bytes: int | str | None = None,
        thin_after: int | None = None,
        on_divergence: OnDivergence = None,
        max_rollbacks: int = 3,
        may_be_infinite: str | list[str] | tuple[str, ...] = (),
    ) -> None:
        self._mode: Literal["memory", "disk"] = _values.one_of("mode", mode, ("memory", "disk"))
        self._save_on = _values.hooks(save_on)
        self._every_n = _values.positive_integer("every_n", every_n)
        self._directory = None if directory is None else _values.directory_path("directory", directory)
        self._max_to_keep = (
            None if max_to_keep is None else _values.positive_integer("max_to_keep", max_to_keep)
        )
        self._overwrite = _values.flag("overwrite", overwrite)
        self._options = Options(
            durability=durability,
            background=background,
            snapshot=snapshot,
            snapshot_check=snapshot_check,
            when_busy=when_busy,
            exclude=exclude,  # type: ignore[arg-type]  # made a tuple there
            on_error=on_error,
            share_with=share_with,  # type: ignore[arg-type]  # made a tuple there
            every_seconds=every_seconds,
            max_overhead=max_overhead,
            mtbf_s=mtbf_s,
            save_on_exception=save_on_exception,
            save_on_preemption=save_on_preemption,  # type: ignore[arg-type]  # made names there
            preemption_deadline_s=preemption_deadline_s,
            preemption_exit_code=preemption_exit_code,
            on_saved=on_saved,
            keep=keep,
            keep_best=keep_best,
            monitor=monitor,
            direction=direction,
            keep_every=keep_every,
            thin_after=thin_after,
            max_bytes=max_bytes,  # type: ignore[arg-type]  # made a number there
            on_divergence=on_divergence,
            max_rollbacks=max_rollbacks,
            may_be_infinite=may_be_infinite,  # type: ignore[arg-type]  # made a tuple there
        )
        if (self._options.judges or thin_after is not None) and mode != "disk":
            raise UsageError(
                "keep, keep_best, keep_every, max_bytes and thin_after are about bundles: pass mode='disk'. "
                "In memory there is max_to_keep."
            )
        if keep is not None and max_to_keep is not None:
            raise UsageError("keep= says it all: write KeepLast(n) in it in place of max_to_keep.")
        if on_divergence == "rollback" and mode != "disk":
            raise UsageError(
                "on_divergence='rollback' needs mode='disk': there must be something to go back to."
            )
        if snapshot == "lazy" and (mode != "disk" or not background):
            raise UsageError(
                "snapshot='lazy' needs mode='disk' and background=True: else nothing goes on meanwhile."
            )
        if mode != "disk" and (save_on_exception or self._options.signals):
            raise UsageError(
                "save_on_exception and save_on_preemption need mode='disk': memory goes with the process."
            )
        self._context: Context | None = None  # of the parent; none yet
        self._counts: dict[str, int] = {}
        self._requested = False
        # In order of age: replacing a value keeps its place.
        self._entries: dict[Key, Path | states.MemorySnapshot] = {}
        self.name_template = name_template
        _values.warn_if_used(self._directory, stacklevel=2)

    # The rule

    @property
    def mode(self) -> Literal["memory", "disk"]:
        return self._mode

    @property
    def save_on(self) -> list[str]:
        """The hooks, in the order given, each once (a copy)."""
        return list(self._save_on)

    @property
    def every_n(self) -> int:
        return self._every_n

    @property
    def directory(self) -> Path | None:
        return self._directory

    @property
    def name_template(self) -> str | None:
        """The template; None stands for the parent's own, and becomes it once there is a parent."""
        return self._name_template

    @name_template.setter
    def name_template(self, template: str | None) -> None:
        if template is None and self._context is not None:
            template = self._context.default_template
        if template is not None:
            _labels.fields(template)
            if self._context is not None:
                self._context.check_template(template)
        self._name_template = template

    @property
    def max_to_keep(self) -> int | None:
        return self._max_to_keep

    @property
    def overwrite(self) -> bool:
        return self._overwrite

    @property
    def options(self) -> Options:
        """How it saves: all arguments that are additions to the plain contract."""
        return self._options

    def should_save(self, hook: str) -> bool:
        """Count this hook and say whether to save now; False and uncounted if the rule does not name it."""
        if hook not in self._save_on:
            return False
        count = self._counts[hook] = self._counts.get(hook, 0) + 1
        return count % self._every_n == 0

    def explain(self, hook: str) -> str | None:
        """Why `should_save(hook)` would be true if asked now, such as "epoch_end, every 2nd"; else None.

        Counts nothing, so ask before `should_save`.
        """
        if hook not in self._save_on or (self._counts.get(hook, 0) + 1) % self._every_n:
            return None
        return hook if self._every_n == 1 else f"{hook}, every {_ordinal(self._every_n)}"

    def request(self) -> None:
        """Ask for a save at the next end of a batch, epoch or phase, whatever the rule says.

        May be called from any thread and from a handler of a signal; several requests before that are one.
        Ask the rule of the parent (`phase.checkpointing`), which is another one if this was given to several.
        """
        self._requested = True  # an assignment, so that nothing is ever waited for

    def take_request(self) -> bool:
        """Whether a save was asked for; it is not any more, since the caller sees to it."""
        requested, self._requested = self._requested, False
        return requested

    def get_counters(self) -> dict[str, int]:
        """How often each hook was counted: what a resumed run needs to decide as this one would (a copy)."""
        return dict(self._counts)

    def set_counters(self, counters: Mapping[str, int]) -> None:
        """Go on counting from `get_counters()` of another run; hooks that this rule does not name are dropped.

        Raises:
            UsageError: not a dict of hooks and counts >= 0; nothing was changed.
        """
        counts = _values.hook_counts(counters)
        self._counts = {hook: count for hook, count in counts.items() if hook in self._save_on}

    # The ledger

    @property
    def saved_keys(self) -> list[Key]:
        """The keys that exist: integers by value, then strings, with numbers inside them by value too."""
        return sorted(self._entries, key=natural_order)

    @property
    def keys_by_age(self) -> list[Key]:
        """The keys that exist, oldest first: the order in which they go beyond `max_to_keep`."""
        return list(self._entries)

    def record_memory(self, key: Key, state: Any) -> tuple[Evicted, ...]:
        """Keep an independent copy of `state` under `key`, and return what was forgotten for it.

        An existing key is replaced and keeps its age. A `MemorySnapshot` is kept as it is: it is a copy.

        Raises:
            UsageError: the rule is for disk, or `key` is no integer or string.
            UnsupportedStateError: `state` holds what cannot be copied safely; nothing was changed.
        """
        key = self._key_for("memory", key)
        snapshot = state if isinstance(state, states.MemorySnapshot) else states.capture(state)
        return self._enter(key, snapshot)

    def record_disk(self, key: Key, path: str | os.PathLike[str]) -> tuple[Evicted, ...]:
        """Enter the bundle at `path` under `key`, and return what was forgotten for it.

        An existing key is replaced and keeps its age. Nothing is deleted here: whoever owns the bundles
        deletes those evicted, unless `is_named(path)` says that another key has the same path.

        Raises:
            UsageError: the rule is for memory, `key` is no integer or string, or `path` no path.
        """
        key = self._key_for("disk", key)
        return self._enter(key, _values.directory_path("path", path))

    def has_key(self, key: Key) -> bool:
        return key in self._entries

    def get_state(self, key: Key) -> Any:
        """A fresh copy of the state under `key`, containers and arrays of the same types; None if there is none.

        Of an object that is no plain data (a model, an optimizer) the copy holds the state. None in disk mode.
        """
        snapshot = self.get_snapshot(key)
        return None if snapshot is None else states.rebuild(snapshot)

    def get_snapshot(self, key: Key) -> states.MemorySnapshot | None:
        """The immutable snapshot under `key`, to restore live objects from; None in disk mode."""
        entry = self._entries.get(key)
        return None if isinstance(entry, Path) else entry

    def get_path(self, key: Key) -> Path | None:
        """The path of the bundle under `key`; None if there is none, or in memory mode."""
        entry = self._entries.get(key)
        return entry if isinstance(entry, Path) else None

    def get_paths(self) -> list[Path]:
        """The bundles that keys name, each once, in order of age."""
        return list(dict.fromkeys(entry for entry in self._entries.values() if isinstance(entry, Path)))

    def forget(self, path: str | os.PathLike[str]) -> tuple[Evicted, ...]:
        """Forget every key that names this bundle, which is to go; returns what was forgotten."""
        wanted = os.path.abspath(path)
        going = [
            Evicted(key, entry)
            for key, entry in self._entries.items()
            if isinstance(entry, Path) and os.path.abspath(entry) == wanted
        ]
        for each in going:
            del self._entries[each.key]
        return tuple(going)

    def is_named(self, path: str | os.PathLike[str]) -> bool:
        """Whether a key has this path: then the bundle there must stay."""
        wanted = os.path.abspath(path)
        return any(
            os.path.abspath(entry) == wanted for entry in self._entries.values() if isinstance(entry, Path)
        )

    def reset(self) -> None:
        """Forget all keys and counters; files stay. For the start of a new phase or run, not for a resume."""
        self._entries = {}
        self._counts = {}

    # Names

    @staticmethod
    def validate_placeholders(template: str, allowed: frozenset[str], context_name: str) -> None:
        """Refuse, with UsageError, a template that is malformed or has placeholders other than `allowed`."""
        _labels.check_placeholders(template, allowed, context_name)

    def format_name(self, **values: Any) -> str:
        """The template filled in; values that it does not ask for are ignored.

        Raises:
            KeyError: a value is missing; it names which.
            UsageError: there is no template, a value does not fit it, or the name could not be a file's.
        """
        if self._name_template is None:
            raise UsageError(
                "there is no name_template yet: pass one, or attach the Checkpointing to its parent."
            )
        return check_name(_labels.fill(self._name_template, values))

    # Configuration and copies

    def get_config(self) -> dict[str, Any]:
        """The rule as plain data, without the ledger; our additions only if not at their default."""
        return {
            "mode": self._mode,
            "save_on": list(self._save_on),
            "every_n": self._every_n,
            "directory": None if self._directory is None else str(self._directory),
            "name_template": self._name_template,
            "max_to_keep": self._max_to_keep,
            "overwrite": self._overwrite,
        } | self._options.get_config()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Checkpointing:
        """The rule that `get_config` described; what is missing is at its default, unknown keys are ignored.

        Raises:
            UsageError: a value that the constructor refuses.
        """
        if not isinstance(config, Mapping):
            raise UsageError(f"a config is a dict, not {config!r}.")
        known = {name: config[name] for name in _CONFIG_KEYS if name in config}
        directory = known.pop("directory", None)
        rule = cls(**known)
        # Set here and not by the constructor, whose warning would point at this file and not at the caller.
        rule._directory = None if directory is None else _values.directory_path("directory", directory)
        _values.warn_if_used(rule._directory, stacklevel=2)
        return rule

    def __copy__(self) -> Checkpointing:
        twin = object.__new__(Checkpointing)
        twin.__dict__.update(self.__dict__)
        twin._entries = dict(self._entries)  # the entries themselves never change, so they can be shared
        twin._counts = dict(self._counts)
        twin._requested = False
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Checkpointing:
        return self.__copy__()

    def __repr__(self) -> str:
        return f"Checkpointing({', '.join(f'{name}={value!r}' for name, value in self.get_config().items())})"

    def _key_for(self, mode: str, key: Key) -> Key:
        if self._mode != mode:
            raise UsageError(
                f"record_{mode}() needs a Checkpointing with mode='{mode}'; this one has '{self._mode}'."
            )
        return check_key(key)

    def _enter(self, key: Key, entry: Path | states.MemorySnapshot) -> tuple[Evicted, ...]:
        self._entries[key] = entry
        # Where records decide too, age alone must not: whoever has the records judges, and calls `forget`.
        going = plan(tuple(self._entries), None if self._options.judges else self._max_to_keep)
        evicted = tuple(Evicted(old, self.get_path(old)) for old in going)
        for old in going:
            del self._entries[old]
        return evicted


_CONFIG_KEYS = (
    *("mode", "save_on", "every_n", "directory", "name_template", "max_to_keep", "overwrite"),
    *OPTION_NAMES,
)


def _ordinal(n: int) -> str:
    if n % 100 in (11, 12, 13):
        return f"{n}th"
    return f"{n}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th') }"
