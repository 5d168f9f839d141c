"""Runs in the second kernel: saves to a disk that begins to fail at a random operation. See `second_kernel.py`.

*errors*: from that operation on every write fails, and the disk is well again as soon as one sync has failed: what
that sync was to make durable must not be taken for durable later. *drops*: from there on writes vanish, as when the
power goes; only what was acknowledged before has to be there.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.errors import SaveError
from holdfast.storage import LocalDisk
from holdfast.testing import Operation, TappedDisk
from tests.support.reliability.numbered import Saver, held

DEVICE, MOUNT = "/dev/ubda", Path("/mnt/disk")
FLAKY = "/dev/mapper/flaky"
MAKE = {
    "ext4": ("mkfs.ext4", "-q", "-F"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
}
SYNCS = ("sync", "sync_directory", "sync_file")


def run(*command: str) -> str:
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)}: {ended.stderr.strip()}")
    return ended.stdout


class FlakyDevice:
    def __init__(self) -> None:
        self._sectors = run("blockdev", "--getsz", DEVICE).strip()
        self.mode = ""
        run("dmsetup", "create", "flaky", "--table", self._table(""))
        run("dmsetup", "mknodes")

    def _table(self, mode: str) -> str:
        always = "0 3600 1 " + mode if mode else "3600 0"
        return f"0 {self._sectors} flakey {DEVICE} 0 {always}"

    def become(self, mode: str) -> None:
        """`error_writes`, `drop_writes`, or well again: "". What is under way is not waited for."""
        if mode != self.mode:
            run("dmsetup", "suspend", "--noflush", "--nolockfs", "flaky")
            run("dmsetup", "load", "flaky", "--table", self._table(mode))
            run("dmsetup", "resume", "flaky")
            self.mode = mode


class FailingFrom(TappedDisk):
    """The device changes at the n-th change; after one sync has failed it is well again."""

    def __init__(self, device: FlakyDevice, mode: str, at: int) -> None:
        super().__init__(LocalDisk())
        self._device, self._mode, self._left = device, mode, at
        self.has_struck = False

    def around(self, operation: Operation, do: Callable[[], Any]) -> Any:
        if operation.changes and not self.has_struck:
            self._left -= 1
            if self._left < 0:
                self._device.become(self._mode)
                self.has_struck = True
        try:
            return do()
        except OSError:
            if operation.kind in SYNCS:
                self._device.become("")
            raise


def one_round(
    device: FlakyDevice, kind: str, draw: random.Random, figures: Counter[str], numbers: Any
) -> None:
    device.become("")
    run(*MAKE[kind], FLAKY)
    mount(kind)
    directory = MOUNT / "runs"
    known: dict[str, int] = {}
    for name in ("rolling", "other"):
        known[name] = next(numbers)
        Saver(directory).save(known[name], name)
    for _ in range(4):
        mode = draw.choice(["error_writes", "drop_writes"])
        name, number = draw.choice(["rolling", "other", "new"]), next(numbers)
        disk = FailingFrom(device, mode, draw.randrange(30))
        saver = Saver(directory, disk)
        allowed = {name: {known.get(name), number}}
        outcome = "refused"
        with contextlib.suppress(SaveError, OSError):
            saver.learn_all()
            saver.save(number, name)
            outcome = "saved"
            if not disk.has_struck or mode == "error_writes":
                allowed[name] = {number}  # acknowledged: the disk has said of no sync that it failed
        figures[f"{mode}: {outcome}"] += 1
        figures["rounds"] += 1
        unmount()
        device.become("")
        mount(kind)
        found = held(directory)
        for each in {*known, name}:
            may_be = allowed.get(each, {known.get(each)})
            assert found.get(each) in may_be, f"{kind}, {mode}: {each} holds {found.get(each)}, not {may_be}"
        known = dict(found)
        known["rolling"] = next(numbers)
        Saver(directory).save(known["rolling"], "rolling")
        assert held(directory) == known
    unmount()


def mount(kind: str) -> None:
    MOUNT.mkdir(exist_ok=True)
    run("mount", "-t", kind, FLAKY, str(MOUNT))


def unmount() -> None:
    run("umount", str(MOUNT))


def main(budget_s: float, seed: int) -> None:
    draw, figures = random.Random(seed), Counter[str]()
    numbers = iter(range(1, 1 << 30))
    device = FlakyDevice()
    began_s = time.monotonic()
    while True:
        for kind in MAKE:
            one_round(device, kind, draw, figures, numbers)
        if time.monotonic() - began_s > budget_s:
            break
    done = ", ".join(f"{count} {what}" for what, count in sorted(figures.items()))
    print(f"inside: figures {done} on {', '.join(MAKE)}: 0 lost", flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
