"""The policy of when, where and under what name to save, and the ledger of what exists. It touches no file.

The training loop asks `should_save` once per hook, saves, and enters the checkpoint with
`record_memory` or `record_disk`; what that returns has been forgotten and can be deleted.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, final

from .. import state as states
from ..errors import UsageError
from ..records import CheckpointRecord
from . import _keep, _labels, _values, _when
from ._context import Context
from ._divergence import Action, Divergence
from ._groups import as_plain, group
from ._judge import Evicted, plan
from ._keep import Direction, Keep, KeepBest, KeepLast
from ._keys import Key, check_key, natural_order
from ._labels import check_name
from ._preemption import Preemption, Signals
from ._when import Every, Overhead, Seconds, Spent, When
from ._write import Lazy, Write

OnSaved = Callable[[CheckpointRecord], object]
OnException = bool | Literal["between"]


class _Text(str):
    """The default of an argument, told from the same value passed explicitly."""


class _Number(int):
    """As `_Text`."""


_EPOCH_END, _ONE = _Text("epoch_end"), _Number(1)


@final
class Checkpointing:
    """When to save, where, under what name, how many to keep, and which checkpoints exist.

    Args:
        mode: `"memory"` keeps copies in host memory, `"disk"` bundles in a directory. Unset: memory where that works and
            nothing speaks for the disk: neither a `directory`, here or of the experiment, nor an argument about bundles.
        save_on: the hook or hooks at which to save. Which ones there are depends on the parent
            (`TRAINING_HOOKS`, `EXPERIMENT_HOOKS`) and is checked when the policy is attached.
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

    def __init__(
        self,
        *,
        mode: Literal["memory", "disk"] | None = None,
        save_on: str | list[str] | tuple[str, ...] | set[str] | frozenset[str] = _EPOCH_END,
        every_n: int = _ONE,
        directory: str | os.PathLike[str] | None = None,
        name_template: str | None = None,
        max_to_keep: int | None = None,
        overwrite: bool = True,
        when: When | str | None = None,
        keep: Keep | int | None = None,
        thin_after: int | None = None,
        write: Write | None = None,
        snapshot: Literal["copy", "lazy"] | Lazy = "copy",
        exclude: str | list[str] | tuple[str, ...] = (),
        save_on_preemption: bool | Signals | Preemption | None = None,
        save_on_exception: OnException = False,
        on_divergence: Action | Divergence | None = None,
        on_saved: OnSaved | None = None,
    ) -> None:
        self._mode = None if mode is None else _values.one_of("mode", mode, ("memory", "disk"))
        hooks, n = _values.hooks(save_on), _values.positive_integer("every_n", every_n)
        self._is_when_given = when is not None
        if when is None:
            self._when = _when.any_of(Every(hook, n) for hook in hooks)
        elif isinstance(save_on, _Text) and isinstance(every_n, _Number):
            self._when = _when.from_value(when)
        else:
            raise UsageError("pass either when= or save_on and every_n: when=Every(hook, n) means the same.")
        self._hooks = tuple(dict.fromkeys(each.hook for each in _when.events(self._when)))
        self._directory = None if directory is None else _values.directory_path("directory", directory)
        self._max_to_keep = (
            None if max_to_keep is None else _values.positive_integer("max_to_keep", max_to_keep)
        )
        self._overwrite = _values.flag("overwrite", overwrite)
        if keep is not None and max_to_keep is not None:
            raise UsageError("pass either keep= or max_to_keep: keep=KeepLast(n) means the same.")
        self._keep = None if keep is None else _keep.from_value(keep)
        self._thin_after = None if thin_after is None else _values.positive_integer("thin_after", thin_after)
        self._write = (
            Write() if write is None else group(Write, "write", write, "Write(durability='process')")
        )
        self._snapshot = _snapshot(snapshot)
        if self._snapshot is not None and not self._write.background:
            raise UsageError("snapshot='lazy' needs background=True in write=: else training waits anyway.")
        self._exclude = _values.patterns("exclude", exclude)
        self._preemption = _preemption(save_on_preemption)
        if not isinstance(save_on_exception, bool) and save_on_exception != "between":
            raise UsageError(
                f"save_on_exception must be True, False or 'between', not {save_on_exception!r}."
            )
        self._save_on_exception: OnException = save_on_exception
        self._divergence = _divergence(on_divergence)
        if on_saved is not None and not callable(on_saved):
            raise UsageError(f"on_saved is called with each record, and {on_saved!r} cannot be called.")
        self._on_saved = on_saved
        if mode == "memory" and (needs := self._needs_disk()):
            raise UsageError(
                f"{needs} needs mode='disk', because it is about bundles; leave mode out. In memory there is max_to_keep."
            )
        self._is_on_disk = False  # what an unset mode means, once there is a parent
        self._context: Context | None = None  # of the parent; none yet
        self._counts: dict[str, int] = {}
        self._requested = False
        # In order of age: replacing a value keeps its place.
        self._entries: dict[Key, Path | states.MemorySnapshot] = {}
        self.name_template = name_template
        _values.warn_if_used(self._directory, stacklevel=2)

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
        keep = KeepLast(3)
        return cls(
            when=Every("epoch_end") & Overhead(0.01) | Every("phase_end") | Overhead(0.005) | Seconds(900),
            keep=keep if monitor is None else keep | KeepBest(1, monitor, direction),
            save_on_preemption=True,
        )

    # The policy

    @property
    def mode(self) -> Literal["memory", "disk"]:
        """Where checkpoints go; one that is unset is settled by the parent, and reads "memory" before."""
        if self._mode is not None:
            return self._mode
        return "disk" if self._is_on_disk or self._directory is not None or self._needs_disk() else "memory"

    @property
    def is_mode_open(self) -> bool:
        """Whether no mode was passed, so that the parent may settle it."""
        return self._mode is None

    @property
    def save_on(self) -> list[str]:
        """The hooks that `save_on` or `when` names, in the order given, each once (a copy)."""
        return list(self._hooks)

    @property
    def every_n(self) -> int:
        """The least `n` of any hook; 1 if there is no hook."""
        return min((each.n for each in _when.events(self._when)), default=1)

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
    def when(self) -> When:
        """When to save, `save_on` and `every_n` included."""
        return self._when

    @property
    def keep(self) -> Keep | None:
        """What to keep, `max_to_keep` included; None: everything."""
        if self._keep is None and self._max_to_keep is not None:
            return KeepLast(self._max_to_keep)
        return self._keep

    @property
    def judges(self) -> bool:
        """Whether more than an age decides what is kept, so that records have to be looked at."""
        return self._keep is not None

    @property
    def thin_after(self) -> int | None:
        return self._thin_after

    @property
    def write(self) -> Write:
        return self._write

    @property
    def snapshot(self) -> Lazy | None:
        """How a lazy snapshot is taken; None: by copy."""
        return self._snapshot

    @property
    def exclude(self) -> tuple[str, ...]:
        return self._exclude

    @property
    def save_on_preemption(self) -> Preemption | None:
        return self._preemption

    @property
    def save_on_exception(self) -> OnException:
        return self._save_on_exception

    @property
    def signals(self) -> tuple[signal.Signals, ...]:
        """Those of `save_on_preemption`, as the system has them."""
        return () if self._preemption is None else self._preemption.watched

    @property
    def rolls_back(self) -> bool:
        """Whether `on_divergence` is a rollback."""
        return self._divergence is not None and self._divergence.action == "rollback"

    @property
    def on_divergence(self) -> Divergence | None:
        return self._divergence

    @property
    def on_saved(self) -> OnSaved | None:
        return self._on_saved

    def should_save(self, hook: str, spent: Spent | None = None) -> bool:
        """Count this hook, if the policy names it, and say whether to save now.

        `spent`: what is known of the time; without it only hooks count.
        """
        is_due = self.explain(hook, spent) is not None
        if hook in self._hooks:
            self._counts[hook] = self._counts.get(hook, 0) + 1
        return is_due

    def explain(self, hook: str, spent: Spent | None = None) -> str | None:
        """Why `should_save` would be true if asked now, such as "epoch_end, every 2nd"; else None.

        Counts nothing, so ask before `should_save`.
        """
        return _when.reason(self._when, hook, self._counts.get(hook, 0) + 1, spent)

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
        """The policy as plain data, without the ledger; our additions only if not at their default.

        With `when` there is no `save_on` and `every_n`. `on_saved` is no plain data, and left out.
        """
        hooks = {"save_on": list(self._hooks), "every_n": self.every_n}
        config = {
            "mode": self.mode,
            **({} if self._is_when_given else hooks),
            "directory": None if self._directory is None else str(self._directory),
            "name_template": self._name_template,
            "max_to_keep": self._max_to_keep,
            "overwrite": self._overwrite,
        }
        additions = {
            "when": _when.as_plain(self._when) if self._is_when_given else None,
            "keep": None if self._keep is None else _keep.as_plain(self._keep),
            "thin_after": self._thin_after,
            "write": as_plain(self._write),
            "snapshot": None if self._snapshot is None else as_plain(self._snapshot) or "lazy",
            "exclude": list(self._exclude),
            # Plain True is what every system has its own signals for.
            "save_on_preemption": self._preemption and (as_plain(self._preemption) or True),
            "save_on_exception": self._save_on_exception,
            "on_divergence": self._divergence and as_plain(self._divergence),
        }
        return config | {name: value for name, value in additions.items() if value}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Checkpointing:
        """The policy that `get_config` described; what is missing is at its default, unknown keys are ignored.

        Raises:
            UsageError: a value that the constructor refuses.
        """
        if not isinstance(config, Mapping):
            raise UsageError(f"a config is a dict, not {config!r}.")
        known = {name: config[name] for name in _CONFIG_KEYS if name in config}
        directory = known.pop("directory", None)
        policy = cls(**known)
        # Set here and not by the constructor, whose warning would point at this file and not at the caller.
        policy._directory = None if directory is None else _values.directory_path("directory", directory)
        _values.warn_if_used(policy._directory, stacklevel=2)
        return policy

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

    def _needs_disk(self) -> str | None:
        """The argument that only has a meaning on disk, if there is one."""
        asked = {
            "keep": self._keep,
            "thin_after": self._thin_after,
            "write": self._write != Write(),
            "snapshot='lazy'": self._snapshot,
            "save_on_preemption": self._preemption,
            "save_on_exception": self._save_on_exception,
            "on_divergence='rollback'": self.rolls_back,
            "on_saved": self._on_saved,
        }
        return next((name for name, value in asked.items() if value), None)

    def _key_for(self, mode: str, key: Key) -> Key:
        if self.mode != mode:
            raise UsageError(
                f"record_{mode}() needs a Checkpointing with mode='{mode}'; this one has '{self.mode}'."
            )
        return check_key(key)

    def _enter(self, key: Key, entry: Path | states.MemorySnapshot) -> tuple[Evicted, ...]:
        self._entries[key] = entry
        # Where records decide too, age alone must not: whoever has the records judges, and calls `forget`.
        going = plan(tuple(self._entries), None if self.judges else self._max_to_keep)
        evicted = tuple(Evicted(old, self.get_path(old)) for old in going)
        for old in going:
            del self._entries[old]
        return evicted


_CONFIG_KEYS = (
    *("mode", "save_on", "every_n", "directory", "name_template", "max_to_keep", "overwrite"),
    *("when", "keep", "thin_after", "write", "snapshot", "exclude"),
    *("save_on_preemption", "save_on_exception", "on_divergence"),
)


def _snapshot(value: Any) -> Lazy | None:
    if isinstance(value, str):
        return Lazy() if _values.one_of("snapshot", value, ("copy", "lazy")) == "lazy" else None
    return group(Lazy, "snapshot", value, "'copy', 'lazy' or Lazy(check=True)")


def _preemption(value: Any) -> Preemption | None:
    if value is None or value is False:
        return None
    if value is True:
        return Preemption()
    if isinstance(value, Preemption | Mapping):
        return group(Preemption, "save_on_preemption", value, "True")
    return Preemption(signals=_values.signal_names("save_on_preemption", value))


def _divergence(value: Any) -> Divergence | None:
    if value is None or isinstance(value, Divergence):
        return value
    if isinstance(value, Mapping):
        return group(Divergence, "on_divergence", value, "'stop'")
    return Divergence(value)
