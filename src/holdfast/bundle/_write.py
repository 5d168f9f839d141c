"""From a snapshot to the files of a bundle: digest, link what is known, write the rest.

Nothing here makes a checkpoint exist: that is `_commit`'s one job.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count

from blake3 import blake3
from xxhash import xxh3_128_hexdigest

from ..records import FileEntry, Snapshot, leaves
from ..storage import Directory, Storage
from ._names import pack_file, tree_file
from ._pack import lay_out, write
from ._pieces import Cut, Piece, cuts
from ._sharing import Digested, KnownPack, Sharing
from ._tree import StoredTree, encode_tree

logger = logging.getLogger("holdfast")

_THREADS = 4
_THREADED_BYTES = 8 << 20  # below this, threads cost more than they save
# A link that fails for one of these reasons is written instead; anything else is a failure of the save.
_UNLINKABLE = {errno.ENOENT, errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP,
               errno.ENOSYS, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ESTALE}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Written:
    """The files of one checkpoint before its record, and what the record will say of them."""

    stored: StoredTree
    tree: FileEntry
    packs: tuple[FileEntry, ...]
    bytes_captured: int
    bytes_written: int
    bytes_shared: int


class FileWriter:
    """Writes one snapshot's files into one directory, under one id.

    `durable`: sync each file. `rename_links`: packs get names of the new id even when linked, because
    the old names will be removed with the record that is being replaced.
    """

    def __init__(
        self, disk: Storage, directory: Directory, id: str, *, durable: bool, rename_links: bool
    ) -> None:
        self._disk, self._directory, self._id = disk, directory, id
        self._durable, self._rename_links = durable, rename_links
        self._numbers = count()
        self._placed: dict[str, Piece] = {}  # by BLAKE3
        self._packs: list[FileEntry] = []
        self._links: dict[str, int] = {}

    def write(self, snapshot: Snapshot, sharing: Sharing, seq: int) -> Written:
        """Write packs, then the tree. `seq` is the new checkpoint's.

        Raises:
            OSError: the disk refused something.
            ValueError: the structure is too deep or too large for a tree.
        """
        snapshot.seal()
        pieces = {leaf.path: _digest(snapshot, [*cuts(leaf)]) for leaf in leaves(snapshot.tree)}
        distinct = {piece.blake3: piece for those in pieces.values() for piece in those}
        shared = self._link_known(list(distinct.values()), sharing, seq)
        written = sum(self._write_group(group, snapshot, sharing, seq) for group in shared.rest)
        placed = {path: [self._placed[piece.blake3] for piece in those] for path, those in pieces.items()}
        stored = StoredTree(snapshot.tree, placed, self._links)
        data = encode_tree(stored)
        self._write_file(tree_file(self._id), data)
        return Written(
            stored,
            FileEntry(tree_file(self._id), len(data), blake3(data).hexdigest()),
            tuple(self._packs),
            bytes_captured=sum(leaf.size_bytes for leaf in leaves(snapshot.tree)),
            bytes_written=written + len(data),
            bytes_shared=shared.size_bytes,
        )

    def _link_known(self, pieces: Sequence[Digested], sharing: Sharing, seq: int) -> _Shared:
        """Link the packs that serve enough of `pieces`; plan again as long as one cannot be linked."""
        refused: set[KnownPack] = set()
        linked: dict[KnownPack, str] = {}
        while True:
            plan = sharing.plan(pieces, seq, refused)
            failed = [pack for pack in plan.linked if pack not in linked and not self._link(pack, linked)]
            if not failed:
                break
            refused.update(failed)
        for pack, served in plan.linked.items():
            name = linked[pack]
            self._packs.append(replace(pack.entry, name=name))
            self._links[name] = pack.links + 1
            for piece in served:
                known = sharing.find(piece)
                assert known is not None
                self._placed[piece.blake3] = Piece(name, known.key, piece.blake3, piece.xxh3, known.born)
        for pack in linked.keys() - plan.linked.keys():
            self._directory.unlink(linked[pack])  # planning again found no more use for it
        return _Shared(
            plan.written, sum(piece.cut.size for served in plan.linked.values() for piece in served)
        )

    def _link(self, pack: KnownPack, linked: dict[KnownPack, str]) -> bool:
        """Give the pack a name here, from any bundle that still has it."""
        name = pack_file(self._id, next(self._numbers)) if self._rename_links else pack.entry.name
        for home in reversed(pack.homes):
            source = f"{home}/{pack.entry.name}"
            try:
                if self._durable and not pack.durable:
                    self._disk.sync_file(source)
                self._directory.link(source, name)
            except OSError as err:
                if err.errno not in _UNLINKABLE:
                    raise
                logger.debug("cannot link %s: %s", source, err)
                continue
            found = self._directory.status(name)
            if found.is_file and found.size == pack.entry.size:
                linked[pack] = name
                return True
            self._directory.unlink(name)  # cut since it was written: not ours to spread
        return False

    def _write_group(self, group: Sequence[Digested], snapshot: Snapshot, sharing: Sharing, seq: int) -> int:
        """Write one new pack; returns its size in bytes."""
        name = pack_file(self._id, next(self._numbers))
        layout = lay_out(piece.cut for piece in group)
        file = self._directory.create(name)
        try:
            write(file, layout, lambda cut: _bytes(snapshot, cut))
            if self._durable:
                file.sync()
        finally:
            file.close()
        self._packs.append(FileEntry(name, layout.size, blake3(layout.header).hexdigest()))
        self._links[name] = 0
        for piece in group:
            known = sharing.find(piece)
            born = known.born if known else seq
            self._placed[piece.blake3] = Piece(name, piece.cut.key, piece.blake3, piece.xxh3, born)
        return layout.size

    def _write_file(self, name: str, data: bytes) -> None:
        write_file(self._directory, name, data, durable=self._durable)


@dataclass(frozen=True, slots=True)
class _Shared:
    rest: Iterable[Sequence[Digested]]
    size_bytes: int


def write_file(directory: Directory, name: str, data: bytes, *, durable: bool) -> None:
    """Create a small file whole."""
    file = directory.create(name)
    try:
        file.write(data)
        if durable:
            file.sync()
    finally:
        file.close()


def _digest(snapshot: Snapshot, pieces: Sequence[Cut]) -> list[Digested]:
    if sum(cut.size for cut in pieces) < _THREADED_BYTES:
        return [_digest_piece(snapshot, cut) for cut in pieces]
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda cut: _digest_piece(snapshot, cut), pieces))


def _digest_piece(snapshot: Snapshot, cut: Cut) -> Digested:
    data = _bytes(snapshot, cut)
    return Digested(cut, blake3(data).hexdigest(), xxh3_128_hexdigest(data))


def _bytes(snapshot: Snapshot, cut: Cut) -> memoryview:
    return snapshot.ready(cut.leaf).data[cut.start : cut.start + cut.size]
