"""The arguments of a `Checkpointing`: checked at once, read-only from then on, and given as plain data."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import Any, Literal, Self

from ..errors import UsageError
from ..records import CheckpointRecord
from . import _divergence, _keep, _labels, _preemption, _values, _when, _write
from ._conditions import Every, When
from ._context import Context
from ._divergence import Action, Divergence
from ._groups import as_plain, group
from ._keep import Keep, KeepLast
from ._preemption import Preemption, Signals
from ._write import Lazy, Write

OnSaved = Callable[[CheckpointRecord], object]
OnException = bool | Literal["between"]


class _Text(str):
    """The default of an argument, told from the same value passed explicitly."""


class _Number(int):
    """As `_Text`."""


_UNSET, _SAVE_ON = "unset", "save_on"
_EPOCH_END, _ONE = _Text("epoch_end"), _Number(1)


class Arguments:
    """What a `Checkpointing` was given, whose docstring describes it; and of its parent, what that decides."""

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
        self._is_hook_open = when is None and isinstance(save_on, _Text)
        if when is None:
            self._save_at(_when.any_of(Every(hook, n) for hook in hooks))
        elif isinstance(save_on, _Text) and isinstance(every_n, _Number):
            self._save_at(_when.from_value(when))
        else:
            raise UsageError("pass either when= or save_on and every_n: when=Every(hook, n) means the same.")
        self._directory = _values.optional(_values.directory_path, "directory", directory)
        self._max_to_keep = _values.optional(_values.positive_integer, "max_to_keep", max_to_keep)
        self._overwrite = _values.flag("overwrite", overwrite)
        if keep is not None and max_to_keep is not None:
            raise UsageError("pass either keep= or max_to_keep: keep=KeepLast(n) means the same.")
        self._keep = None if keep is None else _keep.from_value(keep)
        self._thin_after = _values.optional(_values.positive_integer, "thin_after", thin_after)
        self._write = group(
            Write, "write", Write() if write is None else write, "Write(durability='process')"
        )
        self._snapshot = _write.snapshot_from(snapshot)
        if self._snapshot is not None and not self._write.background:
            raise UsageError("snapshot='lazy' needs background=True in write=: else training waits anyway.")
        self._exclude = _values.patterns("exclude", exclude)
        self._preemption = _preemption.from_value(save_on_preemption)
        if not isinstance(save_on_exception, bool) and save_on_exception != "between":
            raise UsageError(
                f"save_on_exception must be True, False or 'between', not {save_on_exception!r}."
            )
        self._save_on_exception: OnException = save_on_exception
        self._divergence = _divergence.from_value(on_divergence)
        if on_saved is not None and not callable(on_saved):
            raise UsageError(f"on_saved is called with each record, and {on_saved!r} cannot be called.")
        self._on_saved = on_saved
        if mode == "memory" and (needs := self._needs_disk()):
            raise UsageError(
                f"{needs} needs mode='disk', because it is about bundles; leave mode out. In memory there is max_to_keep."
            )
        self._is_on_disk: bool | None = None  # what an unset mode means, once there is a parent
        self._context: Context | None = None  # of the parent; none yet
        self.name_template = name_template
        _values.warn_if_used(self._directory, stacklevel=2)

    def _save_at(self, when: When) -> None:
        self._when = when
        self._hooks = tuple(dict.fromkeys(each.hook for each in _when.events(when)))

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

    def get_config(self) -> dict[str, Any]:
        """The policy as plain data, without the ledger; our additions only if not at their default.

        A mode that was not passed is None until a parent settles it. With `when` there is no `save_on` and `every_n`. Where no
        `save_on` was passed, it is named in `unset`: a parent without epochs saves at the end of a batch then. `on_saved` is no plain data, and left out.
        """
        hooks = {"save_on": list(self._hooks), "every_n": self.every_n}
        config = {
            "mode": self._mode if self._is_on_disk is None else self.mode,
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
            _UNSET: [_SAVE_ON] if self._is_hook_open else None,
        }
        return config | {name: value for name, value in additions.items() if value}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The policy that `get_config` described; what is missing is at its default.

        Raises:
            UsageError: an unknown key, or a value that the constructor refuses.
        """
        if not isinstance(config, Mapping):
            raise UsageError(f"a config is a dict, not {config!r}.")
        named = signature(cls).parameters.keys() - {"directory", "on_saved"}
        unknown = [name for name in config if name not in {*named, "directory", _UNSET}]
        if unknown:
            raise UsageError(
                f"a config of Checkpointing has no {unknown[0]!r}; it may have {', '.join(sorted(named))}."
            )
        unset = config.get(_UNSET) or []
        if unset not in ([], [_SAVE_ON]):
            raise UsageError(f"{_UNSET} may name {_SAVE_ON!r} in a list, and nothing else, not {unset!r}.")
        known: dict[str, Any] = {name: config[name] for name in named - {*unset} if name in config}
        policy = cls(**known)
        # Set here and not by the constructor, whose warning would point at this file and not at the caller.
        policy._directory = _values.optional(_values.directory_path, "directory", config.get("directory"))
        _values.warn_if_used(policy._directory, stacklevel=2)
        return policy

    def __repr__(self) -> str:
        config = self.get_config()
        unset = {_UNSET, *config.get(_UNSET, ())}
        said = (f"{name}={value!r}" for name, value in config.items() if name not in unset)
        return f"Checkpointing({', '.join(said)})"

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
        return next((name for name, value in asked.items() if value is not None and value is not False), None)
