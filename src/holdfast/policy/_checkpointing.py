"""The policy of when, where and under what name to save, and the ledger of what exists. It touches no file.

The training loop asks `should_save` once per hook, saves, and enters the checkpoint with
`record_memory` or `record_disk`; what that returns has been forgotten and can be deleted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

from .. import state as states
from ..errors import UsageError
from ..storage import absolute
from . import _labels, _values, _when
from ._arguments import Arguments
from ._conditions import Every, Overhead, Seconds, Spent
from ._keep import Direction, KeepBest, KeepLast
from ._keys import Key, check_key, natural_order
from ._labels import check_name


@dataclass(frozen=True, slots=True)
class Evicted:
    """A key that the ledger has forgotten, and on disk the bundle that it named.

    The bundle may be deleted only if no other key names it (`Checkpointing.is_named(path)`): with a
    rolling name, many keys share one path.
    """

    key: Key
    path: Path | None


@final
class Checkpointing(Arguments):
    """When to save, where, under what name, how many to keep, and which checkpoints exist.

    Args:
        mode: `"memory"` keeps copies in host memory, `"disk"` bundles in a directory. Unset: memory where that works and
            nothing speaks for the disk: neither a `directory`, here or of the experiment, nor an argument about bundles.
        save_on: the hook or hooks at which to save. Which ones there are depends on the parent
            (`TRAINING_HOOKS`, `EXPERIMENT_HOOKS`) and is checked when the policy is attached. Unset: the end of an
            epoch; of a batch where there are no epochs (boosting, a grid search).
        every_n: save at every n-th occurrence of a hook; each hook is counted for itself.
        directory: where bundles go. None: inherited, a folder per phase in the experiment's directory.
        name_template: `str.format` text with plain placeholders: `{phase}`, `{epoch}`, `{batch}` in a
            TrainPhase, `{label}` in an Experiment. None: the parent's own (see `training_name`).
        max_to_keep: beyond that many checkpoints the oldest goes; None keeps all.
        overwrite: whether a checkpoint may replace one of the same name on disk.
        when: conditions, in place of `save_on` and `every_n`: `Every`, `Seconds`, `Overhead` and
            `MeanTimeBetweenFailures`, joined by `|` (any of) and `&` (all of, binds tighter). Short: `"batch_end"`,
            `"10 min"`, `"1%"`.
        keep: what to keep on the disk, in place of `max_to_keep`: `KeepLast`, `KeepBest` and `KeepEvery` joined by `|`,
            then `& MaxBytes("20 GB")`. Short: a number of the newest. See `docs/keeping.md`.
        thin_after: bundles older than so many newest ones give up their optimizers: models can be restored from them,
            but no run resumes from one.
        write: how bundles are written, a `Write`.
        snapshot: `"copy"` copies the state before training continues; `"lazy"` (a `Lazy`) copies it meanwhile. Lazy
            needs `Write(background=True)`.
        exclude: patterns of state paths, one or a list (see `paths.matches`: `*` stays within an element, `**`
            does not); what they match is left out of checkpoints, and a run that resumes with the same patterns keeps its own.
        save_on_preemption: True, a signal, a list of them, or a `Preemption`: when one comes the step is finished and
            saved, and the process leaves; see `docs/preemption.md`.
        save_on_exception: save the last complete step when a run ends by an exception; Ctrl+C waits for the end of
            the step. True: wherever it came, for the price of a copy of the state in memory at the end of every
            step, or of as many as `Overhead` allows. "between": only if it came between steps, for nothing;
            see `docs/checkpointing.md`.
        on_divergence: `"stop"`, `"rollback"`, `"warn"` or a `Divergence`: what to do once the run is no longer finite.
        on_saved: called with the record of each bundle once it is committed, in the thread that wrote it
            (in the background, if so saved). If it has a method `rewind(record)`, that is called, too, whenever
            the run resumes from a checkpoint, with its record, before training. What they raise is logged and
            harms nothing.

    Warns:
        UserWarning: `directory` exists and holds checkpoints.

    Raises:
        UsageError: a value that has no meaning, or two that contradict each other (a ValueError).

    A copy (`copy.copy` or `copy.deepcopy`) has a ledger of its own.
    """

    @classmethod
    def default(cls, monitor: str | None = None, direction: Direction = "min") -> Checkpointing:
        """What holds where nothing else is said: saving takes 1 % of the time at most, and 15 minutes are lost at most.

        Ends of epochs are saved as far as 1 % of the time allows, other steps for half of that, and in any case one every
        15 minutes and the end. The last three are kept, and so is the best. A run that is told to leave saves first.

        Args:
            monitor: the metric by which one is best, as in the checkpoints' records; None: only the last three are kept.
            direction: whether its lowest value is best (`"min"`) or its highest (`"max"`).

        Raises:
            UsageError: no name of a metric, or an unknown direction.
        """
        _values.one_of("direction", direction, ("min", "max"))
        keep = KeepLast(3)
        return cls(
            when=Every("epoch_end") & Overhead(0.01) | Every("phase_end") | Overhead(0.005) | Seconds(900),
            keep=keep if monitor is None else keep | KeepBest(1, monitor, direction),
            save_on_preemption=True,
        )

    # Hooks

    _requested = False

    @cached_property
    def _counts(self) -> dict[str, int]:
        return {}

    @cached_property
    def _terms(self) -> tuple[_when.Term, ...]:
        return _when.terms_of(self._when)

    @cached_property
    def is_timed(self) -> bool:
        """Whether time decides on saves, too, and not only the counts of hooks."""
        return any(timed for _, timed, _ in self._terms)

    def should_save(self, hook: str, spent: Spent | None = None) -> bool:
        """Count this hook, if the policy names it, and say whether to save now.

        `spent`: what is known of the time; without it only hooks count.
        """
        is_due = self.explain(hook, spent) is not None
        self.count(hook)
        return is_due

    def count(self, hook: str) -> None:
        """Count this hook, if the policy names it."""
        if hook in self._hooks:
            self._counts[hook] = self._counts.get(hook, 0) + 1

    def explain(self, hook: str, spent: Spent | None = None) -> str | None:
        """Why `should_save` would be true if asked now, such as "epoch_end, every 2nd"; else None.

        Counts nothing, so ask before `should_save`.
        """
        return _when.first_reason(self._terms, hook, self._counts.get(hook, 0) + 1, spent)

    def time_says(self, spent: Spent) -> tuple[bool, ...]:
        """What the conditions on time say, each: whether it asks for a save, and whether it lets one be at a hook that comes again."""
        return _when.time_says(self._terms, spent)

    def num_passed(self, hook: str) -> int:
        """How many of the next such hooks pass without a save, as far as hooks are counted."""
        return _when.num_passed(self._terms, hook, self._counts.get(hook, 0))

    @property
    def is_requested(self) -> bool:
        """Whether `request` was called, and not answered yet."""
        return self._requested

    def request(self) -> None:
        """Ask for a save at the next end of a batch, epoch or phase, whatever the policy says.

        May be called from any thread and from a handler of a signal; several requests before that are one.
        Ask the policy of the parent (`phase.checkpointing`), which is another one if this was given to several.
        """
        self._requested = True  # an assignment, so that nothing is ever waited for

    def take_request(self) -> bool:
        """Whether a save was requested; the request is cleared, since the caller answers it."""
        requested, self._requested = self._requested, False
        return requested

    def get_counters(self) -> dict[str, int]:
        """How often each hook was counted: what a resumed run needs to decide as this one would (a copy)."""
        return dict(self._counts)

    def set_counters(self, counters: Mapping[str, int]) -> None:
        """Continue counting from `get_counters()` of another run; hooks that this policy does not name are dropped.

        Raises:
            UsageError: not a dict of hooks and counts >= 0; nothing was changed.
        """
        counts = _values.hook_counts(counters)
        self._counts = {hook: count for hook, count in counts.items() if hook in self._hooks}

    # The ledger

    @cached_property
    def _entries(self) -> dict[Key, Path | states.MemorySnapshot]:
        """In order of age: replacing a value keeps its place."""
        return {}

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
            UsageError: the policy is for disk, or `key` is no integer or string.
            UnsupportedStateError: `state` holds what cannot be copied safely; nothing was changed.
        """
        key = self._key_for("memory", key)
        snapshot = state if isinstance(state, states.MemorySnapshot) else states.capture(state)
        return self._enter(key, snapshot)

    def record_disk(self, key: Key, path: str | os.PathLike[str]) -> tuple[Evicted, ...]:
        """Enter the bundle at `path` under `key`, and return what was forgotten for it.

        An existing key is replaced and keeps its age. Nothing is deleted here: the owner of the bundles
        deletes those evicted, unless `is_named(path)` says that another key has the same path.

        Raises:
            UsageError: the policy is for memory, `key` is no integer or string, or `path` no path.
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
        return self._evict(self._keys_of(path))

    def is_named(self, path: str | os.PathLike[str]) -> bool:
        """Whether a key has this path: then the bundle there must stay."""
        return bool(self._keys_of(path))

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

    def __copy__(self) -> Checkpointing:
        twin = object.__new__(Checkpointing)
        twin.__dict__.update(self.__dict__)
        twin._entries = dict(self._entries)  # the entries themselves never change, so they can be shared
        twin._counts = dict(self._counts)
        twin._requested = False
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Checkpointing:
        return self.__copy__()

    def _key_for(self, mode: str, key: Key) -> Key:
        if self.mode != mode:
            raise UsageError(
                f"record_{mode}() needs a Checkpointing with mode='{mode}'; this one has '{self.mode}'."
            )
        return check_key(key)

    def _enter(self, key: Key, entry: Path | states.MemorySnapshot) -> tuple[Evicted, ...]:
        self._entries[key] = entry
        # Where records decide too, age alone must not: whoever has the records judges, and calls `forget`.
        most = None if self.judges else self.max_to_keep
        return self._evict([] if most is None else [*self._entries][:-most])

    def _evict(self, keys: Iterable[Key]) -> tuple[Evicted, ...]:
        evicted = tuple(Evicted(key, self.get_path(key)) for key in keys)
        for each in evicted:
            del self._entries[each.key]
        return evicted

    def _keys_of(self, path: str | os.PathLike[str]) -> list[Key]:
        wanted = absolute(path)
        return [
            key
            for key, entry in self._entries.items()
            if isinstance(entry, Path) and absolute(entry) == wanted
        ]
