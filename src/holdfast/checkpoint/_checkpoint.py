"""`Checkpoint`: an opened checkpoint, to inspect, read, verify and restore."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal, overload

from .. import bundle
from .. import state as states
from ..crew import Crew, agreeing
from ..errors import DamagedError, UsageError
from ..policy import check_name
from ..records import CheckpointRecord, Leaf, Moment, Node, leaves
from ..storage import LocalDisk, Storage, local_path
from ._mapped import MappedArrays
from ._places import Opened, Place, locate


class Checkpoint:
    """A checkpoint on disk, opened: it stays readable, whatever happens to its name.

    Nothing that is read runs code. Use it as a context manager, or `close()` it, to release its files.
    """

    def __init__(
        self, opened: bundle.Bundle, disk: Storage | None = None, *, max_bytes: int | None = None
    ) -> None:
        self._bundle = opened
        self._disk = disk or LocalDisk()
        self._max_bytes = max_bytes

    @property
    def path(self) -> str:
        return self._bundle.path

    @property
    def record(self) -> CheckpointRecord:
        """Everything known of it besides the state."""
        return self._bundle.record

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def moment(self) -> Moment:
        """Where the run was when it was saved."""
        return self.record.moment

    @property
    def metrics(self) -> Mapping[str, float]:
        return self.record.metrics

    def tree(self) -> Node:
        """The state's structure, with a `Leaf` (path, dtype, shape) for each array; reads no array."""
        return self._bundle.tree

    def leaves(self) -> Iterator[Leaf]:
        """The arrays, in the order of the tree."""
        return leaves(self._bundle.tree)

    def __getitem__(self, path: str) -> Any:
        """The part of the state at `path`, such as `"model_graph/encoder/weight"`; reads only that.

        Raises:
            KeyError: there is nothing at this path.
            PieceDamagedError: its bytes are not what was saved.
            UsageError: its arrays would take more than `max_bytes`.
        """
        return self._rebuilt(states.find(self._bundle.tree, path))

    @overload
    def load(self, *, mmap: Literal[False] = False) -> Any: ...
    @overload
    def load(self, *, mmap: Literal[True]) -> MappedArrays: ...
    def load(self, *, mmap: bool = False) -> Any:
        """The entire state as new values: containers as they were, arrays, objects as their plain state.

        With `mmap` instead its arrays by path, read-only, in memory that is mapped from the packs: nothing
        is read or copied until one is accessed (see `MappedArrays`).

        Raises:
            DamagedError: bytes are not what was saved.
            UsageError: its arrays would take more than `max_bytes`.
        """
        if mmap:
            return MappedArrays(self._bundle, self._check_memory)
        return self._rebuilt(self._bundle.tree)

    def _rebuilt(self, node: Node) -> Any:
        """`node` as a new value. Equal bytes are stored once, so a small file may hold any number of arrays."""
        self._check_memory(sum(leaf.size_bytes for leaf in leaves(node)))
        return states.rebuild(self._bundle, node)

    def _check_memory(self, size: int) -> None:
        """UsageError if new arrays of `size` bytes would exceed the limit."""
        limit = _memory_bytes() if self._max_bytes is None else self._max_bytes
        if size > limit:
            raise UsageError(
                f"{self.path}: the arrays would take {size:,} bytes, more than {limit:,} "
                f"({'the memory of this machine' if self._max_bytes is None else 'max_bytes'}). "
                "Read parts of it by their paths, or restore into live objects."
            )

    def restore(
        self,
        state: Mapping[str, Any],
        *,
        strict: bool = True,
        verify: Literal["first", "streaming"] = "first",
        only: str | Sequence[str] | None = None,
        rename: Mapping[str, str] | None = None,
        crew: Crew | None = None,
    ) -> states.Restored:
        """Put what was saved back into live objects, in place: `restore({"model": model})`; any part of it, by name.

        Values that cannot change in place (a number) are put into the mapping itself.

        With `verify="first"` every byte is checked before the first one is assigned, so damage changes
        nothing. With "streaming" each is read only once, and damage leaves a mixture. The optimizers that a
        thinned checkpoint (`thin_after=`) has given up stay as they are.

        For a partial start, as in transfer learning: `rename={"model_graph/encoder": "model_graph/backbone"}` lets what
        was saved at one path go to another, and `only="model_graph/backbone/**"` takes just that (`*` stays within
        an element of a path, `**` crosses them). The `report` of what comes back says what was loaded, and what was
        not and why. With `strict=False` a misfit (another shape, say) is no error but a line there.

        A DTensor gets the part that this process has of it, on however many processes it was saved. With `crew` all of its
        processes restore the same checkpoint, or none does: nothing is changed before all have found that it fits.

        Raises:
            CrewError: another process of the crew cannot restore it; nothing was changed here.
            UsageError: `state` is not a mapping from names to objects, `only` matches nothing in
                the checkpoint, or `rename` names something that is not there.
            StateMismatchError: something does not fit; nothing was changed.
            DamagedError: damage was found before anything was changed.
            RestoreIncompleteError: damage was found half-way.
        """
        # A thinned one is there for its models: the live optimizers stay as they are.
        keep = states.all_thinned(self._bundle.tree) if self._is_thinned else ()
        objects = states.named(state)
        with agreeing(crew, f"checkpoint {self.record.id}") if crew else nullcontext(_go_ahead) as ready:
            restored = states.restore(
                self._bundle,
                dict(objects),
                strict=strict,
                verify=verify,
                only=only,
                rename=rename,
                keep=keep,
                ready=ready,
            )
        objects.update(restored.value)  # what cannot change in place
        return restored

    @property
    def _is_thinned(self) -> bool:
        return bool(self.record.details.get("thinned"))

    def verify(self, *, deep: bool = False) -> list[DamagedError]:
        """Read every byte and return what differs from what was saved; empty if all is well. `deep` adds BLAKE3."""
        try:
            return list(self._bundle.problems(deep=deep))
        except DamagedError as err:
            return [err]

    def archive(
        self, to: str | os.PathLike[str], *, compress: bool = False, overwrite: bool = False
    ) -> bundle.Listed:
        """Write a complete copy of this checkpoint; as `holdfast.archive`."""
        return write_archive(self._bundle, self._disk, to, compress=compress, overwrite=overwrite)

    @property
    def source(self) -> bundle.Bundle:
        """The opened bundle itself."""
        return self._bundle

    def close(self) -> None:
        self._bundle.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Checkpoint {self.name} of run {self.record.run[:8]}, {self.moment.hook}, step {self.moment.step}>"


def open(place: Place, *, disk: Storage | None = None, max_bytes: int | None = None) -> Checkpoint:
    """Open a checkpoint: by its path (`.ckpt.mml` may be left out), or one that `scan` listed.

    `max_bytes`: the most bytes that new arrays may take in all, checked before memory is allocated; by default the
    memory of the machine. Set it for checkpoints from people you do not trust.

    Raises:
        CheckpointNotFoundError: there is none; of a directory with checkpoints it says which is the newest.
        UsageError: the path means several checkpoints, or is not a path.
        CheckpointDamagedError: a file is missing or cut.
        CheckpointReplacedError: it is no longer the listed one.
        FormatVersionError: a newer Holdfast wrote it.
    """
    disk = disk or LocalDisk()
    listed = locate(place, disk=disk)
    if listed.problem:
        raise listed.problem
    expected_id = None
    if not isinstance(place, str | os.PathLike):  # a path means what is there now
        expected_id = listed.record.id if listed.record else None
    return Checkpoint(bundle.Bundle(disk, listed.path, expected_id=expected_id), disk, max_bytes=max_bytes)


def _go_ahead() -> None:
    """There is no other process to be waited for."""


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def source_of(place: Place, closing: contextlib.ExitStack, *, disk: Storage | None = None) -> bundle.Bundle:
    """The opened bundle at `place`; `closing` will close it, unless it was open before.

    Raises: as `open`.
    """
    if isinstance(place, Opened):
        return place.source
    return closing.enter_context(open(place, disk=disk)).source


def archive(
    place: Place,
    to: str | os.PathLike[str],
    *,
    compress: bool = False,
    overwrite: bool = False,
    disk: Storage | None = None,
) -> bundle.Listed:
    """Write a complete copy of the checkpoint at `place` and return where it is.

    Args:
        to: the copy's path; `.ckpt.mml` is added if it lacks. A folder, or what ends with `/`, gets the
            copy inside, under the checkpoint's own name.
        compress: keep arrays as byte planes in Zstandard frames where that saves 3 % or more. Such a copy can be
            opened, verified and restored like any other where `zstandard` is installed, but it cannot be mapped,
            and safetensors alone cannot read it. With False, compressed arrays become plain ones again.
        overwrite: replace an existing checkpoint of that name.

    Every byte is checked while it is copied, and the copy is durable when this returns.

    Raises:
        CheckpointExistsError: the name is taken.
        CheckpointNotFoundError, DamagedError: there is no such checkpoint, or it is not what was saved.
        UsageError: `zstandard` is not installed, or the name cannot be one of a checkpoint.
        SaveError: the disk refused.
    """
    disk = disk or LocalDisk()
    with contextlib.ExitStack() as closing:
        source = source_of(place, closing, disk=disk)
        return write_archive(source, disk, to, compress=compress, overwrite=overwrite)


def write_archive(
    opened: bundle.Bundle,
    disk: Storage,
    to: str | os.PathLike[str],
    *,
    compress: bool,
    overwrite: bool,
) -> bundle.Listed:
    """Copy an opened bundle to a path, or into a folder under its own name (see `holdfast.archive`)."""
    directory, name = _destination(disk, local_path("to", to), opened.record.name)
    record = bundle.archive(opened, disk, directory, name, compressed=compress, overwrite=overwrite)
    return bundle.Listed(bundle.bundle_path(directory, name), record)


def _destination(disk: Storage, to: str, name: str) -> tuple[str, str]:
    """The folder and the name of the copy."""
    path = to.rstrip("/") or "/"
    if not path.endswith(bundle.SUFFIX) and (to.endswith("/") or _is_folder(disk, path)):
        return path, name
    folder, _, last = path.removesuffix(bundle.SUFFIX).rpartition("/")
    if not last:
        raise UsageError(f"{to!r} names no checkpoint: give the copy a name, as in 'archives/best.ckpt.mml'.")
    return folder or ("/" if path.startswith("/") else "."), check_name(last)


def _is_folder(disk: Storage, path: str) -> bool:
    try:
        disk.open_directory(path).close()
    except OSError:
        return False
    return True
