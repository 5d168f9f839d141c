"""Iterables of Hugging Face's `datasets` keep a state of their own: an epoch goes on at the batch where it was left."""

from __future__ import annotations

import os

import pytest

if "HF_DATASETS_OFFLINE" not in os.environ:
    os.environ["HF_DATASETS_OFFLINE"] = "1"
datasets = pytest.importorskip("datasets")

import holdfast  # noqa: E402
from holdfast import Checkpointing  # noqa: E402
from holdfast.data import batches_of  # noqa: E402

ROWS = 23


def plain():
    return datasets.Dataset.from_dict({"x": list(range(ROWS))}).to_iterable_dataset(num_shards=2)


KINDS = {
    "in order": lambda: plain().batch(4),
    "mapped and filtered": lambda: (
        plain().map(lambda row: {"y": row["x"] ** 2}).filter(lambda row: row["x"] % 3).batch(2)
    ),
    "shuffled": lambda: plain().shuffle(seed=3, buffer_size=5).batch(4),
    "shuffled in a large buffer": lambda: plain().shuffle(seed=3, buffer_size=100).batch(4),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_iterable_resumes_at_every_batch_and_in_the_epochs_after(kind):
    source = batches_of(KINDS[kind](), raw=True)
    expected = [list(source.begin(0)), list(source.begin(1))]
    for k in range(len(expected[0]) + 1):
        source = batches_of(KINDS[kind](), raw=True, allow_reread=True)
        taken = source.begin(0)
        assert [next(taken) for _ in range(k)] == expected[0][:k]
        state = source.get_state()
        again = batches_of(KINDS[kind](), raw=True, allow_reread=True)
        assert [*again.resume(state)] == expected[0][k:], f"after {k} batches"
        assert [*again.begin(1)] == expected[1]


def test_what_a_shuffle_buffer_forgets_is_said():
    assert batches_of(KINDS["mapped and filtered"](), raw=True).exactness == "exact"
    assert "a shuffle buffer" in batches_of(KINDS["shuffled"](), raw=True).exactness


def test_a_shuffled_one_has_another_order_in_each_epoch():
    source = batches_of(KINDS["shuffled"](), raw=True)
    assert list(source.begin(0)) != list(source.begin(1))


@pytest.mark.parametrize("kind", ["in order", "mapped and filtered"])
def test_a_run_that_is_interrupted_twice_goes_through_each_row_once(kind, tmp_path):
    """datasets 5.0.0 began again at the second resume (huggingface/datasets#8308)."""

    def train(stop=None):
        seen = []
        with holdfast.Run(tmp_path, {"seen": seen}, checkpointing=Checkpointing(save_on="batch_end")) as run:
            data = KINDS[kind]()
            for _ in run.epochs(1):
                for batch in run.batches(data):
                    seen.append(batch["x"][0])
                    if run.step == stop:
                        raise InterruptedError
        return seen, run.last_resume

    for stop in (1, 3):
        with pytest.raises(InterruptedError):
            train(stop)
    seen, resumed = train()
    assert seen == [batch["x"][0] for batch in KINDS[kind]()]
    assert resumed.verdict == "exact"
