"""Random histories of a run on a disk that rots: whatever was saved an hour after a bit flipped is sound."""

from __future__ import annotations

from random import Random

from holdfast import bundle
from holdfast.bundle._sharing import PROVEN_FOR_S
from holdfast.errors import DamagedError
from holdfast.state import capture
from holdfast.storage import MemoryDisk
from tests.support.bundle_cases import draft, noise, place

ARRAYS = [noise(70_000, seed) for seed in range(12)]
NAMES = ["best", "last", *(f"s{number}" for number in range(6))]


class History:
    """Saves arrays that mostly stay the same under names old and new; deletes some; now and then a bit flips."""

    def __init__(self, seed: int) -> None:
        self.random, self.disk, self.sharing = Random(seed), MemoryDisk(clock=lambda: 0.0), bundle.Sharing()
        self.now_s = 0.0
        self.saves = self.flips = self.found = 0
        self._last_flip_s: dict[object, float] = {}  # by file, whatever its names
        self._saved_s: dict[str, float] = {}
        self._live = self.random.sample(range(len(ARRAYS)), 4)

    def run(self, steps: int) -> None:
        """Raises AssertionError if a later save built on rot."""
        for _ in range(steps):
            self.now_s += self.random.choice([1.0, 300.0, 1000.0, 4000.0])
            self.random.choices([self._save, self._flip, self._delete, self._change], [12, 2, 1, 3])[0]()

    def _save(self) -> None:
        self.saves += 1
        name = self.random.choice(NAMES)
        state = {str(number): ARRAYS[number] for number in self._live}
        record = draft(name, self.saves)
        bundle.save(self.disk, "runs", record, capture(state), self.sharing, now_s=self.now_s)
        self._saved_s[name] = self.now_s
        self._check(name)

    def _check(self, name: str) -> None:
        with bundle.Bundle(self.disk, place("runs", name)) as opened:
            packs = [pack.name for pack in opened.record.packs]
            try:
                is_sound = not list(opened.problems(deep=True))
            except DamagedError:
                is_sound = False
        flips_s = [self._last_flip_s.get(self._file(name, pack), self.now_s) for pack in packs]
        self.found += not is_sound
        assert is_sound or any(self.now_s - flip_s <= PROVEN_FOR_S for flip_s in flips_s), (
            f"saved at {self.now_s:.0f} s, and bits of its packs flipped at {flips_s}"
        )

    def _flip(self) -> None:
        if self._saved_s:
            name = self.random.choice([*self._saved_s])
            with bundle.Bundle(self.disk, place("runs", name)) as opened:
                pack = self.random.choice(opened.record.packs).name
            file = self._file(name, pack)
            file.data[self.random.randrange(len(file.data))] ^= 1 << self.random.randrange(8)
            self._last_flip_s[file] = self.now_s
            self.flips += 1

    def _file(self, name: str, pack: str):
        return self.disk._file(f"{place('runs', name)}/{pack}")

    def _delete(self) -> None:
        if self._saved_s:
            name = self.random.choice([*self._saved_s])
            bundle.delete(self.disk, place("runs", name))
            del self._saved_s[name]

    def _change(self) -> None:
        self._live[self.random.randrange(4)] = self.random.randrange(len(ARRAYS))
