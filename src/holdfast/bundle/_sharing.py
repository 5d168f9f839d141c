"""Which bytes need not be written again: sharing by generations.

A pack of an earlier checkpoint is linked into the new one if at least half of its bytes are live there,
at most 64 of them, each at most 32 times (so that one rotten sector cannot spoil every checkpoint).
Unchanged pieces that are in no such pack are rewritten, apart from what changed, into packs by age,
floor(log2(saves survived)). So the files of a bundle never exceed twice its live bytes, and what never
changes is rewritten about log2(saves) times. After generational garbage collection: H. Lieberman and
C. Hewitt, CACM 26(6), 1983, pp. 419-429.

Bytes rot on the medium after they were written. What was last written or compared over an hour ago has to be
read and compared before it is linked again; a pack that fails is linked no more, and its pieces are written
again from the live state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from types import MappingProxyType

import msgspec

from ..records import CheckpointRecord, FileEntry
from ._format.pieces import Cut, sizes
from ._format.tree import StoredTree
from ._layout import Outline
from ._rot import distrusted_since

MIN_SHARED_BYTES = 64 << 10
MAX_LINKED_PACKS = 64
MAX_LINKS = 32
PROVEN_FOR_S = 3600.0  # one reading an hour costs next to nothing, and bounds how far rot can spread


@dataclass(slots=True, eq=False)
class KnownPack:
    """A pack of a committed bundle whose live pieces this process wrote or has verified."""

    entry: FileEntry
    links: int  # how many later checkpoints linked it
    durable: bool
    homes: list[str] = field(default_factory=list)  # bundles that hold it; the newest last
    digests: set[str] = field(default_factory=set)  # of its pieces


@dataclass(frozen=True, slots=True)
class Known:
    """Where bytes of a known digest are."""

    pack: KnownPack
    key: str
    born: int
    proven_s: float  # when they were last written, or read and compared, by the savers' clock


class Digested(msgspec.Struct, frozen=True, gc=False):
    """A piece of the state being saved."""

    cut: Cut
    blake3: str
    xxh3: str
    nonfinite: tuple[int, int] | None = None  # NaNs and infinities, if it was checked and has any


@dataclass(frozen=True, slots=True)
class Plan:
    """What a save will do: packs to link with the pieces they serve, and groups of pieces to write."""

    linked: Mapping[KnownPack, Sequence[Digested]]
    written: Sequence[Sequence[Digested]]  # what changed first, then unchanged pieces by age


class Sharing:
    """What the bundles of one experiment directory hold, by digest. Not thread-safe.

    `outline`: of the last save, for the next one.
    """

    def __init__(self) -> None:
        self.outline: Outline | None = None
        self._pieces: dict[str, Known] = {}
        self._packs: dict[str, KnownPack] = {}
        self._by_home: dict[
            str, dict[str, KnownPack]
        ] = {}  # by bundle and name: no save looks at all bundles
        self._num_rotten = len(distrusted_since(0))  # what was found before concerns no pack of ours

    def refresh(self) -> None:
        """Forget the packs in which rot has been found since: all their pieces are written again."""
        rotten = distrusted_since(self._num_rotten)
        self._num_rotten += len(rotten)
        bad = {self._packs[name] for name, _ in rotten if name in self._packs}
        # An overwrite links packs under new names; their pieces tell that they are the same.
        bad |= {self._pieces[digest].pack for _, digest in rotten if digest in self._pieces}
        if bad:
            self._packs = {name: pack for name, pack in self._packs.items() if pack not in bad}
            self._pieces = {digest: known for digest, known in self._pieces.items() if known.pack not in bad}

    def holds(self, bundle: str) -> bool:
        """Whether this process wrote or verified what is in `bundle`."""
        return any(
            bundle in pack.homes and self._packs.get(name) is pack
            for name, pack in self._by_home.get(bundle, {}).items()
        )

    def find(self, piece: Digested) -> Known | None:
        """Where the bytes of `piece` are; None if unknown or too small to be worth sharing."""
        return self._pieces.get(piece.blake3) if piece.cut.size >= MIN_SHARED_BYTES else None

    def learn(
        self,
        bundle: str,
        record: CheckpointRecord,
        stored: StoredTree,
        *,
        now_s: float = 0.0,
        proven_s: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """The committed `bundle` holds what `record` and `stored` say; the caller wrote or verified it.

        `now_s`: by the caller's clock. `proven_s`: for pieces (by BLAKE3) that were only linked now, when they
        were last written or compared.
        """
        if record.parts:
            return  # what several processes wrote is not linked by one
        for entry in record.packs:
            # A pack's name holds its writer's random id, so one name is one content everywhere.
            fresh = KnownPack(entry, stored.links.get(entry.name, 0), record.durability == "full")
            pack = self._packs.setdefault(entry.name, fresh)
            pack.links = max(pack.links, fresh.links)
            pack.durable |= fresh.durable
            pack.homes = [home for home in pack.homes if home != bundle] + [bundle]
            self._by_home.setdefault(bundle, {})[entry.name] = pack
        for leaf in stored.leaves:
            if leaf.size_bytes < MIN_SHARED_BYTES or leaf.path in stored.codecs:
                continue  # too small, or its bytes are not in the pack as they are
            for size, piece in zip(sizes(leaf), stored.pieces[leaf.path], strict=True):
                if size >= MIN_SHARED_BYTES:
                    seen_s = proven_s.get(piece.blake3, now_s)
                    pack = self._packs[piece.file]
                    pack.digests.add(piece.blake3)
                    self._pieces[piece.blake3] = Known(pack, piece.key, piece.born, seen_s)

    def forget(self, bundle: str) -> None:
        """`bundle` is gone; what was only there is no longer known."""
        for name, pack in self._by_home.pop(bundle, {}).items():
            pack.homes = [home for home in pack.homes if home != bundle]
            if pack.homes or self._packs.get(name) is not pack:
                continue
            del self._packs[name]
            for digest in pack.digests:
                known = self._pieces.get(digest)
                if known is not None and known.pack is pack:
                    del self._pieces[digest]

    def unproven(self, pieces: Sequence[Digested], now_s: float) -> dict[str, str]:
        """Of these known pieces, those to be compared before they are linked: their XXH3 by key in the pack."""
        return {
            known.key: piece.xxh3
            for piece in pieces
            if (known := self.find(piece)) and now_s - known.proven_s > PROVEN_FOR_S
        }

    def distrust(self, pack: KnownPack) -> None:
        """This pack has rotted: it is not linked again until a bundle that holds it has been verified."""
        pack.homes.clear()

    def plan(self, pieces: Sequence[Digested], seq: int, unlinkable: Set[KnownPack] = frozenset()) -> Plan:
        """Decide for the state of checkpoint `seq`; `unlinkable` packs have been tried without success."""
        served: dict[KnownPack, list[Digested]] = {}
        for piece in pieces:
            known = self.find(piece)
            if known and known.pack not in unlinkable and known.pack.links < MAX_LINKS:
                served.setdefault(known.pack, []).append(piece)
        live = {pack: sum(piece.cut.size for piece in those) for pack, those in served.items()}
        worthy = [pack for pack in served if 2 * live[pack] >= pack.entry.size]
        linked = sorted(worthy, key=lambda pack: -live[pack])[:MAX_LINKED_PACKS]
        done = {piece.blake3 for pack in linked for piece in served[pack]}
        groups: dict[int, list[Digested]] = {}
        for piece in pieces:
            if piece.blake3 not in done:
                known = self.find(piece)
                generation = (seq - known.born).bit_length() if known else 0
                groups.setdefault(generation, []).append(piece)
        return Plan(
            {pack: served[pack] for pack in linked}, [groups[generation] for generation in sorted(groups)]
        )
