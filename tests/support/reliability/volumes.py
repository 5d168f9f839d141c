"""File systems of their own, to be cut off, filled up and made read-only: loop-mounted ones, and tmpfs.

Needs root and Linux. `lacking(kind)` says in words what this machine lacks; a test that is skipped shows it.
A power cut is the ioctl FS_IOC_SHUTDOWN without a flush of the log: from then on nothing reaches the disk,
and what the next mount finds is what the disk has been given, no more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_SHUTDOWN = 0x8004587D  # FS_IOC_SHUTDOWN of <linux/fs.h>: _IOR('X', 125, __u32)
_NO_LOG_FLUSH = 2
_PATIENCE_S = 10.0
MIB = 1 << 20


@dataclass(frozen=True)
class Kind:
    """How a file system is made and mounted; `size_bytes` is the least that it takes, and sparse."""

    name: str
    make: tuple[str, ...] = ()  # empty: tmpfs, which needs no device
    options: str = "defaults"
    size_bytes: int = 192 * MIB


_EXT4 = ("mkfs.ext4", "-q", "-F", "-m", "0")
EXT4 = Kind("ext4", _EXT4)
EXT4_NO_AUTO_DA = Kind("ext4 noauto_da_alloc", _EXT4, "noauto_da_alloc")
EXT4_WRITEBACK = Kind("ext4 data=writeback", _EXT4, "data=writeback")
XFS = Kind("xfs", ("mkfs.xfs", "-q", "-f"), size_bytes=320 * MIB)
TO_CUT = (EXT4, EXT4_NO_AUTO_DA, EXT4_WRITEBACK, XFS)

SMALL_EXT4 = Kind("ext4 of 32 MiB", (*_EXT4, "-N", "256"), size_bytes=32 * MIB)
SMALL_TMPFS = Kind("tmpfs of 32 MiB", options=f"size={32 * MIB},nr_inodes=256")


@cache
def lacking(kind: Kind) -> str | None:
    """Why this file system cannot be had here; None if it can."""
    if os.uname().sysname != "Linux":
        return f"{kind.name}: file systems of one's own are made the way of Linux only"
    if os.geteuid() != 0:
        return f"{kind.name}: only root may mount a file system"
    for program in (*kind.make[:1], "mount", "losetup"):
        if shutil.which(program) is None:
            return f"{kind.name}: {program} is not installed" + (" (xfsprogs)" if "xfs" in program else "")
    try:
        Volume(kind).close()
    except subprocess.CalledProcessError as err:
        return f"{kind.name}: cannot be mounted here ({err.stderr.strip()})"
    return None


class Volume:
    """A mounted file system, at `path`. A context manager; whatever happens, it is unmounted and detached."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._home = Path(tempfile.mkdtemp(prefix="holdfast-volume-"))
        self._home.chmod(0o755)  # other users are to read what is mounted here
        self.path = self._home / "mount"
        self.path.mkdir()
        self._device: str | None = None
        self._is_mounted = False
        try:
            if kind.make:
                self._attach()
            self.mount()
        except BaseException:
            self.close()
            raise

    def _attach(self) -> None:
        image = self._home / "image"
        with image.open("wb") as file:
            file.truncate(self.kind.size_bytes)
        _run(*self.kind.make, str(image))
        self._device = _run("losetup", "--find", "--show", str(image)).strip()

    def mount(self) -> None:
        if self._device is None:
            _run("mount", "-t", "tmpfs", "-o", self.kind.options, "tmpfs", str(self.path))
        else:
            kind = self.kind.name.split()[0]
            _run("mount", "-t", kind, "-o", self.kind.options, self._device, str(self.path))
        self._is_mounted = True

    def unmount(self) -> None:
        if self._is_mounted:
            try:
                self._unmount_when_idle()
            except subprocess.CalledProcessError as err:
                err.add_note(f"{self.path} is used by: {_users(self.path) or 'no process that can be seen'}")
                # Somebody has a file open: away with the name now, and with the rest when it is closed.
                _run("umount", "--lazy", str(self.path))
                raise
            finally:
                self._is_mounted = False

    def _unmount_when_idle(self) -> None:
        """The kernel may close the files of a killed process a moment after its parent has waited for it."""
        until_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                _run("umount", str(self.path))
                return
            except subprocess.CalledProcessError:
                if time.monotonic() > until_s:
                    raise
            time.sleep(0.05)

    def mount_again(self) -> None:
        """After a power cut: every process that has files open here must have ended."""
        self.unmount()
        self.mount()

    def remount(self, options: str) -> None:
        _run("mount", "-o", f"remount,{options}", str(self.path))

    @property
    def free_bytes(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_bsize  # ext4 keeps some of what is free to itself

    @property
    def free_inodes(self) -> int:
        return os.statvfs(self.path).f_ffree

    def close(self) -> None:
        try:
            with contextlib.suppress(subprocess.CalledProcessError):
                self.unmount()
        finally:
            if self._device is not None:
                device, self._device = self._device, None
                _run("losetup", "--detach", device)
            shutil.rmtree(self._home, ignore_errors=True)

    def __enter__(self) -> Volume:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()


def power_cut(mountpoint: str | os.PathLike[str]) -> None:
    descriptor = os.open(mountpoint, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
    finally:
        os.close(descriptor)


def _users(mountpoint: Path) -> str:
    """The processes that have a file open or mapped there, or stand in it, with what they use."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it is not ours to look at, or has ended
            used = set((process / "maps").read_text().split())
            for link in [process / "cwd", *(process / "fd").iterdir()]:
                with contextlib.suppress(FileNotFoundError):
                    used.add(os.readlink(link))
            if there := sorted(each for each in used if each.startswith(str(mountpoint))):
                found.append(f"{process.name} {(process / 'comm').read_text().strip()}: {', '.join(there)}")
    return "; ".join(found)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
