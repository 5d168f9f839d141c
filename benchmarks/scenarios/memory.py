"""Peak memory of one save or restore, in a process of its own: what is resident beside the state.

`python -m benchmarks.scenarios.memory ROLE BYTES FOLDER` is that process; it prints the bytes.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from holdfast import Write

from .. import states
from ..contenders import gather
from ..measure import Bench

_NAME = "checkpoint"


@dataclass(frozen=True, slots=True)
class _Role:
    name: str


ROLES = (
    _Role("Holdfast save, beside one snapshot"),
    _Role("Holdfast save, background=False"),
    _Role("Holdfast restore, streaming"),
    _Role("Holdfast restore, first"),
    _Role("torch.save"),
    _Role("torch.load"),
)


def run(bench: Bench) -> None:
    """Bytes beside the state, at the size of S1."""

    def turn(role: _Role, round: int) -> None:
        if round < 0:
            return
        with bench.fresh_folder() as root:
            command = (sys.executable, "-m", "benchmarks.scenarios.memory")
            arguments = (role.name, str(bench.scale.s1_bytes), str(root))
            done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(done.stderr.strip()[-300:])
            bench.samples.add("memory", role.name, round, int(done.stdout.split()[-1]))

    bench.rounds("memory", ROLES, turn, repeats=min(3, bench.scale.repeats))


def _beside(role: str, size: int, root: Path) -> int:
    savings, loadings, _ = gather(["torch_save", "holdfast"])
    is_torch = role.startswith("torch")
    # Everything is imported and has run once, on a small state, before memory is counted.
    name = "torch.save" if is_torch else "Holdfast (copy)"
    saver = next(each for each in savings if each.name == name).start()
    small = states.transformer(8 << 20)
    for state, folder in ((small, root / "small"), (states.transformer(size), root / "large")):
        folder.mkdir()
        state_bytes = states.size_bytes(state)
        before = _peak(reset=True)
        if role.endswith("background=False"):
            _save_at_once(state, folder)
        else:
            saver.begin(folder)
            saver.save(state, _NAME)
            saver.finish()
        after_save = _peak() - before
    if role.endswith("snapshot"):
        return after_save - state_bytes
    if "save" in role:
        return after_save
    saver.close()
    del saver
    which = {"torch.load": "torch.load", "Holdfast restore, first": "Holdfast (first)"}
    loading = next(each for each in loadings if each.name == which.get(role, "Holdfast (streaming)"))
    loading.into(root / "small", _NAME, small)
    before = _peak(reset=True)
    loading.into(root / "large", _NAME, state)
    return _peak() - before


def _save_at_once(state: states.State, folder: Path) -> None:
    """As a run with `Checkpointing(background=False)` saves."""
    from holdfast import Checkpointing
    from holdfast.records import Moment
    from holdfast.runtime import ExperimentDirectory, Session

    policy = Checkpointing(save_on="epoch_end", directory=folder, write=Write(background=False))
    with ExperimentDirectory(folder, "0" * 32) as directory:
        session = Session(policy, "train", "phase", directory, folder)
        session.save(
            Moment(run="0" * 32, hook="epoch_end", phase="phase", epoch=0),
            lambda: state,
            reason="benchmark",
            metrics={},
        )


def _peak(*, reset: bool = False) -> int:
    """Peak resident bytes since the last reset, from the kernel; with `reset`, what is resident now."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("this kernel does not tell peak memory")


if __name__ == "__main__":
    print(_beside(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
