"""A script: opens, verifies and reads a checkpoint under an audit hook, and prints what should not have happened.

`audited_reading.py PRACTICE BUNDLE` reads the first without the hook, so that all of Holdfast is imported,
then the second with it. Prints a JSON list of events: those of reading, and of one import that must be seen.
"""

from __future__ import annotations

import json
import os
import sys

import holdfast

CODE_RUNS = ("import", "exec", "compile", "code.", "marshal.", "pickle.", "ctypes.", "subprocess.")
LEAVES_THE_PROCESS = ("os.system", "os.exec", "os.fork", "os.spawn", "os.posix_spawn", "socket.", "urllib.")
CHANGES_FILES = (
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "shutil.",
)
FORBIDDEN = CODE_RUNS + LEAVES_THE_PROCESS + CHANGES_FILES


class Watch:
    """An audit hook (they cannot be removed) that keeps forbidden events while `bundle` is set."""

    def __init__(self) -> None:
        self.bundle: str | None = None
        self.seen: list[str] = []

    def __call__(self, event: str, args: tuple) -> None:
        if self.bundle is None:
            return
        if event.startswith(FORBIDDEN) or (event == "open" and not self._is_inside(args)):
            self.seen.append(f"{event} {args[:3]!r}")

    def _is_inside(self, args: tuple) -> bool:
        """Whether this is a bare name, opened relative to the bundle, or the bundle; and to be read only."""
        path, _, flags = args
        to_read = not (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        return to_read and (path == self.bundle or os.path.basename(path) == path)


def read_all(path: str) -> None:
    (listed,) = holdfast.scan(os.path.dirname(path))
    with holdfast.open(listed) as checkpoint:
        assert checkpoint.verify(deep=True) == []
        assert checkpoint.tree()
        for leaf in checkpoint.leaves():
            checkpoint[leaf.path]
        checkpoint.load()


def main(practice: str, bundle: str) -> None:
    watch = Watch()
    sys.addaudithook(watch)
    read_all(practice)
    watch.bundle = bundle
    os.chdir(bundle)
    read_all(bundle)
    while_reading, watch.seen = watch.seen, []
    import wave  # noqa: F401 - nothing else needs it, so the hook must see it

    control, watch.bundle = watch.seen, None
    print(json.dumps([while_reading, control]))


if __name__ == "__main__":
    main(*sys.argv[1:])
