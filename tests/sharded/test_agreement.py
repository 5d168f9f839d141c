"""The ranks of a run agree: what one cannot do none does, and all say the same."""

from __future__ import annotations

import time
from typing import Any

import pytest

from holdfast.crew import Crew, gathered
from holdfast.errors import CheckpointDamagedError, CheckpointUnreadableError, CrewError, PlanMismatchError
from holdfast.policy import Spent
from holdfast.records import BY_RANK, Object
from holdfast.runtime._together.agreement import Agreement
from holdfast.runtime._together.ranks import ALONE, Ranks
from tests.support.crews import DictBoard, together

DAMAGE = (CheckpointDamagedError,)


def said(results: list[Any]) -> list[tuple[str, str]]:
    return [(type(each).__name__, str(each)) for each in results]


def test_all_hear_what_each_says_and_nothing_is_left_of_talks_before():
    board = DictBoard()

    def act(crew: Crew) -> list[list[str]]:
        return [gathered(crew, f"{crew.rank}-{number}-ä\udc80") for number in range(5)]

    heard = together(act, 3, board=board)
    assert heard == [[[f"{rank}-{number}-ä\udc80" for rank in range(3)] for number in range(5)]] * 3
    assert not any(key.startswith(("1/", "2/", "3/")) for key in board.messages)


@pytest.mark.parametrize("missing", [0, 1, 2])
@pytest.mark.medium
def test_a_rank_that_says_nothing_is_named_by_all_others(missing):
    def act(crew: Crew) -> list[str] | None:
        return None if crew.rank == missing else gathered(crew, "here")

    results = [each for each in together(act, 3, timeout_s=0.4) if each is not None]
    assert {kind for kind, _ in said(results)} == {"CrewError"}
    assert all(f"rank {missing} did not answer" in text for _, text in said(results)), results


@pytest.mark.parametrize("failing", [0, 2])
def test_what_one_rank_raises_no_rank_takes_for_done(failing):
    def act(crew: Crew) -> list[str]:
        def do() -> str:
            if crew.rank == failing:
                raise ValueError("the disk is full")
            return "done"

        return Ranks(crew).each(do)

    results = together(act, 3)
    assert isinstance(results.pop(failing), ValueError)
    assert said(results) == [("CrewError", f"rank {failing}: the disk is full")] * 2


def test_rank_0_is_first():
    order: list[int] = []
    together(lambda crew: Ranks(crew).in_turn(lambda: order.append(crew.rank)), 3)
    assert order[0] == 0
    assert sorted(order) == [0, 1, 2]
    assert together(lambda crew: Ranks(crew).first(lambda: f"from {crew.rank}"), 3) == ["from 0"] * 3


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("rank", [0, 1])
def test_damage_on_one_rank_is_damage_on_all_and_a_refusal_wins(when, rank):
    def attempts(crew: Crew, errors: dict[int, Exception]) -> list[str]:
        """What comes of a first attempt with these errors, and of a second without any."""
        ranks, found = Ranks(crew), []
        for wrong in (errors, {}):
            try:
                with ranks.attempt("runs/a", DAMAGE) as ready:
                    if when == "before" and crew.rank in wrong:
                        raise wrong[crew.rank]
                    ready()
                    found.append("filled")
                    if crew.rank in wrong:
                        raise wrong[crew.rank]
                found.append("restored")
            except Exception as err:
                found.append(f"{type(err).__name__}: {err}")
        return found

    damage, refusal = (
        CheckpointDamagedError("runs/a", "a byte is wrong"),
        PlanMismatchError(["other objects"]),
    )
    filled = [] if when == "before" else ["filled"]
    results = together(lambda crew: attempts(crew, {rank: damage}), 3)
    for each, result in enumerate(results):
        told = result[len(filled)]
        assert result == [*filled, told, "filled", "restored"], result
        assert told.startswith("CheckpointDamagedError: runs/a is damaged")
        assert (f"rank {rank} cannot use it" in told) == (each != rank)
        assert "a byte is wrong" in told
    results = together(lambda crew: attempts(crew, {rank: damage, 2: refusal}), 3)
    for each, result in enumerate(results):
        told = result[len(filled)]
        assert "other objects" in told
        assert told.startswith("PlanMismatchError" if each == 2 else "CrewError: rank 2: ")
        assert result[-1] == "restored"


def test_what_cannot_be_read_now_is_no_damage():
    def act(crew: Crew) -> None:
        with Ranks(crew).attempt("runs/a", DAMAGE) as ready:
            if crew.rank:
                raise CheckpointUnreadableError("runs/a", "no permission")
            ready()

    first, second = together(act, 2)
    assert isinstance(first, CrewError)
    assert "no permission" in str(first)
    assert isinstance(second, CheckpointUnreadableError)


def test_of_what_each_rank_has_saved_each_gets_its_own():
    tree = {"model": 1, "run": Object(BY_RANK, "", ["zero", "one"]), "mine": Object(BY_RANK, "", [5, 6])}

    def act(crew: Crew) -> Any:
        return Ranks(crew).mine(tree, lambda name: name == "run", "runs/a")

    assert [each["run"] for each in together(act, 2)] == ["zero", "one"]
    assert together(act, 2)[0]["mine"] == tree["mine"]
    assert all(
        "runs/a was saved by 2 processes together, and now there are 3 processes" in str(each)
        for each in together(act, 3)
    )
    with pytest.raises(PlanMismatchError, match="now there is 1 process"):
        ALONE.mine(tree, lambda name: name == "run", "runs/a")


def test_what_one_process_saved_is_not_for_several():
    results = together(lambda crew: Ranks(crew).mine({"run": {}}, lambda name: True, "runs/a"), 2)
    assert all("was saved by 1 process, and now there are 2 processes" in str(each) for each in results)


def agreement_of(crew: Crew) -> Agreement:
    board = crew._board
    beside = Crew(crew.rank, crew.size, _Beside(board), timeout_s=crew.timeout_s)
    return Agreement(Ranks(crew, beside), beside)


class _Beside:
    """Messages that have nothing to do with those of the same keys on the board."""

    def __init__(self, board: Any) -> None:
        self._board = board

    def tell(self, key: str, data: bytes) -> None:
        self._board.tell(f"beside/{key}", data)

    def look(self, keys: Any) -> dict[str, bytes]:
        found = self._board.look([f"beside/{key}" for key in keys])
        return {key.removeprefix("beside/"): data for key, data in found.items()}

    def forget(self, keys: Any) -> None:
        self._board.forget([f"beside/{key}" for key in keys])


@pytest.mark.medium
def test_many_decisions_one_after_another_leave_no_messages_behind():
    board, wanted = DictBoard(), 6

    def act(crew: Crew) -> list[tuple[int, Any]]:
        agreement, heard, hook = agreement_of(crew), [], 0
        with agreement.talking():
            while len(heard) < wanted:
                hook += 1
                agreement.want("call", len(heard) if crew.rank == len(heard) % 3 else None)
                if facts := agreement.at_hook(is_last=False):
                    heard.append((hook, facts["call"]))
                time.sleep(0.002)
            agreement.at_hook(is_last=True)
        return heard

    first, *others = together(act, 3, board=board)
    assert [call for _, call in first] == list(range(wanted))
    assert others == [first, first]
    rounds = {key.split("/")[1] for key in board.messages if key.startswith("beside/")}
    assert rounds <= {str(wanted), str(wanted + 1)}, "those of the last rounds"


@pytest.mark.parametrize("leaving", [0, 1])
def test_who_leaves_by_an_error_is_named_to_those_that_wait(leaving):
    def act(crew: Crew) -> Any:
        agreement = agreement_of(crew)
        with agreement.talking():
            if crew.rank == leaving:
                agreement.want("call", "save")
                agreement.at_hook(is_last=False)
                raise ValueError("the data are gone")
            while True:
                agreement.want("call", "save")
                agreement.at_hook(is_last=False)
                time.sleep(0.001)

    results = together(act, 2)
    assert isinstance(results.pop(leaving), ValueError)
    assert said(results) == [("CrewError", f"the run was left by rank {leaving}")]


@pytest.mark.medium
@pytest.mark.parametrize("missing", [0, 1])
def test_who_is_held_at_a_hook_is_not_so_for_ever(missing):
    def act(crew: Crew) -> Any:
        agreement = agreement_of(crew)
        if crew.rank == missing:
            if crew.rank == 0:  # it proposes, and dies
                crew._board.tell("beside/1/proposed", b"+")
            return None
        with agreement.talking():
            while True:
                agreement.want("call", "save")
                agreement.at_hook(is_last=False)
                time.sleep(0.001)

    results = [each for each in together(act, 2, timeout_s=0.4) if each is not None]
    assert [kind for kind, _ in said(results)] == ["CrewError"]
    assert f"rank {missing} did not answer" in said(results)[0][1]


@pytest.mark.medium
@pytest.mark.parametrize("saves", [False, True])
def test_time_is_known_to_all_from_one_hook_on_until_a_save(saves):
    late = Spent(elapsed_s=5.0, cost_s=0.25)

    def act(crew: Crew) -> list[float]:
        agreement, known = agreement_of(crew), []
        with agreement.talking():
            for _ in range(300):
                facts = agreement.at_hook(is_last=False)
                assert facts.keys() <= {"time"}
                mine = late if crew.rank == 0 else Spent(elapsed_s=7.0)
                known.append(agreement.time(mine, lambda spent: spent.elapsed_s >= 1).elapsed_s)
                if saves and facts:
                    agreement.saved()
                    assert agreement.time(mine, lambda spent: spent.elapsed_s >= 1).elapsed_s == 0.0
                time.sleep(0.001)
            agreement.at_hook(is_last=True)
        return known

    first, second = together(act, 2)
    assert first == second
    assert set(first) == {0.0, 5.0}
    assert (sorted(first) == first) is not saves, "it is as it was until then"
