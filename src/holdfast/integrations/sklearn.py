"""scikit-learn: a grid search that resumes after a kill. Loops of `partial_fit` and `warm_start` need only `holdfast.Run`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import ParameterGrid, check_cv
from sklearn.utils import _safe_indexing

from .. import state
from ..checkpoint import Place
from ..errors import StateMismatchError, UsageError
from ..policy import Checkpointing, Limits
from ..runtime import Resume, ResumeReport
from ..variables import Mode
from ._common.arguments import Abilities

__all__ = ["GridSearch"]


def __dir__() -> list[str]:
    return __all__


_NOTHING = "nothing is trained from one fit to the next"


ABILITIES = Abilities(
    limits=Limits(
        where="a GridSearch",
        hooks=frozenset({"phase_start", "batch_start", "batch_end", "phase_end"}),
        refused={
            "on_divergence": f"{_NOTHING}, so nothing can diverge; a score that is NaN is in `scores`",
            "snapshot='lazy'": f"{_NOTHING}, and scores are copied at once; leave it out",
            "exclude": "without the scores there is nothing to resume from; leave it out",
            "thin_after": f"{_NOTHING}, and there is no optimizer to give up; leave it out",
        },
    ),
    refused={
        "strict": "without the scores there is nothing to resume from",
        "override": f"{_NOTHING}, and there is no optimizer; leave it out",
        "allow_reread": "every fit reads all of its data; leave it out",
        "on_rollback": f"{_NOTHING}, so nothing can diverge; leave it out",
    },
    default=lambda: Checkpointing(save_on="batch_end", max_to_keep=2),
)
"""Of a grid search: a fit is a "batch"."""

_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")  # of a function: another one in each process


@final
class _Search:
    """What a directory's search is over. It takes back what was saved, where plain data would be the script's."""

    def __init__(self, facts: Any) -> None:
        self.facts = facts

    def state_dict(self) -> dict[str, Any]:
        return {"search": self.facts}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self.facts = saved["search"]


@final
class GridSearch:
    """Cross-validated scores of every candidate; each is kept, and is not computed again after a kill.

        search = GridSearch(SVC(), {"C": [0.1, 1, 10]}, "runs/search", cv=5)
        search.fit(X, y)          # again, in a new process: from where it was killed
        search.best_params

    One fit after the other, in this process: let the estimator itself use the cores. Estimators that draw random
    numbers need a `random_state` of their own, as for any search that is to give the same twice.

    Args:
        estimator: is cloned for every fit.
        grid: as of `sklearn.model_selection.ParameterGrid`.
        directory: where checkpoints are saved, and looked for.
        checkpointing: when to save and what to keep; by default `Checkpointing.default()`.
            Here that is: after each fit, the newest two are kept. A fit is a "batch".
        resume: True: resume from the newest complete checkpoint, or start from scratch if there is none. A name or path:
            from that checkpoint. False: start from scratch. A `Resume` says how as well.
        label: what is trained, in names such as `train_epoch3`.
        allow_reread: whether data without a position may be read again from the start of an epoch, to skip what was done.
            Refused: every fit reads all of its data.
        share_directory: run even though another live run uses the directory.
        variables: "save": variables of the script that have changed since the loop began are saved and put back, too,
            and those that cannot be are named. "watch": all of them are only named. "off": they are the script's affair.
        on_rollback: called with the callback or run after each rollback (`on_divergence="rollback"`), once everything is
            as it was in the checkpoint: the place to lower a learning rate.
            Refused: nothing is trained from one fit to the next.
        cv: as of `GridSearchCV`.
        scoring: as of `GridSearchCV`; one metric, greater is better.

    Attributes:
        candidates: the parameters of each candidate.
        scores: `(candidates, folds)`, NaN where nothing was computed yet.
        last_resume: from where the last `fit` resumed; None if from scratch.
    """

    def __init__(
        self,
        estimator: Any,
        grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]],
        directory: str | os.PathLike[str],
        *,
        checkpointing: Checkpointing | None = None,
        resume: bool | Place | Resume = True,
        label: str = "train",
        allow_reread: bool = False,
        share_directory: bool = False,
        variables: Mode = "save",
        on_rollback: Callable[[Any], None] | None = None,
        cv: Any = None,
        scoring: Any = None,
    ) -> None:
        self._estimator, self._cv, self._scoring = estimator, cv, scoring
        self._arguments = ABILITIES.check(
            directory, checkpointing, resume, label, allow_reread, share_directory, variables, on_rollback
        )
        self.candidates: list[dict[str, Any]] = list(ParameterGrid(grid))
        self.scores = np.empty((0, 0))
        self.last_resume: ResumeReport | None = None

    def fit(self, x: Any, y: Any = None) -> GridSearch:
        """Compute the scores that are not there yet.

        Raises:
            UsageError: the directory has a search over other candidates, folds or data.
        """
        splitter: Any = check_cv(self._cv, y, classifier=is_classifier(self._estimator))
        folds = list(splitter.split(x, y))
        score = check_scoring(self._estimator, scoring=self._scoring)
        self.scores = np.full((len(self.candidates), len(folds)), np.nan)
        # What is not there yet is no NaN in a checkpoint, which would be non-finite.
        known = np.zeros_like(self.scores)
        about = _Search(wanted := self._about(x, y, folds))
        with (
            self._of_one_shape(),
            self._arguments.run({"scores": known, "about": about}) as run,
        ):
            self.last_resume = run.last_resume
            if about.facts != wanted:
                raise self._other_search()
            self.scores.flat[: run.step] = known.flat[: run.step]
            for step in run.steps(self.scores.size):
                candidate, fold = divmod(step, len(folds))
                value = self._score(score, x, y, self.candidates[candidate], folds[fold])
                self.scores[candidate, fold] = known[candidate, fold] = value
                run.log(score=value)
        return self

    @contextmanager
    def _of_one_shape(self) -> Iterator[None]:
        try:
            yield
        except StateMismatchError as err:  # of another number of candidates or folds
            raise self._other_search() from err

    def _other_search(self) -> UsageError:
        return UsageError(
            f"{os.fspath(self._arguments.directory)} has a search over other candidates, folds or data: pass another "
            "directory, or resume=False."
        )

    @property
    def mean_scores(self) -> np.ndarray:
        """The mean over the folds, `(candidates,)`."""
        return self.scores.mean(axis=1)

    @property
    def best_params(self) -> dict[str, Any]:
        """Those of the candidate with the greatest mean score; of equal ones the first."""
        return self.candidates[int(np.nanargmax(self.mean_scores))]

    def _score(self, score: Any, x: Any, y: Any, parameters: dict[str, Any], fold: tuple[Any, Any]) -> float:
        train, test = fold
        estimator: Any = clone(self._estimator)
        estimator.set_params(**{name: clone(value, safe=False) for name, value in parameters.items()})
        targets = [] if y is None else [_safe_indexing(y, train)]
        estimator.fit(_safe_indexing(x, train), *targets)
        targets = [] if y is None else [_safe_indexing(y, test)]
        return float(score(estimator, _safe_indexing(x, test), *targets))

    def _about(self, x: Any, y: Any, folds: Sequence[tuple[Any, Any]]) -> str:
        """Digest of all that decides the scores, as far as it can be taken apart."""
        data = [np.asarray(each) for each in (x, y) if each is not None]
        facts = [
            *(_ADDRESS.sub("", repr(each)) for each in (self._estimator, self.candidates, self._scoring)),
            [list(map(np.asarray, fold)) for fold in folds],
        ]
        return state.digest(state.capture([data, facts]))
