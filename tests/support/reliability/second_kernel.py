"""A second kernel, user-mode Linux, for what this one lacks: a disk whose writes fail or vanish (dm-flakey).

Needs no root, but `apt-get install user-mode-linux dmsetup kmod xfsprogs btrfs-progs`. What runs in there is
`second_kernel_inside.py`; it sees this machine's files, and a disk of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_INSIDE = Path(__file__).with_name("second_kernel_inside.py")
_MODULES = Path("/usr/lib/uml/modules")
_BOOT_S = 60
_DISK_BYTES = 400 << 20

_INIT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 {environment}
mount -t proc proc /proc; mount -t sysfs sys /sys
mount -t tmpfs tmpfs /mnt; mount -t tmpfs tmpfs /run
mkdir -p /mnt/lib; ln -s {modules} /mnt/lib/modules
for module in dm-mod dm-flakey xfs btrfs; do modprobe -d /mnt $module; done
echo "inside: begins"
{command} 2>&1
echo "inside: ended $?"
echo o > /proc/sysrq-trigger
sleep 60
"""


def lacking() -> str | None:
    """Why there can be no second kernel here; None if there can."""
    for program in ("linux.uml", "dmsetup", "modprobe", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs"):
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            return f"{program} is not installed"
    return None if _MODULES.is_dir() else f"{_MODULES} is not there"


def campaign(budget_s: float, seed: int) -> str:
    """Writes that fail or vanish in the middle of saves, on ext4, xfs and btrfs; one line of figures."""
    if why := lacking():
        return f"skipped: {why}"
    said = run(budget_s, seed)
    figures = re.search(r"^inside: figures (.*)$", said, re.MULTILINE)
    assert "inside: ended 0" in said and figures, f"in the second kernel:\n{said[-4000:]}"  # noqa: PT018
    return figures[1].strip()


def run(budget_s: float, seed: int) -> str:
    """What was said inside: for so many seconds, and one round at least."""
    with tempfile.TemporaryDirectory(prefix="holdfast-kernel-") as folder:
        disk, init = Path(folder, "disk"), Path(folder, "init")
        with disk.open("wb") as file:
            file.truncate(_DISK_BYTES)
        command = f"{sys.executable} -W error {_INSIDE} {budget_s} {seed}"
        environment = (
            f"PYTHONPATH={os.environ.get('PYTHONPATH', '')} PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1"
        )
        init.write_text(_INIT.format(modules=_MODULES, command=command, environment=environment))
        init.chmod(0o755)
        kernel = [
            *(
                "linux.uml",
                "root=/dev/root",
                "rootfstype=hostfs",
                "rootflags=/",
                "rw",
                "mem=1G",
                f"ubda={disk}",
            ),
            *(f"init={init}", "quiet", "con=null", "con0=null,fd:1", "ssl=null"),
        ]
        environment_of_kernel = os.environ | {"TMPDIR": folder}
        # A group of its own: it is many processes, and must not outlive us.
        process = subprocess.Popen(
            kernel,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment_of_kernel,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=10 * _BOOT_S + 3 * budget_s)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)
                process.communicate()
        return said.decode(errors="replace").replace("\r", "")
