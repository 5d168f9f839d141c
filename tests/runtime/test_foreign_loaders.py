"""A loader's state of somebody else's making is not believed: the next batch is compared with the one that came before the kill."""

from __future__ import annotations

import json
import logging
import random
from typing import Any

import numpy as np
import pytest

import holdfast
from holdfast import Checkpointing, Verdict

NOT_KNOWN = "not exact: whether all that decides the next batch comes back with {} is not known"
ANOTHER = "not exact: the data give another next batch than they would have"


class Shuffler:
    """A loader with a state: its order, and where it is in it."""

    def __init__(self) -> None:
        self.place, self.order = 0, None
        self._draw = iter(lambda: RANDOM.random(), None)  # of a generator that is found nowhere below it

    def __len__(self) -> int:
        return 6

    def __iter__(self):
        if self.place == 6 or self.order is None:
            self.place %= 6
            self.order = sorted(range(6), key=lambda _: next(self._draw))
        while self.place < 6:
            self.place += 1
            yield self.batch(self.order[self.place - 1])

    def batch(self, index: int):
        return {"x": np.arange(3) + index}

    def state_dict(self):
        return {"place": self.place, "order": self.order, "stream": RANDOM.getstate()[1]}

    def load_state_dict(self, saved) -> None:
        self.place, self.order = saved["place"], saved["order"]
        RANDOM.setstate((3, tuple(saved["stream"]), None))


class Forgetful(Shuffler):
    """It tells where it is, and forgets what its sampler drew."""

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, saved) -> None:
        self.place = saved["place"]


class Opaque(Shuffler):
    """Its batches hold what nobody can read but their own code."""

    def batch(self, index: int):
        return {"x": np.arange(3) + index, "about": memoryview(bytes([index]))}


RANDOM = random.Random()


def train(
    directory,
    kind: Any = Shuffler,
    *,
    save_on="batch_end",
    stop=None,
    epochs=3,
    seed=0,
    **options,
):
    """What was trained on, and the verdict of the resume; `stop`: at so many steps."""
    RANDOM.seed(seed)
    state = {"seen": []}
    with holdfast.Run(directory, state, checkpointing=Checkpointing(save_on=save_on), **options) as run:
        data = kind()
        for _ in run.epochs(epochs):
            for batch in run.batches(data):
                state["seen"].append(int(batch["x"][0]))
                if run.step == stop:
                    raise InterruptedError
    return state["seen"], None if run.last_resume is None else run.last_resume.verdict


def killed(directory, kind: Any = Shuffler, **how):
    with pytest.raises(InterruptedError):
        train(directory, kind, **how)


@pytest.mark.medium
@pytest.mark.parametrize("stop", [6, 9, 12])
@pytest.mark.parametrize("save_on", ["batch_end", "batch_start", "epoch_end"])
def test_a_state_that_holds_all_is_exact_once_the_next_batch_was_the_same(tmp_path, stop, save_on):
    wanted, _ = train(tmp_path / "uninterrupted", save_on=save_on)
    killed(tmp_path / "killed", stop=stop, save_on=save_on)
    killed(tmp_path / "killed", stop=stop + 1, save_on=save_on, seed=1)
    seen, verdict = train(tmp_path / "killed", save_on=save_on, seed=2)
    assert seen == wanted
    assert verdict == "exact"


@pytest.mark.medium
@pytest.mark.parametrize("stop", [2, 9])
def test_a_state_that_forgets_its_order_is_found_by_the_next_batch(tmp_path, caplog, stop):
    killed(tmp_path, Forgetful, stop=stop)
    caplog.clear()
    seen, verdict = train(tmp_path, Forgetful, seed=1)
    assert seen != train(tmp_path / "uninterrupted", Forgetful)[0]
    assert verdict == ANOTHER
    lines = [each for each in caplog.records if each.message.startswith("resumed from")]
    assert len(lines) == 1
    assert lines[0].levelno == logging.WARNING
    assert ANOTHER in lines[0].message


def test_the_verdict_is_known_only_once_the_batch_has_come(tmp_path):
    killed(tmp_path, stop=9, save_on="epoch_end")
    RANDOM.seed(1)
    with holdfast.Run(tmp_path, {"seen": []}, checkpointing=Checkpointing(save_on="epoch_end")) as run:
        data, verdicts = Shuffler(), []
        for _ in run.epochs(3):
            resumed = run.last_resume
            assert resumed is not None
            verdicts.append(resumed.rank)
            verdicts += [resumed.rank for _ in run.batches(data)]
    assert verdicts[:2] == [Verdict.NOT_COMPARED, Verdict.EXACT]
    assert set(verdicts[1:]) == {Verdict.EXACT}


@pytest.mark.parametrize("kind", [Shuffler, Forgetful])
def test_a_run_that_ended_before_the_next_batch_came_is_not_called_exact(tmp_path, kind):
    train(tmp_path, kind, epochs=1)
    _, verdict = train(tmp_path, kind, epochs=2, seed=1)
    assert verdict == NOT_KNOWN.format(kind.__name__)


def test_nor_is_one_with_nothing_left_to_train(tmp_path):
    train(tmp_path, epochs=1)
    _, verdict = train(tmp_path, epochs=1, seed=1)
    assert verdict == NOT_KNOWN.format("Shuffler")


def test_batches_that_cannot_be_told_apart_measure_nothing(tmp_path):
    killed(tmp_path, Opaque, stop=2)
    _, verdict = train(tmp_path, Opaque, seed=1)
    assert verdict == NOT_KNOWN.format("Opaque")
    assert not (tmp_path / ".next_batches").exists()


def test_an_older_checkpoint_is_measured_by_the_batch_that_came_after_it(tmp_path):
    killed(tmp_path, stop=9)
    path = next(each for each in sorted(tmp_path.glob("*.mml")) if "epoch0_batch3" in each.name)
    _, verdict = train(tmp_path, seed=1, resume=path)
    assert verdict == "exact"


@pytest.mark.parametrize("content", ["", "[1]", "[" * 100_000, '{"a": 1}', b"\xff"])
def test_a_note_that_cannot_be_read_is_no_note(tmp_path, content):
    killed(tmp_path, stop=2)
    (note,) = (tmp_path / ".next_batches").iterdir()
    note.write_bytes(content if isinstance(content, bytes) else content.encode())
    _, verdict = train(tmp_path, seed=1)
    assert verdict == NOT_KNOWN.format("Shuffler")
    assert len(json.loads(note.read_text())) > 5


def test_a_note_that_cannot_be_written_ends_no_run(tmp_path):
    tmp_path.joinpath(".next_batches").write_text("a file")
    killed(tmp_path, stop=2)
    _, verdict = train(tmp_path, seed=1)
    assert verdict == NOT_KNOWN.format("Shuffler")


def test_each_of_several_loaders_counts(tmp_path):
    def both(seed, stop=None):
        RANDOM.seed(seed)
        with holdfast.Run(tmp_path, {"seen": []}, checkpointing=Checkpointing(save_on="batch_end")) as run:
            data = Shuffler(), Forgetful()
            for _ in run.epochs(1):
                for _ in run.batches([{"x": 1}] * 6, *data):
                    if run.step == stop:
                        raise InterruptedError
        return run.last_resume and run.last_resume.verdict

    with pytest.raises(InterruptedError):
        both(0, stop=2)
    assert both(1) == ANOTHER


class Hidden:
    """A sampler that nodes read again, and that draws another order then."""

    def __iter__(self):
        draw = iter(lambda: RANDOM.random(), None)
        yield from sorted(range(6), key=lambda _: next(draw))


def test_the_order_of_a_sampler_that_nodes_read_again_is_measured(tmp_path):
    nodes = pytest.importorskip("torchdata.nodes")

    def make():
        order = Hidden()
        return nodes.Loader(nodes.Mapper(nodes.SamplerWrapper(order), lambda index: {"x": [index]}))

    killed(tmp_path, make, stop=2)
    _, verdict = train(tmp_path, make, seed=1)
    assert verdict == ANOTHER
