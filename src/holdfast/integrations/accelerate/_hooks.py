"""Hooks that write files of their own at `save_state`, beside accelerate's, and read them at `load_state`."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final, final

import numpy as np

from ...errors import PlanMismatchError

logger = logging.getLogger("holdfast")

_KINDS: Final = {"save": "_save_model_state_pre_hook", "load": "_load_model_state_pre_hook"}


@final
class FileHooks:
    """Those of an accelerator. They are given a folder that lasts as long as the call; its files are part of the checkpoint."""

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator
        self._is_said = False

    @property
    def names(self) -> str:
        """By what they were registered; empty if there are none."""
        registered = (f"register_{kind}_state_pre_hook" for kind, name in _KINDS.items() if self._of(name))
        return " and ".join(registered)

    def refuse_run(self) -> None:
        """Say, once, that they are not called where a run saves by its policy."""
        if self.names and not self._is_said:
            self._is_said = True
            logger.warning(
                "the hooks of %s are not called in a run, which saves while it trains on: they are at accelerator.save_state(path) and "
                "load_state outside of one. What they keep is saved if it is handed to accelerator.register_for_checkpointing()",
                self.names,
            )

    def files(self) -> dict[str, Any]:
        """What the hooks of a save write: the bytes of each file, `(size,)` uint8, by its path in the folder."""
        if not (hooks := self._of(_KINDS["save"])):
            return {}
        accelerator = self._accelerator
        with tempfile.TemporaryDirectory() as folder:
            # They may take models out of this list to save these in their own way; ours are saved all the same.
            weights = [accelerator.get_state_dict(each, unwrap=False) for each in accelerator._models]
            for hook in hooks:
                hook(accelerator._models, weights, folder)
            found = sorted(each for each in Path(folder).rglob("*") if each.is_file())
            return {
                each.relative_to(folder).as_posix(): np.frombuffer(each.read_bytes(), np.uint8)
                for each in found
            }

    def load(self, files: Mapping[str, Any] | None) -> list[str]:
        """Call the hooks of a load with these files; a sentence for what does not come back. `files`: None if none were saved.

        Raises:
            PlanMismatchError: a path leads out of the folder; no hook was called.
        """
        hooks = self._of(_KINDS["load"])
        if files is None:
            return [f"the hooks of {self.names} found no files of theirs in the checkpoint"] if hooks else []
        if not hooks:
            return ["hooks of register_save_state_pre_hook wrote files, and none reads them now"]
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                path = PurePosixPath(name)
                if path.is_absolute() or ".." in path.parts:
                    raise PlanMismatchError(
                        [f"a file of a hook has the path {name!r}, outside of its folder"]
                    )
                place = os.path.join(folder, name)
                os.makedirs(os.path.dirname(place), exist_ok=True)
                Path(place).write_bytes(np.asarray(content).tobytes())
            models = [*self._accelerator._models]
            for hook in hooks:
                hook(models, folder)
        return []

    def _of(self, name: str) -> list[Any]:
        return [*getattr(self._accelerator, name, {}).values()]
