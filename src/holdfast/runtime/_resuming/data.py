"""The data of a loop's epochs, whose position is known from the checkpoint before the script gives them again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

from ... import rng
from ...data import (
    ANOTHER_BATCH,
    BatchSource,
    HeldValues,
    Until,
    batches_of_all,
    dataset_of,
    differences_of,
    digest_of_contents,
    foreign_state,
    holds_samples,
    kept_by_others,
    nodes_in,
    parts_of,
    without_position,
)
from ...errors import UsageError
from ...policy import Checkpointing, Every
from ...variables import KeptIds, scopes
from .expected import Ahead

logger = logging.getLogger("holdfast")


_MADE_OTHERWISE = (
    "the data that the script makes in the loop are not those of before: what stands between run.epochs() and run.batches() ran "
    'again, with what has been trained since. Keep what it computes in the run, run["labels"] = labels, and use run["labels"]'
)
_NOT_COMPARED = (
    "nothing was left to train, and the data in the loop were not compared with those that the run was trained on, for no variable "
    "holds them. Name them before the loop, training = …, and use run.batches(training)"
)


@final
@dataclass(frozen=True)
class Given:
    """What a script gives to a loop over `batches`."""

    data: tuple[Any, ...]
    until: Until
    batch_size: int | None
    seed: int
    is_made_in_loop: Callable[[Any], bool] = lambda each: False

    def is_same(self, other: Given | None) -> bool:
        """Whether the data are the same objects."""
        return other is not None and [*map(id, self.data)] == [*map(id, other.data)]

    @cached_property
    def are_made_in_loop(self) -> bool:
        """Whether the script makes them anew in each epoch, so that those of the next may be others."""
        return any(map(self.is_made_in_loop, self.data))

    def name_of(self, one: Any, names: Mapping[int, str]) -> str | None:
        """Of `names` by id, that of data or of their dataset; None if the script makes both in the loop."""
        held = [each for each in (one, dataset_of(one)) if not self.is_made_in_loop(each)]
        return next((names[id(each)] for each in held if id(each) in names), None)

    def contents(self) -> str | None:
        """A digest of what the script made in the loop for this epoch; None if it has made nothing."""
        made = filter(self.is_made_in_loop, self.data)
        datasets = [each for each in map(dataset_of, made) if self.is_made_in_loop(each)]
        return digest_of_contents(datasets) if datasets else None


@final
class EpochData:
    """What the loop over `batches` goes through; `is_inside` tells whether it is in that loop.

    Args:
        kept: called at a resume for what the script's variables have restored.

    Attributes:
        source: that of the data that were given last, None before.
    """

    def __init__(
        self,
        allow_reread: bool,
        policy: Checkpointing,
        kept: Callable[[], KeptIds] = KeptIds,
    ) -> None:
        self._allow_reread, self._policy, self._kept = allow_reread, policy, kept
        self._told = ""  # how exact a resume is not
        self._came_back = False  # some of what `_given` hold, with the variables of the script
        self._given: Given | None = None
        self.source: BatchSource | None = None  # of `_given`
        self._contents: str | None = None  # of `_given`, when the epoch began
        self._names: list[str | None] = []  # of the variables of the script that hold `_given`
        self._nodes: list[Any] = []  # that `_given` are made of
        self._vary = False  # from one epoch to the next
        # Of the checkpoint: how exact the data were, which batch was next, of what data, and their position.
        self._saved: Mapping[str, Any] = {}
        self._position: Mapping[str, Any] | None = None  # until a source has resumed from it

    def see_variables(self) -> None:
        """The loop begins: what datasets hold by now, the loop has not written."""
        for value in _variables().values():
            with suppress(Exception):  # of the object's own code; then it is seen as its batches are read
                for each in (value, *getattr(value, "__dict__", {}).values()):
                    if holds_samples(each):
                        HeldValues(dataset_of(each))

    def take(self, given: Given) -> tuple[BatchSource, Iterator[Any] | None]:
        """Their source, and the rest of the epoch in which the checkpoint was; None if there is nothing to resume.

        The source is that of the epoch before if the data are the same objects.
        """
        if self.source is None or not given.is_same(self._given):
            source = self._source_of(given)
            check_position(source, self._policy)
            before, self._contents = self._contents, given.contents()
            self._vary = self._vary or (None not in (before, self._contents) and before != self._contents)
            self.source, self._given = source, given
            self._nodes = [node for each in given.data for node in nodes_in(each)]
            names = {id(value): name for name, value in _variables().items()}
            self._names = [given.name_of(each, names) for each in given.data]
        if self._position is None:
            return self.source, None
        kept, is_between = self._kept(), self._position.get("finished", False)
        parts = [part for each in given.data for part in parts_of(each).values()]
        self._came_back = any(id(each) in kept.came_back for each in parts)
        is_kept = kept.there if is_between else frozenset[int]()  # what comes before the batches has been run
        with rng.preserved(), kept_by_others(self.source, lambda each: id(each) in is_kept):
            rest = self.source.resume(self._position)
        self._position = None
        return self.source, rest

    def num_left(self, given: Given, *, done: int) -> int | None:
        """How many batches an epoch of these data has beyond those that are done; None if they do not say."""
        source = self.source if given.is_same(self._given) else None
        total = (source or self._source_of(given)).num_batches
        return None if total is None else max(0, total - done)

    def _source_of(self, given: Given) -> BatchSource:
        return batches_of_all(
            given.data,
            until=given.until,
            batch_size=given.batch_size,
            seed=given.seed,
            allow_reread=self._allow_reread,
        )

    @property
    def own_parts(self) -> list[Any]:
        """What holds the position in the data: the source, and data that keep it themselves."""
        if self.source is None or self._given is None:
            return []
        own = [each for each in self._given.data if hasattr(type(each), "state_dict")]
        return [self.source, *own, *self._nodes]

    def get_state(self, is_inside: bool) -> dict[str, Any]:
        source, saved = self.source, self._saved
        if source is None:  # as far as is known, what the checkpoint says still holds
            return {
                "contents": saved.get("contents"),
                "contents_vary": self._vary,
                "data": self._position,
                "exactness": saved.get("exactness", "exact"),
                "next_batch": saved.get("next_batch"),
                "about_data": saved.get("about_data"),
                "names": saved.get("names"),
                **({"is_foreign": True} if self.was_foreign else {}),
            }
        data = source.get_state()
        if not is_inside:  # left by a `break`, perhaps: what is left of them is not read
            data["finished"] = True
        is_foreign = foreign_state(source) is not None
        self._tell(source.exactness, is_foreign=is_foreign)
        return {
            "contents": self._contents if is_inside else None,
            "contents_vary": self._vary,
            "data": data,
            "exactness": source.exactness,
            "next_batch": source.fingerprint() if is_inside else None,
            "about_data": source.describe(),
            "names": self._names,
            **({"is_foreign": True} if is_foreign else {}),
        }

    def _tell(self, exactness: str, *, is_foreign: bool) -> None:
        """Say at the first save, and not only at a resume, that none will be exact."""
        if exactness.startswith("not exact: ") and exactness != self._told and not is_foreign:
            self._told = exactness
            logger.warning(
                "no resume in the middle of an epoch will be exact: %s", exactness.removeprefix("not exact: ")
            )

    def set_state(self, saved: Mapping[str, Any]) -> None:
        self._given = self.source = self._contents = None
        self._saved, self._position, self._vary = saved, saved["data"], saved.get("contents_vary", False)
        self._told = saved.get("exactness", "")  # which the run before has said, and the verdict says

    def ahead(self, is_inside: bool) -> Ahead:
        """The next batch, and the generators of the loader."""
        if self.source is None:
            return Ahead()
        own = {f"data: {name}": each for name, each in self.source.generators.items()}
        return Ahead(self.source.fingerprint() if is_inside else None, own)

    def is_foreign(self) -> bool:
        """Whether the position is in a state of somebody else's making; see `foreign_state`."""
        return self.source is not None and foreign_state(self.source) is not None

    @property
    def was_foreign(self) -> bool:
        """The same, of the data of the checkpoint."""
        return bool(self._saved.get("is_foreign"))

    def differences(self, is_inside: bool, *, is_measured: bool) -> list[str]:
        """What keeps the data from resuming exactly, as far as is known yet.

        `is_measured`: the next batch is compared with the one that would have come, so that a foreign state needs no belief.
        """
        exactness = self._saved["exactness"]
        is_believed = exactness == "exact" or (self.was_foreign and is_measured)
        found = [] if is_believed else [exactness.removeprefix("not exact: ")]
        source, about = self.source, self._saved.get("about_data")
        if source is None:
            return found
        if not is_measured and (foreign := foreign_state(source)) is not None:
            found.append(foreign)
        found += source.differences
        if is_inside and self._saved["next_batch"] != source.fingerprint():
            found.append(ANOTHER_BATCH)
        contents = self._saved.get("contents")
        if is_inside and None not in (contents, self._contents) and contents != self._contents:
            return [*found, _MADE_OTHERWISE]
        is_made_anew = self._vary and self._given is not None and self._given.are_made_in_loop
        if not is_inside and (is_made_anew or self._came_back):  # `about` is of the epoch that was over
            return found
        return found if about is None else found + differences_of(about, source.describe())

    def differences_when_over(self, given: Given | None) -> list[str]:
        """Of a run that has nothing left to train: whether the data of its script are those of before.

        `given`: to the loop. Without one those are looked at that are in the variables of the names of before.
        """
        saved = self._saved.get("about_data")
        about = saved if isinstance(saved, Mapping) else {}
        if given is not None:
            return differences_of(about, self._source_of(given).describe())
        there, names = _variables(), self._saved.get("names") or ()
        each_about = (
            [about] if len(names) == 1 else [about.get(f"loader {at + 1}", {}) for at in range(len(names))]
        )
        if any(name not in there for name in names):
            return [_NOT_COMPARED]
        for name, of_one in zip(names, each_about, strict=True):
            if differences_of(of_one, HeldValues(dataset_of(there[name])).facts()):
                return [f"the data's values have changed: {name} holds others than the run was trained on"]
        return []


def _variables() -> dict[str, Any]:
    """Those of the script by name, of the innermost function first."""
    found: dict[str, Any] = {}
    for scope in scopes():
        found = {**scope.variables(), **found}
    return found


def check_position(source: BatchSource, policy: Checkpointing) -> None:
    """At the first batch, and not at a resume weeks later: data that cannot resume where the policy saves.

    Raises:
        UsageError: the policy saves at batches, and no such save could be resumed within an epoch.
    """
    if (kind := without_position(source)) is None:
        return
    cannot = (
        f"{kind} has neither a sampler nor a state, so a save in the middle of an epoch cannot be resumed"
    )
    ways = (
        "a DataLoader over a map-style dataset or torchdata's StatefulDataLoader can; allow_reread=True reads the epoch again "
        "up to there"
    )
    at_batches = [hook for hook in policy.save_on if hook.startswith("batch_")]
    if at_batches:
        raise UsageError(
            f"the policy saves on {' and '.join(at_batches)}, and {cannot}. {ways[0].upper()}{ways[1:]}; or save on epoch_end."
        )
    is_timed = any(not any(isinstance(each, Every) for each in term) for term in policy.when.terms)
    if is_timed or policy.signals:
        logger.warning("%s: %s", cannot, ways)
