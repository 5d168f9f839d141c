"""The tests of crashes and damage can fail: with any one guard taken out of the library, they do."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from holdfast.errors import DamagedError
from tests.support.crews import check_damaged_parts
from tests.support.reliability.crash_checker import Checker, Violation
from tests.support.reliability.damage_checker import check_damage
from tests.support.reliability.lives import short_lives
from tests.support.reliability.mutants import Mutant, at_work, without_each_check, without_each_sync

COMMIT, DELETE, LEFTOVERS, WRITE, READ, OPENED, PACKS, PACK, RECORD = (
    f"holdfast.bundle.{name}"
    for name in (
        "_commit",
        "_delete",
        "_leftovers",
        "_write",
        "_read",
        "_open",
        "_packs",
        "_format.pack",
        "_format.record",
    )
)

SYNCS = [
    mutant
    for module in (COMMIT, LEFTOVERS, WRITE, DELETE, "holdfast.runtime._claim")
    for mutant in without_each_sync(module)
]
ORDERS = [
    Mutant(
        "a new bundle gets its name before its directory is durable",
        COMMIT,
        """\
            if durable:
                inside.sync()
        try:
            disk.rename(part, place)
""",
        """\
        try:
            disk.rename(part, place)
            with disk.open_directory(place) as late:
                late.sync()
""",
    ),
    Mutant(
        "the names above are made durable before the new one is there",
        COMMIT,
        """\
        try:
            disk.rename(part, place)
""",
        """\
        _sync_names(disk, directory, created)
        durable = False
        try:
            disk.rename(part, place)
""",
    ),
    Mutant(
        "the new record is in place before its files are durable",
        COMMIT,
        """\
        if durable:
            inside.sync()
        replaced = read_record(inside, place)
    except BaseException:
        _discard(inside, id)
        raise
    if is_pinned_inside(inside):  # since we looked
        _discard(inside, id)
        return None
    try:
        inside.rename(new_record(id), RECORD)
""",
        """\
        replaced = read_record(inside, place)
    except BaseException:
        _discard(inside, id)
        raise
    if is_pinned_inside(inside):  # since we looked
        _discard(inside, id)
        return None
    try:
        inside.rename(new_record(id), RECORD)
        inside.sync()
""",
    ),
    Mutant(
        "the replaced files go before the new record is durable",
        COMMIT,
        """\
    if durable:
        with _uncertain(place):
            inside.sync()
    _unlink_replaced(inside, place, id, replaced)
""",
        """\
    _unlink_replaced(inside, place, id, replaced)
    with _uncertain(place):
        inside.sync()
""",
    ),
    Mutant(
        "the replaced files go before the new record is in place",
        COMMIT,
        """\
        replaced = read_record(inside, place)
    except""",
        """\
        replaced = read_record(inside, place)
        for entry in replaced.packs:
            inside.unlink(entry.name)
    except""",
    ),
    Mutant(
        "a file is made durable before it is written",
        WRITE,
        """\
        file.write(data)
        if durable:
            file.sync()
""",
        """\
        file.sync()
        file.write(data)
""",
    ),
    Mutant(
        "a pack is made durable before it is finished",
        WRITE,
        """\
            header, size = pack.finish(encode)
            if self._durable:
                file.sync()
""",
        """\
            file.sync()
            header, size = pack.finish(encode)
""",
    ),
    Mutant(
        "a deleted bundle is emptied before its new name is durable",
        DELETE,
        """\
        sync_removal(disk, directory)
    except HoldfastError:
""",
        """\
        empty_trash(disk, trash)
        sync_removal(disk, directory)
    except HoldfastError:
""",
    ),
    Mutant(
        "the remains of a deleted bundle are emptied before its new name is durable",
        LEFTOVERS,
        """\
    sync_removal(disk, directory)
    empty_trash(disk, path)
""",
        """\
    empty_trash(disk, path)
    sync_removal(disk, directory)
""",
    ),
]
CHECKS = [
    *(
        mutant
        for module in (READ, OPENED, PACKS, PACK, RECORD)
        for mutant in without_each_check(module, r"digest(?!s)|size(?!s)|xxh3|blake3|found !=|is_right")
    ),
    Mutant(
        "a pack that was cut is linked", WRITE, "not found.is_file or found.size != pack.entry.size", "False"
    ),
]
# Guards behind another guard: what they would find by themselves only somebody can make who also forges digests.
BEHIND_ANOTHER = {
    "_open.read_bounded without `if file.size > limit`": "bounds memory; sizes were compared, or the digest tells",
    "_open.read_part without `if part.packs_size != entry.packs_size`": "the part's digest was compared",
    "_read._check_pieces without `if not is_right`": "the digest of the pack's header tells first",
    "pack.read_header without `if file.size < 8`": "the pack's size was compared with the record",
    "pack.parse_header without `if len(header) + expected != file_size`": "its size and its header's digest were compared",
}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [*SYNCS, *ORDERS], ids=lambda mutant: mutant.name)
def test_the_crash_states_show_that_a_step_is_missing_or_too_late(mutant: Mutant):
    with at_work(mutant), pytest.raises(Violation):
        Checker(cap=32, random=Random(0)).check_lives(short_lives())


def check_all_damage(directory: Path) -> None:
    check_damage(stride=11)
    check_damaged_parts(directory, stride=11)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", CHECKS, ids=lambda mutant: mutant.name)
def test_the_damage_shows_that_a_check_is_missing(mutant: Mutant, tmp_path: Path):
    with at_work(mutant):
        if mutant.name in BEHIND_ANOTHER:
            check_damage(stride=11)
        else:
            with pytest.raises((AssertionError, MemoryError, DamagedError)):
                check_all_damage(tmp_path)


@pytest.mark.medium
def test_with_all_its_guards_the_library_passes(tmp_path: Path):
    assert check_damage(stride=11) > 500
    assert check_damaged_parts(tmp_path, stride=11) > 50


def test_the_mutants_are_all_there_and_leave_no_trace():
    assert len(SYNCS) >= 12
    assert len(CHECKS) >= 10
    assert {mutant.name for mutant in CHECKS} >= BEHIND_ANOTHER.keys()
    one = SYNCS[0]
    with at_work(one):
        pass
    checker = Checker(cap=4, random=Random(0))
    checker.check_life(next(short_lives()))
    assert checker.states > 50
