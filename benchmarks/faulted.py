"""A library at work in a process of its own, which can be killed at any instant: saving, loading, answering.

`Worker` is the benchmark's end; `python -m benchmarks.faulted CONTENDER` is the other one. It forks a child for
each piece of work, so that a kill costs milliseconds; a library that starts threads when it is imported works in
the process itself, which is started again after a kill.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TENSORS = 8


@dataclass(frozen=True)
class Peer:
    """`saving` and `loading` are names of contenders, in this file of `contenders/`."""

    name: str
    file: str
    saving: str
    loading: str
    forks: bool = True


PEERS = (
    Peer("Holdfast", "holdfast", "Holdfast (copy)", "Holdfast (first)"),
    Peer("torch.save", "torch_save", "torch.save", "torch.load"),
    Peer("torch.save + fsync + rename", "torch_save", "torch.save + fsync + rename", "torch.load"),
    Peer("safetensors", "safetensors", "safetensors", "safetensors"),
    Peer("DCP", "dcp", "DCP", "DCP"),
    Peer("Orbax", "orbax", "Orbax (NumPy)", "Orbax (NumPy)", forks=False),
    Peer("numpy.savez", "numpy_savez", "numpy.savez", "numpy.savez"),
)


class Worker:
    """One peer's process."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.faulted", self.peer.name]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries print the errors that they raise, and more
            text=True,
            env=environment,
            cwd=Path(__file__).parents[1],
        )
        self._hear()  # "ready"

    def save(self, root: Path, name: str, number: int, size_bytes: int) -> str | None:
        """None if it worked, else the exception."""
        return self._do("save", root, name, number, size_bytes)[1]

    def load(self, root: Path, name: str, size_bytes: int) -> int | str | None:
        """The number of the state that is there to the last bit, None for any other, else the exception."""
        said, value = self._do("load", root, name, 0, size_bytes)
        return value if said == "done" else str(value)

    def kill_amid_save(self, root: Path, name: str, number: int, size_bytes: int, after_s: float) -> bool:
        """False if the save had returned before the kill came."""
        began = self._begin("save", root, name, number, size_bytes)
        time.sleep(after_s)
        os.kill(began, signal.SIGKILL)
        had_returned = False
        try:
            while (said := self._hear())[0] != "ended":
                had_returned |= said[0] in ("done", "failed")
        except EOFError:  # it worked in the process itself
            self.restart()
        else:
            self._tell({})
            if not self.peer.forks:
                self.restart()
        return not had_returned

    def restart(self) -> None:
        self.close()
        self._start()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _do(self, *work: Any) -> list[Any]:
        self._begin(*work)
        answer = ["failed", "the process died"]
        while (said := self._hear())[0] != "ended":
            answer = said
        self._tell({})
        return answer

    def _begin(self, what: str, root: Path, name: str, number: int, size_bytes: int) -> int:
        self._tell(
            {"what": what, "root": str(root), "name": name, "number": number, "size_bytes": size_bytes}
        )
        return self._hear()[1]

    def _tell(self, job: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()

    def _hear(self) -> list[Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EOFError(f"{self.peer.name}: its process has ended")
        return json.loads(line)


# --- the other end --------------------------------------------------------------------------------------


def state_of(number: int, size_bytes: int) -> dict[str, Any]:
    """Noise that is the same in every process, in eight tensors, and cheap to make."""
    import torch

    rows = size_bytes // _TENSORS // 4
    noise = torch.arange(rows, dtype=torch.int64)
    return {
        "model": {
            f"tensor{part}": (noise * 2654435761 + 40503 * number + part)
            .bitwise_and(0x7FFFFFFF)
            .to(torch.int32)
            for part in range(_TENSORS)
        }
    }


def number_in(live: dict[str, Any], size_bytes: int) -> int | None:
    import torch

    for number in range(1, 100):
        first = state_of(number, 32 * _TENSORS)["model"]["tensor0"]
        if torch.equal(live["model"]["tensor0"][:8], first):
            complete = state_of(number, size_bytes)["model"]
            return number if all(torch.equal(live["model"][key], complete[key]) for key in complete) else None
    return None


def _serve(peer: Peer) -> None:
    import torch

    from .contenders import gather

    torch.set_num_threads(1)
    savings, loadings, skipped = gather([peer.file])
    if skipped:
        raise SystemExit(skipped[0])
    (saving,) = (each for each in savings if each.name == peer.saving)
    (loading,) = (each for each in loadings if each.name == peer.loading)
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer

    def say(*what: Any) -> None:
        os.write(answers, json.dumps(what).encode() + b"\n")

    def work(job: dict[str, Any]) -> None:
        root, name, size = Path(job["root"]), job["name"], job["size_bytes"]
        if job["what"] == "load":
            live = state_of(99, size)
            for tensor in live["model"].values():
                tensor.fill_(-1)
            say("started", os.getpid())
            try:
                loading.into(root, name, live)
            except BaseException as err:
                say("failed", type(err).__name__)
            else:
                say("done", number_in(live, size))
            return
        state = state_of(job["number"], size)
        saver = _forced(saving.start())
        saver.begin(root)
        say("started", os.getpid())
        try:
            saver.save(state, name)
            saver.finish()
        except BaseException as err:
            say("failed", type(err).__name__)
        else:
            say("done", None)
        with contextlib.suppress(BaseException):
            saver.close()

    say("ready")
    for line in sys.stdin:
        job = json.loads(line)
        _in_child(work, job, say) if peer.forks else work(job)
        say("ended")
        sys.stdin.readline()


def _in_child(work: Callable[[dict[str, Any]], None], job: dict[str, Any], say: Callable[..., None]) -> None:
    child = os.fork()
    if child == 0:
        try:
            work(job)
        finally:
            os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    # Its id stays its own until it is waited for, which is when the next job comes at the latest.
    _reap.append(child)
    while len(_reap) > 1:
        os.waitpid(_reap.pop(0), 0)


_reap: list[int] = []


def _forced(saver: Any) -> Any:
    """Orbax overwrites only if it is told to."""
    if hasattr(saver, "_checkpointer"):
        inner = saver._checkpointer.save
        saver._checkpointer.save = lambda *args, **options: inner(*args, **options, force=True)
    return saver


def main(arguments: Sequence[str]) -> None:
    (peer,) = (each for each in PEERS if each.name == arguments[0])
    _serve(peer)


if __name__ == "__main__":
    main(sys.argv[1:])
