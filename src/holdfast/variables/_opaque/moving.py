"""The place of what moves, and has no attributes that say where: generators and other iterators, files, queues, futures."""

from __future__ import annotations

import array
import ctypes
import functools
import gc
import io
import itertools
import mmap
import os
import queue
import socket
import subprocess
import threading
from collections.abc import Hashable, ItemsView, KeysView, ValuesView
from concurrent.futures import Future
from contextvars import ContextVar
from inspect import GEN_CREATED, GEN_RUNNING, getgeneratorstate
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import CellType, CodeType, FrameType, FunctionType, GeneratorType, MappingProxyType
from typing import Any, Final, Protocol

from xxhash import xxh3_128_digest

from .._kinds import SCALARS, is_database, is_iterator, position_of

NOT_MOVING: Final = object()
"""The place of what is none of these."""
_MOST_BYTES: Final = 1 << 20


class Look(Protocol):
    """Says what a part is; None if that cannot be told."""

    def __call__(self, value: Any, name: str, /) -> Hashable | None: ...


def place_of(value: Any, look: Look) -> Hashable | None:
    """What differs once `value` has moved, None if that cannot be told, or NOT_MOVING; `look` is asked about its parts."""
    match value:
        case GeneratorType():
            return _of_generator(value, look)
        case io.IOBase():
            return _of_file(value)
        case queue.Queue():
            return look(list(value.queue), "queue")
        case queue.SimpleQueue():
            return None if value.qsize() else 0
        case Future():
            if not value.done():
                return None
            is_done = not value.cancelled() and value.exception() is None
            return ("done", look(value.result(), "result")) if is_done else "failed"
        case threading.Thread() if value is threading.current_thread():  # the one that trains
            return "this"
        case threading.Thread() | BaseProcess():
            return None if value.is_alive() else "over"
        case subprocess.Popen():
            return None if value.poll() is None else "over"
        case Connection() | socket.socket():
            is_closed = value.closed if isinstance(value, Connection) else value.fileno() < 0
            return "closed" if is_closed else None
        case ContextVar():
            return look(value.get(None), "value")
        case CellType():
            return look(value.cell_contents, "contents") if gc.get_referents(value) else "empty"
        case array.array() | mmap.mmap() | memoryview():
            return _of_bytes(value)
        case ctypes._SimpleCData() | ctypes.Array() | ctypes.Structure() | ctypes.Union():
            return xxh3_128_digest(bytes(value))
        case KeysView() | ValuesView() | ItemsView() | MappingProxyType():
            return len(value)
        case functools.partial():
            called = getattr(value.func, "__self__", None)
            return look([called, *value.args, *value.keywords.values()], "args")
        case functools._lru_cache_wrapper():
            return "a cache"  # which changes no result, if it is one
    if is_database(value):
        return _of_database(value)
    if is_iterator(value):
        if type(value).__module__ == "itertools" or isinstance(value, enumerate | filter | map | zip):
            return _of_inner(value, look)
        place = position_of(value)
        seed = getattr(value, "_base_seed", None)  # of a torch loader: another one in each epoch
        return None if place is None else repr((place, seed if isinstance(seed, int) else None))
    if type(value).__module__ == "multiprocessing.sharedctypes":
        return xxh3_128_digest(bytes(value.get_obj()))
    if type(value).__module__ == "multiprocessing.queues":
        return None  # what is in it, another process may take
    return NOT_MOVING


def _of_generator(value: GeneratorType[Any, Any, Any], look: Look) -> Hashable | None:
    """Its variables, and what it goes over, which is on its stack; None if there is nothing that would tell."""
    frame, state = value.gi_frame, getgeneratorstate(value)
    if frame is None:
        return "at its end"
    if state == GEN_CREATED:
        return "not begun"
    if state == GEN_RUNNING:
        return None
    code, held = frame.f_code, frame.f_locals
    variables = dict(held)
    given = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    named = {id(held), *map(id, variables.values())}
    on_stack = [
        each
        for each in gc.get_referents(value)
        if id(each) not in named
        and not isinstance(each, CodeType | FunctionType | FrameType | CellType | str)
    ]
    parts = {**variables, **{f"stack {index}": each for index, each in enumerate(on_stack)}}
    if all(type(each) in SCALARS and name in given for name, each in parts.items()):
        return None
    places = [(name, look(each, name)) for name, each in sorted(parts.items(), key=lambda part: part[0])]
    return None if any(place is None for _, place in places) else (frame.f_lasti, *places)


def _of_inner(value: Any, look: Look) -> Hashable | None:
    """Of an iterator over others: theirs. None where it keeps a place of its own."""
    if isinstance(value, itertools.count | itertools.repeat):
        return repr(value)
    parts = gc.get_referents(value)
    parts += [each for part in parts if type(part) is tuple for each in part]
    inner = [each for each in parts if is_iterator(each)]
    places = [look(each, "inner") for each in inner]
    return None if not inner or any(place is None for place in places) else tuple(places)


def _of_file(value: Any) -> Hashable | None:
    """Of a file that is read; what is only written is no state of the training."""
    if value.closed:
        return "closed"
    if isinstance(value, io.StringIO | io.BytesIO):
        text = value.getvalue()
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        return value.tell(), len(data), xxh3_128_digest(data)
    if not value.readable() or (isinstance(getattr(value, "name", None), int) and value.name <= 2):
        return "written"
    try:
        at = value.tell()
        was_written = value.writable() and at >= os.fstat(value.fileno()).st_size
        return "written" if was_written else at
    except OSError:  # a pipe; or it is read line by line, and does not tell its place meanwhile
        return None


def _of_database(value: Any) -> Hashable | None:
    """How many rows it has written; None for another thread's, which does not tell."""
    try:
        return value.total_changes
    except Exception:  # it is closed, or of another thread: sqlite's own errors
        return None


def _of_bytes(value: Any) -> Hashable:
    with memoryview(value) as view, view.cast("B") as data:
        step = max(1, len(data) // _MOST_BYTES)
        digest = xxh3_128_digest(data if step == 1 else data[::step].tobytes())
        return len(data), value.tell() if isinstance(value, mmap.mmap) else 0, digest
