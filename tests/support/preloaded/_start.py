"""Imports the modules that it is given; then forks for each script that is asked for, and becomes its interpreter.

A script of its own, of which nothing stays in the modules: what a test runs here has to find what a new interpreter has.
"""

import atexit
import contextlib
import importlib
import importlib.machinery
import json
import os
import socket
import sys
import threading
import time
import types
from pathlib import Path


def wait_for_jobs(here, modules):
    """Return in a process that is to become a script's, with what it was told."""
    for name in modules:
        with contextlib.suppress(ImportError):  # an extra that is not installed: what needs it will say so
            importlib.import_module(name)
    sys.modules["holdfast"].capture({})  # imports what takes apart the objects of all that is imported
    tasks = os.listdir("/proc/self/task")[1:]
    threads = {Path(f"/proc/self/task/{each}/comm").read_text().strip() for each in tasks}
    threads -= {"jemalloc_bg_thd"}  # of pyarrow; jemalloc itself prepares for forks
    assert not threads, f"a fork would copy the locks of {threads}"
    while True:
        text, files, _, _ = socket.recv_fds(here, 1 << 20, 3)
        if not text:
            os._exit(0)
        between = os.fork()
        if between:
            os.waitpid(between, 0)
            for each in files:
                os.close(each)
            continue
        job = json.loads(text)
        if os.fork():
            os._exit(0)
        deadline_s = time.monotonic() + 60
        while os.getppid() != job["parent"]:  # until the one between has ended
            if time.monotonic() > deadline_s:
                os._exit(99)
            time.sleep(0)
        here.send(str(os.getpid()).encode())
        here.close()
        return job, files


def become(job, files):
    """Take over what a process is given by the one that starts it."""
    if job["is_leader"]:
        os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
    for file in {*files}:
        os.close(file)
    os.chdir(job["directory"])
    os.environ.clear()
    os.environ.update(job["environment"])
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.argv = job["arguments"]
    sys.orig_argv = job["command"]
    before = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [
        os.path.dirname(os.path.realpath(sys.argv[0])),
        *before,
        *(path for path in sys.path[1:] if path not in before),
    ]
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


def as_main(path):
    """The names in which a script runs, as the interpreter makes them."""
    module = types.ModuleType("__main__")
    names = {"__builtins__": __builtins__, "__file__": path, "__cached__": None, "__annotations__": {}}
    vars(module).update(names, __loader__=importlib.machinery.SourceFileLoader("__main__", path))
    sys.modules["__main__"] = module
    return vars(module)


def customize():
    """What is on the PYTHONPATH of a script to be imported before it."""
    sys.modules.pop("sitecustomize", None)
    try:
        importlib.import_module("sitecustomize")
    except ModuleNotFoundError as err:
        if err.name != "sitecustomize":
            raise


become(*wait_for_jobs(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:]))
customize()
path = os.path.abspath(sys.argv[0])
code = compile(Path(path).read_bytes(), path, "exec", dont_inherit=True)
exec(code, as_main(path))
# As the interpreter ends, but for freeing all that was imported, which takes a second.
threading._shutdown()  # type: ignore[attr-defined]
atexit._run_exitfuncs()
sys.stdout.flush()
sys.stderr.flush()
os._exit(0)
