"""From a snapshot to the files of a bundle: digest, link what is known, write the rest.

Pieces are digested by several threads while those that are new stream to the disk; how the known ones
are served is decided when all are known. Nothing here creates a checkpoint: that is `_commit`'s job.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import chain, count

from blake3 import blake3
from xxhash import xxh3_128_hexdigest

from ..errors import SnapshotTornError
from ..records import CheckpointRecord, FileEntry, Snapshot
from ..storage import Directory, Storage
from ._digest import Ready, digest
from ._finite import Watched, nonfinite_details
from ._format.names import pack_file, tree_file
from ._format.pack import BATCH_BYTES, PackWriter, encode_header, header_size
from ._format.pieces import Cut, Piece
from ._format.tree import StoredTree
from ._layout import Layout, Outline
from ._rot import rot_in
from ._sharing import Digested, Known, KnownPack, Plan, Sharing

logger = logging.getLogger("holdfast")

# A link that fails for one of these reasons is written instead; anything else is a failure of the save.
_UNLINKABLE = {errno.ENOENT, errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP,
               errno.ENOSYS, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ESTALE}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Written:
    """What has been written: the record of it is not on the disk yet."""

    record: CheckpointRecord
    stored: StoredTree
    proven_s: Mapping[str, float]  # for pieces that were linked, by BLAKE3: when last written or compared


@dataclass(frozen=True, slots=True)
class Packed:
    """The pieces of arrays, in packs. `placed`: by path; `links`: of the packs; `nonfinite`: NaNs and infinities, by path."""

    placed: Mapping[str, Sequence[Piece]]
    packs: Sequence[FileEntry]
    links: Mapping[str, int]
    size: int  # of what was written, in bytes
    shared: int
    nonfinite: Mapping[str, tuple[int, int]]


class FileWriter:
    """Writes one snapshot's files into one directory, under one id.

    `draft`: the record, but for id, files and bytes. `rename_links`: packs get names of the new id even when
    linked, because the old names will be removed with the record that is being replaced. `now_s`, `is_watched`: see `save`.
    `first_pack`: the number of the first pack.
    """

    def __init__(
        self,
        disk: Storage,
        directory: Directory,
        id: str,
        draft: CheckpointRecord,
        sharing: Sharing,
        *,
        rename_links: bool,
        now_s: float,
        is_watched: Watched,
        first_pack: int = 0,
    ) -> None:
        self._disk, self._directory, self._id = disk, directory, id
        self._draft, self._sharing = draft, sharing
        self._durable = draft.durability == "full"
        self._rename_links, self._now_s, self._is_watched = rename_links, now_s, is_watched
        self._is_live = False
        self._numbers = count(first_pack)
        self._placed: dict[str, Piece] = {}  # by BLAKE3
        self._born: dict[str, int] = {}  # of known pieces, by BLAKE3
        self._packs: list[FileEntry] = []
        self._links: dict[str, int] = {}
        self._proven_s: dict[str, float] = {}

    def write(self, snapshot: Snapshot) -> Written:
        """Write packs, then the tree.

        Raises:
            OSError: the disk refused something.
            SnapshotTornError: the snapshot is live, and was changed.
            ValueError: the structure is too deep or too large for a tree.
        """
        snapshot.seal()
        outline = self._sharing.outline = Outline(snapshot.tree, before=self._sharing.outline)
        packed = self.pack(snapshot, outline.layout)
        stored = StoredTree(snapshot.tree, outline.layout.leaves, packed.placed, packed.links)
        data = outline.text.filled(stored)
        return self.finish(data, packed, stored, outline.layout.size_bytes)

    def finish(self, data: bytes, packed: Packed, stored: StoredTree, captured: int) -> Written:
        """Write the tree, whose bytes these are.

        Raises:
            OSError: the disk refused something.
        """
        write_file(self._directory, tree_file(self._id), data, durable=self._durable)
        record = replace(
            self._draft,
            id=self._id,
            tree=FileEntry(tree_file(self._id), len(data), blake3(data).hexdigest()),
            packs=tuple(packed.packs),
            bytes_captured=captured,
            bytes_written=packed.size + len(data),
            bytes_shared=packed.shared,
            details={**self._draft.details, **nonfinite_details(packed.nonfinite)},
        )
        return Written(record, stored, self._proven_s)

    def pack(self, snapshot: Snapshot, layout: Layout) -> Packed:
        """Write the packs of a sealed snapshot.

        Raises:
            OSError: the disk refused something.
            SnapshotTornError: the snapshot is live, and was changed.
        """
        self._sharing.refresh()
        self._is_live = snapshot.is_live
        digests: list[Digested] = []
        known: list[Digested] = []
        # Closed here, whatever happens: left to the garbage collector, it would wait for its threads in any thread.
        with closing(self._new_ones(snapshot, layout, digests, known)) as new:
            size = self._write_group(new, layout.order, layout.header_size, layout.header)
        plan = self._link_known(known)
        for group in plan.written:
            room = [piece.cut for piece in group]
            ready = (Ready([piece], snapshot.pieces([piece.cut])) for piece in group)
            size += self._write_group(ready, room, header_size(room))
        return Packed(
            layout.by_path([self._placed[piece.blake3] for piece in digests]),
            self._packs,
            self._links,
            size,
            sum(piece.cut.size for served in plan.linked.values() for piece in served),
            _nonfinite(digests),
        )

    def _new_ones(
        self, snapshot: Snapshot, layout: Layout, digests: list[Digested], known: list[Digested]
    ) -> Generator[Ready, None, None]:
        """Each distinct piece that is in no known pack, as soon as its batch is digested; the others go to `known`."""
        seen: set[str] = set()
        with closing(digest(snapshot, layout, self._is_watched)) as digested:
            for ready in digested:
                digests += ready.pieces
                new: list[int] = []
                for index, piece in enumerate(ready.pieces):
                    if piece.blake3 in seen:
                        continue
                    seen.add(piece.blake3)
                    if found := self._sharing.find(piece):
                        self._born[piece.blake3] = found.born
                        known.append(piece)
                    else:
                        new.append(index)
                yield ready if len(new) == len(ready.pieces) else ready.only(new)

    def _known(self, piece: Digested) -> Known:
        found = self._sharing.find(piece)
        assert found is not None
        return found

    def _link_known(self, pieces: Sequence[Digested]) -> Plan:
        """Link the packs that serve enough of `pieces`; plan again as long as one cannot be linked."""
        refused: set[KnownPack] = set()
        linked: dict[KnownPack, str] = {}
        while True:
            plan = self._sharing.plan(pieces, self._draft.seq, refused)
            failed = [
                pack
                for pack, served in plan.linked.items()
                if pack not in linked and not self._link(pack, served, linked)
            ]
            if not failed:
                break
            refused.update(failed)
        for pack, served in plan.linked.items():
            name = linked[pack]
            self._packs.append(replace(pack.entry, name=name))
            self._links[name] = pack.links + 1
            for piece in served:
                known = self._known(piece)
                self._placed[piece.blake3] = Piece(name, known.key, piece.blake3, piece.xxh3, known.born)
        for pack in linked.keys() - plan.linked.keys():
            self._directory.unlink(linked[pack])  # planning again found no more use for it
        return plan

    def _link(self, pack: KnownPack, served: Sequence[Digested], linked: dict[KnownPack, str]) -> bool:
        """Give the pack a name here, from any bundle that still has it, unless it is found to have rotted."""
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
                with suppress(OSError):  # a file server may report an error for what it has done
                    self._directory.unlink(name)
                continue
            rot = self._rot(pack, name, served)
            if rot is None:
                linked[pack] = name
                return True
            self._directory.unlink(name)  # do not spread the rot
            self._sharing.distrust(pack)
            logger.warning(
                "%s has rotted on the disk: %s. Its part of the live state is written again; "
                "`holdfast verify` lists the checkpoints that it damages.", source, rot
            )  # fmt: skip
            return False
        return False

    def _rot(self, pack: KnownPack, name: str, served: Sequence[Digested]) -> str | None:
        """What is wrong with the pack's size, or with `served` if it has not been checked for long; None if nothing."""
        found = self._directory.status(name)
        if not found.is_file or found.size != pack.entry.size:
            return f"it has {found.size} bytes instead of {pack.entry.size}"
        unproven = self._sharing.unproven(served, self._now_s)
        if unproven and (rot := rot_in(self._directory, replace(pack.entry, name=name), unproven)):
            return rot
        for piece in served:
            known = self._known(piece)
            self._proven_s[piece.blake3] = self._now_s if known.key in unproven else known.proven_s
        return None

    def _write_group(
        self,
        group: Iterable[Ready],
        room: Sequence[Cut],
        header_size: int,
        encode: Callable[[list[Cut], int], bytes] = encode_header,
    ) -> int:
        """Write one new pack, unless `group` is empty; returns its size in bytes."""
        batches = iter(group)
        first = next((each for each in batches if each.pieces), None)
        if first is None:
            return 0
        name = pack_file(self._id, next(self._numbers))
        file = self._directory.create(name, expected_size=sum(cut.size for cut in room))
        try:
            pack = PackWriter(file, header_size)
            for ready in chain((first,), batches):
                if ready.extent is not None:
                    pack.add_extent([piece.cut for piece in ready.pieces], ready.extent)
                else:
                    for piece, data in zip(ready.pieces, ready.data, strict=True):
                        pack.add(piece.cut, _unchanged(piece, data) if self._is_live else data)
                for piece in ready.pieces:
                    born = self._born.get(piece.blake3, self._draft.seq)
                    self._placed[piece.blake3] = Piece(name, piece.cut.key, piece.blake3, piece.xxh3, born)
            header, size = pack.finish(encode)
            if self._durable:
                file.sync()
        finally:
            file.close()
        self._packs.append(FileEntry(name, size, blake3(header).hexdigest()))
        self._links[name] = 0
        return size


def _unchanged(piece: Digested, data: memoryview) -> memoryview:
    """The bytes of a piece in live memory, if they are still those that were digested; of a small one a copy."""
    if len(data) < BATCH_BYTES:  # it waits for others before it is written
        data = memoryview(bytes(data))
    if xxh3_128_hexdigest(data) != piece.xxh3:
        raise SnapshotTornError(piece.cut.leaf.path, "it was changed while it was being written")
    return data


def write_file(directory: Directory, name: str, data: bytes, *, durable: bool) -> None:
    """Create a small file in one write."""
    file = directory.create(name)
    try:
        file.write(data)
        if durable:
            file.sync()
    finally:
        file.close()


def _nonfinite(pieces: Iterable[Digested]) -> dict[str, tuple[int, int]]:
    """The counts of each leaf: those of all its pieces together."""
    found: dict[str, tuple[int, int]] = {}
    for piece in pieces:
        if piece.nonfinite is not None:
            nans, infs = found.get(piece.cut.leaf.path, (0, 0))
            found[piece.cut.leaf.path] = nans + piece.nonfinite[0], infs + piece.nonfinite[1]
    return found
