"""What cannot be saved is refused before anything is trained, and with nothing changed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import holdfast
from holdfast import Callback, Run, Seconds
from holdfast.errors import UnsupportedStateError, UsageError
from tests.support.small_loop import policy
from tests.support.small_runs import experiment, on_disk
from tests.support.small_runs import train as phase


class Buffer:
    """A replay buffer, a tokenizer, a config object: without a protocol."""

    def __init__(self) -> None:
        self.rows = np.zeros(3)


@pytest.mark.parametrize(
    ("objects", "named"),
    [
        ({"buffer": Buffer()}, "'buffer'"),
        ({"state": {"deep": [1, {"buffer": Buffer()}]}}, "'state/deep/1/buffer'"),
        ({"names": np.array(["a", object()], dtype=object)}, "'names/items/1'"),
    ],
)
def test_a_run_refuses_it_when_it_is_entered(tmp_path, objects, named):
    directory, trained = tmp_path / "run", []
    with (
        pytest.raises(UnsupportedStateError, match=named),
        holdfast.Run(directory, {"w": np.zeros(4), **objects}, checkpointing=policy()) as run,
    ):
        trained.extend(run.epochs(3))
    assert not trained
    assert holdfast.scan(directory) == []


def test_what_the_policy_leaves_out_need_not_be_savable(tmp_path):
    left_out = policy(exclude="buffer")
    with holdfast.Run(tmp_path, {"w": np.zeros(4), "buffer": Buffer()}, checkpointing=left_out) as run:
        assert list(run.epochs(2)) == [0, 1]


def test_it_is_refused_before_a_resume_changes_anything(tmp_path):
    with holdfast.Run(tmp_path, {"w": np.ones(2), "b": [1]}, checkpointing=policy()) as run:
        assert list(run.epochs(1)) == [0]
    weight = np.zeros(2)
    with (
        pytest.raises(UnsupportedStateError, match="'b/0'"),
        holdfast.Run(tmp_path, {"w": weight, "b": [Buffer()]}, checkpointing=policy()),
    ):
        pass
    assert not weight.any()


def test_an_experiment_refuses_it_before_its_first_batch(tmp_path):
    class Stubborn(Callback):
        started = 0

        def get_state(self):
            return {"buffer": Buffer()}

        def on_batch_start(self, context):
            Stubborn.started += 1

    one = experiment(tmp_path, phase(n_epochs=1, callbacks=[Stubborn()], checkpointing=on_disk()))
    with pytest.raises(UnsupportedStateError, match="buffer"):
        one.run()
    assert not Stubborn.started


class TestDataWithoutAPosition:
    """They are refused at the first batch, not at a resume in the middle of an epoch."""

    class Stream:
        def __iter__(self):
            return iter(range(4))

    def train(self, directory: Path, data: object, **options: object) -> list[object]:
        more = {"allow_reread": options.pop("allow_reread", False)}
        with Run(directory, {"w": [0.0]}, checkpointing=policy(**options), **more) as run:
            return [each for _ in run.epochs(2) for each in run.batches(data)]

    @pytest.mark.parametrize("hooks", ["batch_end", "batch_start", ["batch_end", "epoch_end"]])
    def test_where_the_policy_saves_at_batches(self, hooks, tmp_path):
        with pytest.raises(UsageError, match=r"Stream has neither a sampler nor a state.*allow_reread=True"):
            self.train(tmp_path, self.Stream(), save_on=hooks)
        assert not [*tmp_path.glob("*.ckpt.mml")]

    def test_not_where_it_saves_at_epochs(self, tmp_path, caplog):
        assert len(self.train(tmp_path, self.Stream(), save_on="epoch_end")) == 8
        assert "neither a sampler" not in caplog.text

    def test_not_where_they_may_be_read_again_or_have_a_position(self, tmp_path):
        assert len(self.train(tmp_path / "1", self.Stream(), save_on="batch_end", allow_reread=True)) == 8
        assert len(self.train(tmp_path / "2", [1, 2], save_on="batch_end")) == 4

    @pytest.mark.parametrize(
        "options", [{"when": Seconds(900)}, {"save_on_preemption": True, "save_on": "epoch_end"}]
    )
    def test_where_it_may_save_at_any_time_a_warning_says_so(self, options, tmp_path, caplog):
        self.train(tmp_path, self.Stream(), **options)
        assert caplog.text.count("Stream has neither a sampler nor a state") == 1

    def test_an_epoch_that_was_left_early_resumes_at_its_end(self, tmp_path):
        def train(n_epochs: int) -> list[object]:
            seen: list[object] = []
            with Run(tmp_path, {"w": [0.0]}, checkpointing=policy(save_on="epoch_end")) as run:
                for _ in run.epochs(n_epochs):
                    for batch in run.batches(self.Stream()):
                        seen.append(batch)
                        if batch == 1:
                            break
            return seen

        assert train(1) == [0, 1]
        assert train(3) == [0, 1] * 3


def test_an_object_may_have_the_name_of_an_argument(tmp_path):
    names = ("directory", "state", "strict", "label", "resume", "checkpointing", "verify", "only", "into")
    with Run(tmp_path, {name: np.ones(1) for name in names}, checkpointing=policy()) as run:
        assert list(run.epochs(1)) == [0]
    live = {name: np.zeros(1) for name in names}
    with Run(tmp_path, live, checkpointing=policy()):
        assert all(live[name] == 1 for name in names)
    for name in ("run", "results", "random", "variables"):
        with pytest.raises(UsageError, match=f"cannot have an object called '{name}'"):
            Run(tmp_path, {name: np.zeros(1)})


@pytest.mark.medium
def test_a_sampler_that_shares_its_random_numbers_is_named_at_the_first_save(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    torch: Any = pytest.importorskip("torch")

    class Lazy(torch.utils.data.Sampler):
        def __iter__(self) -> Iterator[list[int]]:
            for _ in range(4):
                yield random.sample(range(8), 2)

        def __len__(self) -> int:
            return 4

    loader = torch.utils.data.DataLoader(torch.arange(8.0), batch_sampler=Lazy())
    with Run(tmp_path, {"w": np.zeros(1)}, checkpointing=holdfast.Checkpointing(save_on="batch_end")) as run:
        for _ in run.epochs(2):
            for _ in run.batches(loader):
                random.random()
                said = [each for each in caplog.messages if "draws from a global generator" in each]
                assert len(said) == (run.step > 0)
