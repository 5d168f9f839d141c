"""Deciding in two moves, in every order of what ranks do: all hear the same at the same hook, and none is held for ever.

A rank trains and talks side by side. It comes to the next hook (in lock step with the others, by a collective of each step, or
freely), notices something there or not, and is held or goes on; at the last hook all meet. Beside that it looks at the board, draws
conclusions, and tells what it has to, message by message. Any of these moves may come next, and one rank may die before any.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import pytest

from holdfast.runtime._together.two_moves import TwoMoves, merged

Messages = tuple[tuple[str, bytes], ...]
LATE_S, TIMEOUT_S = 2.0, 1.0


@dataclass(frozen=True)
class Rank:
    """What it has heard, by hook; whether it has yet to notice something, or has and not all have heard it."""

    name: str
    moves: TwoMoves
    to_notice: bool = False
    has_noticed: bool = False
    heard: tuple[tuple[int, tuple[str, ...]], ...] = ()
    hooks: int = 0  # that it has passed
    state: str = "trains"
    found: Messages = ()
    telling: Messages = ()

    def key(self) -> tuple[Hashable, ...]:
        own = (_frozen(value) for value in self.moves.__dict__.values())
        return (*own, *(value for name, value in self.__dict__.items() if name != "moves"))


def _frozen(value: Any) -> Hashable:
    return (
        tuple((name, _frozen(each)) for name, each in sorted(value.items()))
        if isinstance(value, Mapping)
        else value
    )


@dataclass(frozen=True)
class World:
    ranks: tuple[Rank, ...]
    board: frozenset[tuple[str, bytes]] = frozenset()

    def key(self) -> tuple[Hashable, ...]:
        return (*(each.key() for each in self.ranks), self.board)

    def having(self, rank: Rank, mine: Rank, *told: tuple[str, bytes]) -> World:
        return World(tuple(mine if each is rank else each for each in self.ranks), self.board.union(told))


@dataclass(frozen=True)
class Model:
    """Some ranks may notice something, once each; one may die, or leave by an error; with `is_slow` rank 0 may lose patience though all live."""

    size: int
    hooks: int
    notices: tuple[int, ...] = ()
    dies: int | None = None
    leaves: int | None = None
    in_lock_step: bool = True
    is_slow: bool = False

    def worlds(self) -> Iterator[tuple[World, bool]]:
        """All that can come about, and whether nothing can follow."""
        begin = World(
            tuple(
                Rank(
                    f"rank {number}", TwoMoves(number, self.size, TIMEOUT_S), to_notice=number in self.notices
                )
                for number in range(self.size)
            )
        )
        seen, todo = {begin.key()}, [begin]
        while todo:
            world = todo.pop()
            following = {other.key(): other for other in self.moves(world)}
            following.pop(world.key(), None)
            yield world, not following
            todo += [other for key, other in following.items() if key not in seen]
            seen |= following.keys()

    def moves(self, world: World) -> Iterator[World]:
        for number, rank in enumerate(world.ranks):
            if rank.state == "dead":
                continue
            if number == self.dies:
                yield world.having(rank, replace(rank, state="dead", found=(), telling=()))
            if (
                number == self.leaves
                and rank.state in ("trains", "held")
                and not (rank.found or rank.telling)
            ):
                telling = tuple(
                    (f"{rank.moves.round}/{key}", each) for key, each in rank.moves.leave().items()
                )
                yield world.having(rank, replace(rank, state="left", telling=telling))
            yield from (world.having(rank, mine) for mine in self.trained(world, rank))
            yield from self.talked(world, rank)
        if all(each.state == "waits at the end" for each in world.ranks):
            facts = merged([each.moves.wants for each in world.ranks])
            met = (self.passed(replace(each, state="has ended"), facts) for each in world.ranks)
            yield World(tuple(met), world.board)

    def trained(self, world: World, rank: Rank) -> Iterator[Rank]:
        if rank.state == "held" and not rank.moves.is_held:
            yield self.came(rank)
        if rank.state != "trains" or (
            # All have to be in this step, that is past the hook before it.
            self.in_lock_step and any(each.hooks < rank.hooks for each in world.ranks)
        ):
            return
        for notices in {False, rank.to_notice}:
            has_noticed = rank.has_noticed or notices
            moves = copy(rank.moves)
            moves.come()
            moves.wants = {rank.name: True} if has_noticed else {}
            yield self.came(
                replace(rank, moves=moves, has_noticed=has_noticed, to_notice=rank.to_notice and not notices)
            )

    def came(self, rank: Rank) -> Rank:
        """What `Agreement.at_hook` does."""
        if rank.hooks + 1 == self.hooks:
            return replace(rank, state="failed" if rank.moves.failure else "waits at the end")
        if rank.moves.is_held:
            return replace(rank, state="held")
        if rank.moves.failure:
            return replace(rank, state="failed")
        moves = copy(rank.moves)
        facts = moves.take()
        return self.passed(replace(rank, moves=moves, state="trains"), facts)

    def passed(self, rank: Rank, facts: Mapping[str, Any]) -> Rank:
        hooks = rank.hooks + 1
        heard = (*rank.heard, (hooks, tuple(sorted(facts)))) if facts else rank.heard
        return replace(
            rank, hooks=hooks, heard=heard, has_noticed=rank.has_noticed and rank.name not in facts
        )

    def talked(self, world: World, rank: Rank) -> Iterator[World]:
        if rank.telling:
            first, *rest = rank.telling
            yield world.having(rank, replace(rank, telling=tuple(rest)), first)
        if rank.telling or rank.state == "left":
            return
        if not rank.found:
            keys = {f"{rank.moves.round}/{key}" for key in rank.moves.asks()}
            yield world.having(
                rank, replace(rank, found=tuple(sorted(each for each in world.board if each[0] in keys)))
            )
        may_be_late = self.is_slow or any(each.state == "dead" for each in world.ranks)
        for now_s in [0.0, LATE_S] if may_be_late else [0.0]:
            for ahead in (1, 2):
                moves = copy(rank.moves)
                moves._seen = moves._num_hooks - ahead, 0
                to_tell = moves.hear({key.partition("/")[2]: data for key, data in rank.found}, now_s)
                moves._seen, moves._proposed_s = (0, 0), 0.0
                telling = tuple((f"{moves.round}/{key}", data) for key, data in to_tell.items())
                yield world.having(rank, replace(rank, moves=moves, found=(), telling=telling))


def outcomes(model: Model) -> set[str]:
    """How it can end. At no time have two ranks heard different things, or at different hooks."""
    found: set[str] = set()
    for world, is_end in model.worlds():
        longest = max((each.heard for each in world.ranks), key=len)
        assert all(each.heard == longest[: len(each.heard)] for each in world.ranks), world
        if is_end:
            found.add(", ".join(each.state for each in world.ranks))
            if all(each.state == "has ended" for each in world.ranks):
                assert not any(each.has_noticed for each in world.ranks), world
                assert len({each.heard for each in world.ranks}) == 1, world
    return found


ALL_ENDED = {2: {"has ended, has ended"}, 3: {"has ended, has ended, has ended"}}


@pytest.mark.medium
@pytest.mark.parametrize("in_lock_step", [True, False])
@pytest.mark.parametrize("notices", [(), (0,), (1,)])
def test_what_one_of_two_notices_both_hear_at_one_hook_in_any_order(notices, in_lock_step):
    assert outcomes(Model(2, 5, notices, in_lock_step=in_lock_step)) == ALL_ENDED[2]


@pytest.mark.medium
@pytest.mark.parametrize("in_lock_step", [True, False])
def test_what_both_notice_both_hear_at_one_hook_in_any_order(in_lock_step):
    assert outcomes(Model(2, 4, (0, 1), in_lock_step=in_lock_step)) == ALL_ENDED[2]


@pytest.mark.slow
@pytest.mark.parametrize("notices", [(0,), (1,), (2,)])
def test_what_one_of_three_notices_all_hear_at_one_hook_in_any_order(notices):
    assert outcomes(Model(3, 3, notices)) == ALL_ENDED[3]


def test_it_is_heard_long_before_the_end():
    early = [world for world, _ in Model(2, 5, (1,)).worlds() if world.ranks[0].heard == ((2, ("rank 1",)),)]
    assert early
    assert any(each.ranks[1].heard == ((2, ("rank 1",)),) for each in early)


@pytest.mark.medium
@pytest.mark.parametrize("how", ["dies", "leaves"])
def test_of_a_rank_that_is_lost_the_other_hears(how):
    """It is held for ever by nobody but rank 0, whose death its own patience notices; else by a collective, or by the last meeting."""
    state = {"dies": "dead", "leaves": "left"}[how]
    found = outcomes(Model(2, 4, (1,), **{how: 1}))
    assert found - ALL_ENDED[2] == {
        f"{each}, {state}" for each in ("failed", "trains", "waits at the end", "has ended")
    } - ({f"has ended, {state}"} if how == "leaves" else set())
    found = outcomes(Model(2, 4, (1,), **{how: 0}))
    assert {each for each in found if "held" in each} == ({"dead, held"} if how == "dies" else set())


@pytest.mark.slow
@pytest.mark.parametrize("dies", [0, 2])
def test_of_a_rank_that_dies_all_others_hear(dies):
    for end in outcomes(Model(3, 3, (1,), dies=dies)):
        assert "held" not in end or dies == 0, end


@pytest.mark.medium
def test_where_rank_0_loses_its_patience_nothing_is_decided_for_some_only():
    for end in outcomes(Model(2, 3, (0, 1), in_lock_step=False, is_slow=True)):
        assert "held" not in end
        assert "trains" not in end
