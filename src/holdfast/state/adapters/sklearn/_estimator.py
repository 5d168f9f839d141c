"""The adapter of estimators: its state is what `__getstate__` gives, attribute by attribute."""

from __future__ import annotations

import logging
from dataclasses import replace

import sklearn
from sklearn.base import BaseEstimator

from ....records import Node, Object
from ..._fit import Fit, Make
from ..._walk import Walk
from ._make import Making
from ._take import Taking

_log = logging.getLogger("holdfast")


class _Estimator:
    """Estimators, pipelines and searches, with everything they learned.

    A live one is filled in place. Its class and parameters must be the saved ones, except for how much it
    prints and computes at once.
    """

    name = "sklearn.object"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, BaseEstimator)

    def capture(self, value: BaseEstimator, walk: Walk, path: str) -> Node:
        taken = Taking(value, walk, path).object(value, path, held=True)
        return replace(taken, about={"sklearn": sklearn.__version__})

    def plan(self, live: BaseEstimator, node: Node, fit: Fit, path: str) -> Make:
        is_taken = isinstance(node, Object) and node.adapter == self.name
        if is_taken and (saved := node.about.get("sklearn")) != sklearn.__version__:
            _log.warning(
                "%s: saved with scikit-learn %s, but this is %s: predictions may differ",
                *(path or "the estimator", saved, sklearn.__version__),
            )
        return Making(live, fit, path).into(live, node, path)


ADAPTERS = (_Estimator(),)
