"""Trainers derived from transformers' keep more than it saves: buffers, counters, other models, optimizers of their own."""

from __future__ import annotations

import importlib
import sys
import textwrap

import pytest

pytest.importorskip("transformers")

import torch
import transformers

from holdfast import Checkpointing
from holdfast.integrations.transformers import hold
from tests.support.integrations.crashing import Crash

pytestmark = pytest.mark.filterwarnings("ignore")  # the frameworks' own
SIZES = {"vocab_size": 20, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 2}
LIBRARY = textwrap.dedent(
    """
    import copy
    from collections import defaultdict, deque

    import torch
    from transformers import Trainer, TrainerCallback


    class Memory:
        def __init__(self):
            self.rows = deque(maxlen=4)


    class Distilling(Trainer):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.teacher = copy.deepcopy(self.model)
            self.head = torch.nn.Linear(20, 20)
            self.head_optimizer = torch.optim.Adam(self.head.parameters(), 1e-2)
            self.kept = None
            self.seen = 0
            self.weight = 0.5
            self.memory = Memory()
            self.sums = {"train": defaultdict(list)}

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            if self.kept is None or not self.kept:
                self.kept = [{name: each.clone() for name, each in inputs.items()} for _ in range(3)]
            self.seen += 1
            batch = self.kept.pop()
            out = model(**batch)
            with torch.no_grad():
                for mine, other in zip(self.teacher.parameters(), model.parameters()):
                    mine.data.mul_(0.9).add_(other.data, alpha=0.1)
                taught = self.teacher(**batch).logits
            self.head_optimizer.zero_grad()
            (self.head(taught) - out.logits.detach()).square().mean().backward()
            self.head_optimizer.step()
            self.sums["train"]["loss"].append(float(out.loss))
            self.memory.rows.append((self.seen, out.logits.detach().mean()))
            pull = (out.logits - self.head(taught).detach()).square().mean()
            loss = out.loss + pull * self.weight * (1 + 0.01 * len(self.sums["train"]["loss"]))
            loss = loss + 0.01 * sum(each for _, each in self.memory.rows) * out.logits.mean()
            return (loss, out) if return_outputs else loss


    class Averaging(TrainerCallback):
        def __init__(self):
            self.mine, self.average = [], []

        def on_train_begin(self, args, state, control, model, **more):
            self.mine = list(model.parameters())
            self.average = [each.detach().clone() for each in self.mine]

        def on_step_end(self, args, state, control, **more):
            for each, mine in zip(self.average, self.mine):
                each.mul_(0.5).add_(mine.detach(), alpha=0.5)
    """
)


class Stop(transformers.TrainerCallback):
    def __init__(self, at):
        self.at = at

    def on_step_end(self, args, state, control, **more):
        if state.global_step == self.at:
            raise Crash


@pytest.fixture(params=["a library's", "the script's"])
def library(request, tmp_path, monkeypatch):
    """Classes as an installed package has them, and as a script has."""
    folder = tmp_path / ("site-packages" if request.param == "a library's" else "script")
    folder.mkdir()
    (folder / "distilling.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()
    yield importlib.import_module("distilling")
    del sys.modules["distilling"]


def train(directory, library, crash_at=None, weight=0.5, change=None):
    transformers.set_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**SIZES, bos_token_id=0, eos_token_id=0))
    texts = torch.randint(0, 20, (24, 8), generator=torch.Generator().manual_seed(0)).tolist()
    args = transformers.TrainingArguments(
        str(directory),
        num_train_epochs=2,
        per_device_train_batch_size=2,
        learning_rate=1e-2,
        logging_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    averaging = library.Averaging()
    trainer = library.Distilling(
        model,
        args,
        train_dataset=[{"input_ids": each, "labels": each} for each in texts],
        callbacks=[averaging, Stop(crash_at)],
    )
    trainer.weight = weight
    if change is not None:
        change(trainer)
    held = hold(trainer, checkpointing=Checkpointing(save_on=["batch_end", "epoch_end"]))
    trainer.train()
    return held, trainer, averaging


@pytest.mark.medium
def test_what_they_keep_comes_back(library, tmp_path):
    _, expected, average = train(tmp_path / "a", library)
    for at in (8, 13):
        with pytest.raises(Crash):
            train(tmp_path / "b", library, at)
    held, trainer, again = train(tmp_path / "b", library)
    assert held.last_resume.rank.name == "EXACT"
    for name in ("model", "teacher", "head"):
        pairs = zip(getattr(trainer, name).parameters(), getattr(expected, name).parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs), name
    assert trainer.seen == expected.seen
    assert trainer.sums == expected.sums
    assert all(map(torch.equal, again.average, average.average))
    assert all(one is other for one, other in zip(again.mine, trainer.model.parameters(), strict=True))


@pytest.mark.medium
def test_what_a_script_sets_and_nothing_changes_stays_the_scripts(library, tmp_path):
    with pytest.raises(Crash):
        train(tmp_path, library, 8)
    _, trainer, _ = train(tmp_path, library, weight=0.25)
    assert trainer.weight == 0.25


def test_a_frozen_model_that_is_another_is_named(library, tmp_path):
    def judged_by(scale):
        def change(trainer):
            trainer.memory.judge = torch.nn.Linear(2, 2)
            torch.nn.init.constant_(trainer.memory.judge.weight, scale)
            torch.nn.init.zeros_(trainer.memory.judge.bias)

        return change

    if "site-packages" not in library.__file__:
        pytest.skip("what lies in objects of the script is among its variables")
    with pytest.raises(Crash):
        train(tmp_path, library, 8, change=judged_by(0.0))
    held, *_ = train(tmp_path, library, change=judged_by(1.0))
    said = "the weights of 'trainer.memory.judge' are others than those that the run began with"
    assert said in held.last_resume.differences


@pytest.mark.medium
def test_another_seed_is_named_and_the_order_of_the_samples_stays(tmp_path):
    from tests.integrations.test_changed_settings import train_transformers

    _, expected = train_transformers(tmp_path / "a")
    with pytest.raises(RuntimeError, match="a cable"):
        train_transformers(tmp_path / "b", crash_at=8)
    held, trainer = train_transformers(tmp_path / "b", seed=7)
    assert held.last_resume.kept == ("seed is 42 (the script says 7)",)
    assert all(map(torch.equal, trainer.model.parameters(), expected.model.parameters()))
    assert trainer.args.seed == 7


class Numbers(torch.utils.data.IterableDataset):
    """A stream without a place, which is begun anew each time."""

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        for _ in range(24):
            ids = torch.randint(0, 20, (8,), generator=generator)
            yield {"input_ids": ids, "labels": ids}


def stream(directory, crash_at=None, **options):
    transformers.set_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**SIZES, bos_token_id=0, eos_token_id=0))
    args = transformers.TrainingArguments(
        str(directory),
        max_steps=16,
        per_device_train_batch_size=2,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = transformers.Trainer(model, args, train_dataset=Numbers(), callbacks=[Stop(crash_at)])
    held = hold(trainer, checkpointing=Checkpointing(save_on=["batch_end", "epoch_end"]), **options)
    trainer.train()
    return held, trainer


@pytest.mark.medium
def test_a_stream_without_a_place_is_refused_early_or_read_again(tmp_path):
    from holdfast.errors import UsageError

    with pytest.raises(UsageError, match="allow_reread=True"):
        stream(tmp_path / "refused")
    _, expected = stream(tmp_path / "a", allow_reread=True)
    for at in (5, 14):
        with pytest.raises(Crash):
            stream(tmp_path / "b", at, allow_reread=True)
    held, trainer = stream(tmp_path / "b", allow_reread=True)
    assert "reading it again" in held.last_resume.verdict
    assert all(map(torch.equal, trainer.model.parameters(), expected.model.parameters()))
