"""Only `holdfast.storage` writes to the disk, so that what is tested with its fakes is all there is."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "holdfast"
# Receivers that are a `Storage` or a `Directory` of it; their mkdir, rename, … are the seam itself.
SEAM = {"disk", "self.disk", "self._disk", "directory", "self._directory", "inside", "above", "here"}
METHODS = {
    *("mkdir", "rename", "unlink", "rmdir", "link", "touch", "chmod", "write_text", "write_bytes", "tofile"),
    *("symlink_to", "hardlink_to", "open", "fdopen", "ftruncate", "truncate", "makedirs", "removedirs"),
}
OS = {
    "write",
    "pwrite",
    "writev",
    "pwritev",
    "replace",
    "remove",
    "renames",
    "symlink",
    "mkfifo",
    "mknod",
    "sendfile",
}
LIBRARIES = {"np", "numpy", "torch", "joblib", "safetensors"}
SAVING = {"save", "savez", "savez_compressed", "savetxt", "memmap", "save_file", "dump"}
ALLOWED = {
    ("cli/rerun/demo.py", "tempfile.mkdtemp"): "the demo runs in a directory of its own,",
    ("cli/rerun/demo.py", "shutil.rmtree"): "and removes it",
    (
        "cli/rerun/_scratch.py",
        "tempfile.mkdtemp",
    ): "a script that is checked or tortured runs in a directory of its own,",
    ("cli/rerun/_scratch.py", "shutil.rmtree"): "and removes it",
    ("checkpoint/_checkpoint.py", "open"): "is the module's own, and only reads,",
    (
        "harness/_lives.py",
        "shutil.copytree",
    ): "a script is resumed from a copy of what another life of it has saved,",
    ("harness/_lives.py", "os.link"): "with its large files linked,",
    ("harness/_lives.py", "shutil.copy2"): "and the others copied,",
    ("harness/_lives.py", "shutil.rmtree"): "without the checkpoints that came later",
    ("harness/_progress.py", "open"): "the file in which a run that is tortured keeps its step,",
    ("harness/_progress.py", "file.truncate"): "which is as long as a note",
    ("harness/_trace.py", "open"): "the file in which a script that is checked notes what its variables are,",
    ("cli/_output/disk.py", "os.open"): "opens for reading, to see what a deletion frees",
    ("cli/_output/console.py", "os.open"): "points a broken standard output at /dev/null",
    (
        "integrations/transformers/_held_trainer.py",
        "tempfile.TemporaryDirectory",
    ): "hands the Trainer its state in a file",
    (
        "integrations/accelerate/_hooks.py",
        "tempfile.TemporaryDirectory",
    ): "gives accelerate's hooks a folder for as long as they are called,",
    ("integrations/accelerate/_hooks.py", "os.makedirs"): "with the folders in it",
    ("integrations/accelerate/_hooks.py", "Path(place).write_bytes"): "and the files that they had written",
    ("fingerprint.py", "open"): "reads what the processor is",
    ("exchange/_npz_in.py", "archive.open"): "reads a member of an archive",
    ("exchange/_npz_in.py", "open"): "reads the file of another library",
    ("exchange/_zip_out.py", "self._zip.open"): "writes into an archive that lies over a file of the seam's",
}


def writing_calls(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of each call that may change the disk and does not go through the seam."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        receiver, _, method = name.rpartition(".")
        if (
            name == "open"
            or (method in METHODS and receiver and receiver not in SEAM)
            or (receiver == "os" and method in OS)
            or (receiver in LIBRARIES and method in SAVING)
            or receiver in ("shutil", "tempfile")
        ):
            yield node.lineno, name


@pytest.mark.medium
def test_only_the_storage_seam_writes_to_the_disk():
    found = {}
    for file in SOURCE.rglob("*.py"):
        name = file.relative_to(SOURCE).as_posix()
        if not name.startswith("storage/"):
            for line, call in writing_calls(file.read_text()):
                found.setdefault((name, call), []).append(line)
    assert {place: lines for place, lines in found.items() if place not in ALLOWED} == {}
    assert found.keys() == ALLOWED.keys(), "an exception that is no longer needed"


def test_the_lint_sees_every_way_of_writing():
    ways = """
        open(p, "w"); io.open(p, "w"); os.open(p, 1); os.rename(a, b); os.replace(a, b); os.remove(a)
        os.unlink(a); os.mkdir(a); os.makedirs(a); os.rmdir(a); os.link(a, b); os.symlink(a, b); os.truncate(a, 1)
        path.write_text(t); path.write_bytes(t); path.mkdir(); path.unlink(); path.touch(); path.rename(b)
        shutil.copy(a, b); tempfile.mkdtemp(); np.save(p, a); torch.save(a, p); Path(p).open("w"); array.tofile(p)
    """
    assert len(list(writing_calls(textwrap.dedent(ways)))) == ways.count("(") - ways.count("Path(p)")


@pytest.mark.medium
def test_while_an_experiment_is_saved_read_and_removed_nobody_else_writes(tmp_path):
    # Audit hooks cannot be taken off, hence a process of its own.
    code = """
    import os, sys
    import holdfast
    from holdfast.storage import LocalDisk
    from tests.support.reliability.lives import BEST, Saver, sweep, training

    offences, written = [], []
    changes = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}

    def watch(event, arguments):
        writes = event in changes or event.startswith(("shutil.", "tempfile."))
        if event == "open":
            mode, flags = arguments[1:]
            writes = bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) and arguments[0] != os.devnull
        if not writes:
            return
        frame = sys._getframe()
        while frame and "holdfast" not in frame.f_code.co_filename:
            frame = frame.f_back
        place = frame.f_code.co_filename if frame else "nobody"
        (written if "/holdfast/storage/" in place else offences).append((event, arguments, place))

    os.chdir(sys.argv[1])
    disk = LocalDisk()
    with training(disk) as save:
        sys.addaudithook(watch)
        for epoch in range(3):
            save(epoch, epoch)
    saver = Saver(disk)
    saver.save(1)
    saver.save(2)
    holdfast.open(BEST).load()
    saver.evict()
    sweep(disk, 1e12)
    assert len(written) > 30, written
    print(offences)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
