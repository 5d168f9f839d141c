"""What the two libraries of boosted trees have in common: a model is its library's own text or bytes, a round is a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar, final

from ..data import digest_of_contents
from ..errors import UsageError
from ..policy import Checkpointing, Every, KeepLast, Limits, Overhead, Seconds
from ..runtime import ResumeReport
from ..variables import Held, Variables
from ._common import handover
from ._common.arguments import Abilities, Arguments
from ._common.handover import Handover
from ._common.holders import by_class

_AGAIN = (
    "the same rounds would come again, for the libraries draw from random states of their own that nobody can change; use "
    "'stop', change the parameters, and start again: it resumes from the newest checkpoint that was finite"
)


ABILITIES = Abilities(
    limits=Limits(
        where="boosting",
        hooks=frozenset({"phase_start", "batch_end", "phase_end"}),
        refused={**handover.LIMITS, "on_divergence='rollback'": _AGAIN},
    ),
    refused={
        "strict": "a model is all of its trees; leave it out",
        "override": "there is no optimizer: what the script says in `params` holds for the rounds to come; leave it out",
        "allow_reread": "every round reads all of the data; leave it out",
        "on_rollback": _AGAIN,
    },
    # The usual default, without the ends of epochs, of which there are none.
    default=lambda: Checkpointing(
        when=Every("phase_end") | Overhead(0.01) | Seconds(900), keep=KeepLast(3), save_on_preemption=True
    ),
)
"""Of boosted trees: a round is a "batch", and there are no epochs."""

_PLAIN = (bool, int, float, str, list, tuple)
_WITHOUT_EFFECT = {"verbose", "verbosity", "silent", "nthread", "n_jobs", "num_threads"}
"""Parameters that change no model; threads are compared for themselves."""

Booster = TypeVar("Booster")
Scores = dict[str, dict[str, list[float]]]
"""By data set and metric a value for each round."""


@final
class Rounds:
    """A boosting of some rounds: what it has got to, saved after a round when the policy says so.

    Args:
        wanted: so many rounds in all.
        dump: the model so far, in its library's own format.
        stops: what an early stopping knows, as plain data; restored as `stops`.
        facts: what the rounds to come depend on, as `facts_of` tells it: compared at a resume.
        callbacks: those of the script.
        calls: what else has functions of the script: parameters, options.
        data: the data sets.

    Attributes:
        in_all: how many rounds the training is of; until `check`, how many that of the checkpoint was.
    """

    def __init__(
        self,
        arguments: Arguments,
        *,
        wanted: int,
        dump: Callable[[], bytes],
        stops: Callable[[], Any],
        exactness: str,
        facts: Mapping[str, str],
        callbacks: Sequence[Any],
        calls: Sequence[Any],
        data: Sequence[Any],
    ) -> None:
        self._parts = Handover(["model", "stops"], lambda: {"model": dump(), "stops": stops()})
        if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 0:
            raise UsageError(f"num_boost_round must be an integer >= 0, not {wanted!r}.")
        self._exactness, self._facts = exactness, dict(facts)
        self._wanted = self.in_all = wanted
        self.num_done, self.is_over = 0, False
        self.stopped_early = False  # as restored: it was over before all rounds had been
        self.scores: Scores = {}
        self._resume = arguments.resume
        self._is_behind = False  # restored, and the first round has not begun
        self._changed: list[str] = []  # since the checkpoint, in sentences
        self._has_begun = False
        self._variables = Variables(
            arguments.variables,
            dict,
            lambda: [self, *data],
            lambda found: self.loop.add_differences(found),
            held=Held(lambda: by_class(callbacks), roots=lambda: [[*callbacks, *calls]]),
        )
        self.loop = arguments.loop(
            {"booster": self._parts},
            lambda: {
                "rounds": self.num_done,
                "wanted": wanted,
                "is_over": self.is_over,
                "scores": self.scores,
                "facts": self._facts,
            },
            variables=self._variables,
        )

    def resume(self) -> bytes | None:
        """The model of the wanted checkpoint; None from scratch, or before the first round. `begin` and `check` are to be called then."""
        with self._parts.expecting():
            saved = self.loop.resume(self._resume)
        if saved is None:
            self.loop.announce("phase_start", step=0)
            return None
        self.num_done, self.is_over, self.scores = saved["rounds"], saved["is_over"], saved["scores"]
        self.stopped_early = saved["is_over"] and saved["rounds"] < saved["wanted"]
        self._is_behind, self.in_all = True, saved["wanted"]
        self._changed = _changes(saved.get("facts"), self._facts)
        return self.given["model"] if self.num_done else None

    @property
    def given(self) -> Mapping[str, Any]:
        """The parts that were restored."""
        assert self._parts.given is not None
        return self._parts.given

    @property
    def num_left(self) -> int:
        """Rounds still to come, of a finished model that is to get more of them too."""
        return 0 if self.stopped_early else max(self._wanted - self.num_done, 0)

    def begin(self) -> None:
        """A round begins, and no callback of the script has been called: what they keep is put back before the first."""
        if not self._has_begun:
            self._has_begun = True
            self._variables.begin()
            if self._is_behind:
                self._variables.put_back()

    def check(self) -> None:
        """All callbacks were called: before the first round after a resume, what is live is compared with what was saved."""
        if self._is_behind:
            self._is_behind = False
            is_drawing = self._exactness != "exact" and self.num_left > 0
            found = [*([self._exactness] if is_drawing else []), *self._changed, *self._variables.differences]
            self.loop.finish_resume(lambda: found)
            self.in_all = self._wanted

    def add(self, scores: Mapping[tuple[str, str], float]) -> None:
        """A round has ended with these scores, by data set and metric."""
        self.is_over = False
        for (data, metric), value in scores.items():
            self.scores.setdefault(data, {}).setdefault(metric, []).append(float(value))
        is_one = len(self.scores) == 1
        row = {name[1] if is_one else "-".join(name): float(value) for name, value in scores.items()}
        self.num_done += 1
        self.loop.results.append({"step": self.num_done, **row})
        at = {"epoch": 0, "batch": self.num_done - 1, "step": self.num_done}
        self.loop.announce("batch_end", **at, metrics=row, losses=row)

    def end(self) -> None:
        """The last round has been, or an early stopping has ended it."""
        self.begin()  # if there was none left
        self.check()
        if not self.is_over:
            self.is_over = True
            if self.num_done < self._wanted:
                self.loop.stop("the boosting was stopped")
            self.loop.announce("phase_end", step=self.num_done)


def facts_of(params: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, str]:
    """The parameters, as text, and digests of what is given to learn from, by a name in the plural; None of what is not read.

    Of large tables the first 256 MiB.
    """
    plain = {f"params[{name!r}]": str(each) for name, each in params.items() if type(each) in _PLAIN}
    return plain | {name: digest_of_contents(each)[:16] for name, each in given.items() if each is not None}


def _changes(saved: Mapping[str, str] | None, now: Mapping[str, str]) -> list[str]:
    """In sentences; none if an older checkpoint does not say."""
    if saved is None:
        return []
    given = [name for name in now if name in saved and not name.startswith("params[")]
    found = [f"{name} have changed" for name in given if saved[name] != now[name]]
    for name in sorted(each for each in {*saved} | {*now} if each.startswith("params[")):
        was, is_now = saved.get(name, "not set"), now.get(name, "not set")
        if was != is_now and name.removeprefix("params['").removesuffix("']") not in _WITHOUT_EFFECT:
            found.append(f"{name} was {was} and is now {is_now}")
    return found


class Trained(Generic[Booster]):
    """What came of it.

    Attributes:
        booster: the model of all rounds.
        scores: by data set and metric a value for each round, those before a resume included.
        last_resume: from where it resumed, and how exactly; None if from scratch.
    """

    def __init__(self, booster: Booster, rounds: Rounds) -> None:
        self.booster, self.scores = booster, rounds.scores
        self.last_resume: ResumeReport | None = rounds.loop.last_resume
        self._loop = rounds.loop

    def state_digest(self) -> str:
        """BLAKE3 of what two runs have in common: model, scores, early stopping (of XGBoost), random states."""
        return self._loop.state_digest()
