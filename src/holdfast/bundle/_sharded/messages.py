"""What the ranks of a save tell each other, as JSON."""

from __future__ import annotations

import zlib
from typing import TypeVar

import msgspec

from ...errors import (
    CheckpointExistsError,
    CommitUncertainError,
    HoldfastError,
    SaveError,
    UsageError,
)
from .._format.boxes import Region, Shape
from .plan import Claim
from .split import Split
from .write import Told

Kind = TypeVar("Kind")


class Begun(msgspec.Struct, frozen=True, omit_defaults=True):
    """Each rank to rank 0: what it saves. `failed`: why it cannot."""

    name: str = ""
    structure: str = ""
    claims: list[tuple[str, str, Shape, Shape, Shape]] = []
    failed: str = ""

    @classmethod
    def of(cls, name: str, found: Split) -> Begun:
        claims = [(path, dtype, of, box.offset, box.shape) for path, dtype, of, box in found.claims]
        return cls(name, found.structure, claims)

    def decoded(self) -> list[Claim]:
        return [Claim(path, dtype, of, Region(*region)) for path, dtype, of, *region in self.claims]


class Go(msgspec.Struct, frozen=True):
    """Rank 0 to each: the id of the save, the arrays that have boxes, and which boxes to write."""

    id: str
    arrays: list[str]
    share: dict[str, list[tuple[Shape, Shape]]]

    def regions(self) -> dict[str, list[Region]]:
        return {path: [Region(*each) for each in boxes] for path, boxes in self.share.items()}


class Done(msgspec.Struct, frozen=True, omit_defaults=True):
    """Each rank to rank 0: its part. `failed`: why there is none."""

    part: Told | None = None
    failed: str = ""


class End(msgspec.Struct, frozen=True, omit_defaults=True):
    """Rank 0 to all: the bytes of the record as text; or the error, by the name of its class."""

    record: str = ""
    error: str = ""
    why: str = ""

    @classmethod
    def failed(cls, err: HoldfastError) -> End:
        if isinstance(err, SaveError):
            return cls(error=type(err).__name__, why=err.why)
        return cls(error=type(err).__name__, why=str(err))

    def exception(self, place: str) -> HoldfastError:
        """The error that rank 0 has raised."""
        if self.error == "CheckpointExistsError":
            return CheckpointExistsError(place)
        if self.error == "CommitUncertainError":
            return CommitUncertainError(place, self.why)
        return UsageError(self.why) if self.error == "UsageError" else SaveError(place, self.why)


def encode(message: msgspec.Struct) -> bytes:
    return zlib.compress(msgspec.json.encode(message))


def decode(data: bytes, kind: type[Kind]) -> Kind:
    return msgspec.json.decode(zlib.decompress(data), type=kind)
