"""Where a script is with its `Run`: before, in or after the `with` block, and in which of its loops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, final

from ...errors import UsageError

_AROUND = "run.batches(data, steps=n) goes through all epochs by itself: use it outside of other loops, or leave out steps"
_INSTEAD = {
    (
        "epochs",
        "steps",
    ): "run.steps(n) is for a loop without epochs; inside run.epochs(n) use run.batches(data)",
    ("epochs", "epochs"): "run.epochs(n) counts all epochs of the run, in one loop",
    ("steps", "steps"): "run.steps(n) counts all steps of the run, in one loop",
    ("steps", "epochs"): "use run.epochs(n) outside, and run.batches(data) inside of it",
}


@final
class Block:
    """The `with` block of one run, entered once."""

    def __init__(self) -> None:
        self._where: Literal["before", "inside", "after"] = "before"
        self._loop: str | None = None

    @property
    def is_looping(self) -> bool:
        """Whether one of its outer loops runs."""
        return self._loop is not None

    def enter(self) -> None:
        """The block begins.

        Raises:
            UsageError: it has begun already.
        """
        if self._where != "before":
            raise UsageError(
                "this Run has been entered already: make a new Run, which resumes from the newest checkpoint."
            )
        self._where = "inside"

    def leave(self) -> None:
        self._where = "after"

    def check(self, what: str) -> None:
        """Refuse, with UsageError, what means nothing outside."""
        if self._where == "inside":
            return
        raise UsageError(
            f"run.{what} was used {self._where} the `with` block, where nothing is resumed or saved: use "
            "`with Run(…) as run:`, and this inside of it."
        )

    def check_begun(self, what: str) -> None:
        """Refuse, with UsageError, what is not known before."""
        if self._where == "before":
            self.check(what)

    def check_loop(self, name: str) -> None:
        """Refuse, with UsageError, a loop over epochs, steps or batches counted in steps outside of the block, or inside of another one."""
        self.check(f"{name}()")
        if self._loop is not None:
            raise UsageError(
                f"run.{name}() inside the loop over run.{self._loop}(): {_INSTEAD.get((self._loop, name), _AROUND)}. Iterate over "
                "anything else with a plain `for`."
            )

    @contextmanager
    def looping(self, name: str) -> Iterator[None]:
        """The loop of this name runs."""
        self.check_loop(name)
        self._loop = name
        try:
            yield
        finally:
            self._loop = None
