"""A Lightning run that is stopped goes on as if nothing had happened; what Lightning saves itself is safe in bundles."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

pytest.importorskip("lightning")

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

import holdfast
from holdfast import Checkpointing, errors
from holdfast.integrations.lightning import HoldfastCallback, HoldfastCheckpointIO
from tests.support.integrations.cases.lightning_case import Small, loaders, trainer
from tests.support.integrations.crashing import Crash, beats
from tests.support.integrations.divergence import check_rollback
from tests.support.integrations.pair import check_a_pair_resumes

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(does not have many workers|set_vital|litlogger|GPU available|LeafSpec|exists and is not empty).*"
)
NUM_BATCHES = 40


def policy(**options) -> Checkpointing:
    return Checkpointing(**{"mode": "disk", "save_on": ["batch_end", "epoch_end"], "every_n": 3, **options})


def fit(
    directory, crash_at: int | None = None, *, saving=None, num_workers: int = 0, ckpt_path=None, **options
) -> HoldfastCallback:
    pl.seed_everything(1, verbose=False)
    callback = HoldfastCallback(directory, checkpointing=saving or policy(), **options)
    trainer(callback).fit(Small(beats(crash_at)), *loaders(num_workers), ckpt_path=ckpt_path)
    return callback


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> str:
    return fit(tmp_path_factory.mktemp("uninterrupted")).state_digest()


def test_saving_changes_nothing(tmp_path):
    models = []
    for callbacks in ([], [HoldfastCallback(tmp_path, checkpointing=policy())]):
        pl.seed_everything(1, verbose=False)
        models.append(Small())
        trainer(*callbacks, enable_checkpointing=bool(callbacks)).fit(models[-1], *loaders())
    stock, held = (list(model.parameters()) for model in models)
    assert all(map(torch.equal, stock, held))


@pytest.mark.parametrize("crash_at", [1, 7, 10, 11, 20, 27, 40])
def test_a_run_that_crashes_ends_as_an_uninterrupted_one(crash_at, uninterrupted, tmp_path):
    with pytest.raises(Crash):
        fit(tmp_path, crash_at)
    callback = fit(tmp_path)
    if crash_at > 3:
        assert callback.last_resume is not None
        assert callback.last_resume.verdict == "exact"
    assert callback.state_digest() == uninterrupted


@pytest.mark.parametrize("hook", ["phase_start", "epoch_start", "epoch_end", "batch_start", "batch_end"])
def test_every_hook_is_a_place_to_resume_from(hook, uninterrupted, tmp_path):
    saving = {"save_on": hook, "every_n": 1}
    with pytest.raises(Crash):
        fit(tmp_path, 24, saving=policy(**saving))
    callback = fit(tmp_path, saving=policy(**saving))
    assert callback.last_resume is not None
    assert callback.state_digest() == uninterrupted


def check_resuming(train, tmp_path, crash_points, verdict="exact"):
    wanted = train(tmp_path / "uninterrupted").state_digest()
    for crash_at in crash_points:
        with pytest.raises(Crash):
            train(tmp_path / str(crash_at), crash_at)
        callback = train(tmp_path / str(crash_at))
        assert callback.last_resume is not None
        assert callback.last_resume.verdict == verdict
        assert callback.state_digest() == wanted


class Unfreezing(pl.callbacks.BaseFinetuning):
    def freeze_before_training(self, pl_module):
        self.freeze(pl_module.layers[0])

    def finetune_function(self, pl_module, epoch, optimizer):
        if epoch == 1:
            self.make_trainable(pl_module.layers[0])


CHANGING = {
    "accumulation": lambda: pl.callbacks.GradientAccumulationScheduler({0: 1, 1: 3, 2: 2}),
    "averages in the place of weights": lambda: pl.callbacks.WeightAveraging(),
    "a schedule of its own": lambda: pl.callbacks.StochasticWeightAveraging(0.1, swa_epoch_start=2),
    "what is trained": Unfreezing,
}


@pytest.mark.medium
@pytest.mark.parametrize("what", CHANGING)
def test_what_a_callback_changes_at_an_epochs_start_or_in_a_checkpoint_resumes(what, tmp_path):
    if what.startswith("averages") and not hasattr(pl.callbacks, "WeightAveraging"):
        pytest.skip("this Lightning has no WeightAveraging")

    def train(directory, crash_at=None):
        pl.seed_everything(1, verbose=False)
        callback = HoldfastCallback(directory, checkpointing=policy(every_n=1))
        model = Small(beats(crash_at))
        trainer(CHANGING[what](), callback, accumulate_grad_batches=1).fit(model, *loaders())
        return callback

    check_resuming(train, tmp_path, crash_points=(21, 24))  # after two epochs, and within the third


@pytest.mark.medium
def test_metrics_stay_in_the_precision_of_the_training(tmp_path):
    def train(directory, crash_at=None):
        pl.seed_everything(1, verbose=False)
        callback = HoldfastCallback(directory, checkpointing=policy())
        trainer(callback, precision="64-true").fit(Small(beats(crash_at)), *loaders())
        return callback.state_digest()

    with pytest.raises(Crash):
        train(tmp_path / "crashed", 24)
    assert train(tmp_path / "crashed") == train(tmp_path / "uninterrupted")


def test_pruned_weights_are_not_called_exact(tmp_path):
    def train(crash_at=None):
        pl.seed_everything(1, verbose=False)
        callback = HoldfastCallback(tmp_path, checkpointing=policy())
        pruning = pl.callbacks.ModelPruning("l1_unstructured", amount=0.2)
        trainer(pruning, callback).fit(Small(beats(crash_at)), *loaders())
        return callback

    with pytest.raises(Crash):
        train(24)
    callback = train()
    assert callback.last_resume is not None
    assert "ModelPruning" in callback.last_resume.verdict


class Stream(torch.utils.data.IterableDataset):
    """Has no length; says where it is, as torchdata's loader asks."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.order, self.next, self.continues = torch.arange(0), 0, False

    def __iter__(self):
        if not self.continues:
            self.order, self.next = torch.randperm(40, generator=self.generator), 0
        self.continues = False
        while self.next < 40:
            x = torch.full((6,), float(self.order[self.next]) / 40)
            self.next += 1
            yield x, x.sum(0, keepdim=True)

    def state_dict(self):
        return {"generator": self.generator.get_state(), "order": self.order, "next": self.next}

    def load_state_dict(self, state):
        self.generator.set_state(state["generator"])
        self.order, self.next, self.continues = state["order"], state["next"], True


@pytest.mark.medium
def test_the_batch_that_lightning_has_read_ahead_of_a_stream_is_trained(tmp_path):
    stateful = pytest.importorskip("torchdata.stateful_dataloader")

    def train(directory, crash_at=None):
        pl.seed_everything(1, verbose=False)
        callback = HoldfastCallback(directory, checkpointing=policy())
        stream = stateful.StatefulDataLoader(Stream(), batch_size=4)
        trainer(callback).fit(Small(beats(crash_at)), stream, loaders()[1])
        return callback

    not_known = "not exact: whether all that decides the next batch comes back with Stream is not known"
    check_resuming(train, tmp_path, crash_points=(5, 24), verdict=not_known)


class Growing(pl.LightningDataModule):
    """Has more samples in each epoch, so that loaders are made anew."""

    def train_dataloader(self):
        assert self.trainer is not None
        data = torch.utils.data.Subset(loaders()[0].dataset, range(20 + 4 * self.trainer.current_epoch))
        return torch.utils.data.DataLoader(data, batch_size=4, shuffle=True)

    def val_dataloader(self):
        return loaders()[1]


@pytest.mark.medium
@pytest.mark.parametrize("crash_at", [6, 8])  # after an epoch, and within one
def test_loaders_that_are_made_anew_every_epoch_resume(crash_at, tmp_path):
    def train(directory, crash_at=None):
        pl.seed_everything(1, verbose=False)
        callback = HoldfastCallback(directory, checkpointing=policy(every_n=1))
        anew = {"reload_dataloaders_every_n_epochs": 1}
        trainer(callback, **anew).fit(Small(beats(crash_at)), datamodule=Growing())
        return callback

    with pytest.raises(Crash):
        train(tmp_path / "crashed", crash_at)
    assert train(tmp_path / "crashed").state_digest() == train(tmp_path / "uninterrupted").state_digest()


def test_data_that_cannot_resume_are_told_of_by_name(tmp_path):
    with pytest.raises(Crash):
        fit(tmp_path, 8)
    pl.seed_everything(1, verbose=False)
    others = torch.utils.data.DataLoader(
        torch.utils.data.Subset(loaders()[0].dataset, range(20)), batch_size=4, shuffle=True
    )
    with pytest.raises(errors.UsageError, match="sampler ends after 5 batches"):
        trainer(HoldfastCallback(tmp_path, checkpointing=policy())).fit(Small(), others, loaders()[1])


@pytest.mark.slow
def test_loaders_with_workers_resume_exactly(tmp_path):
    wanted = fit(tmp_path / "uninterrupted", num_workers=2).state_digest()
    with pytest.raises(Crash):
        fit(tmp_path / "crashed", 17, num_workers=2)
    callback = fit(tmp_path / "crashed", num_workers=2)
    assert callback.last_resume is not None
    assert (callback.last_resume.verdict, callback.state_digest()) == ("exact", wanted)


def test_a_bundle_is_a_ckpt_path(uninterrupted, tmp_path):
    fit(tmp_path, saving=policy())
    first = holdfast.scan(tmp_path)[0]
    callback = fit(tmp_path, ckpt_path=first.path)
    assert callback.last_resume is not None
    assert callback.last_resume.path == first.path
    assert callback.state_digest() == uninterrupted


def test_a_finished_run_trains_nothing_when_run_again(uninterrupted, tmp_path):
    saving = {"save_on": "phase_end", "every_n": 1}
    assert fit(tmp_path, saving=policy(**saving)).state_digest() == uninterrupted
    assert fit(tmp_path, crash_at=1, saving=policy(**saving)).state_digest() == uninterrupted


def test_bundles_of_a_run_serve_for_testing_too(tmp_path):
    fit(tmp_path)
    model = Small()
    tester = trainer(HoldfastCallback(tmp_path, checkpointing=policy()))
    [metrics] = tester.validate(
        model, loaders()[1], ckpt_path=holdfast.scan(tmp_path)[-1].path, verbose=False
    )
    weights = holdfast.open(holdfast.scan(tmp_path)[-1])["lightning/model"]
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert metrics["val_loss"] > 0


def test_what_model_checkpoint_saves_is_in_bundles_and_is_read_checked(tmp_path):
    def run(max_epochs: int, ckpt_path=None) -> tuple[Small, ModelCheckpoint]:
        pl.seed_everything(1, verbose=False)
        saving = ModelCheckpoint(tmp_path, save_top_k=2, monitor="loss_epoch", save_last=True)
        saving.FILE_EXTENSION = ".ckpt.mml"
        model = Small()
        made = trainer(saving, max_epochs=max_epochs, plugins=[HoldfastCheckpointIO()])
        made.fit(model, *loaders(), ckpt_path=ckpt_path)
        return model, saving

    _, saving = run(3)
    listed = holdfast.scan(tmp_path)
    assert len(listed) == 3
    assert Path(saving.best_model_path) in [Path(each.path) for each in listed]
    newest = HoldfastCheckpointIO.newest(tmp_path)
    assert newest == listed[-1].path
    model, _ = run(4, ckpt_path=newest)
    assert model.trainer.current_epoch == 4
    record = holdfast.scan(tmp_path)[-1].record
    assert record
    with open(f"{holdfast.scan(tmp_path)[-1].path}/{record.packs[-1].name}", "r+b") as pack:
        pack.seek(-8, 2)
        pack.write(b"\xff" * 8)
    assert HoldfastCheckpointIO.newest(tmp_path) == holdfast.scan(tmp_path)[-2].path


def test_a_path_with_the_suffix_of_lightning_means_a_bundle(tmp_path):
    plugin, path = HoldfastCheckpointIO(), tmp_path / "last.ckpt"
    plugin.save_checkpoint({"state_dict": {}, "epoch": 3}, path)
    assert [Path(each.path).name for each in holdfast.scan(tmp_path)] == ["last.ckpt.mml"]
    assert plugin.load_checkpoint(path)["epoch"] == 3
    plugin.remove_checkpoint(path)
    assert not holdfast.scan(tmp_path)
    plugin.teardown()


def test_a_second_run_in_the_same_directory_is_told_who_runs_there(tmp_path):
    class Meanwhile(pl.Callback):
        def on_train_start(self, *details) -> None:
            fit(tmp_path)

    pl.seed_everything(1, verbose=False)
    with pytest.raises(errors.RunActiveError):
        trainer(Meanwhile(), HoldfastCallback(tmp_path, checkpointing=policy())).fit(Small(), *loaders())
    fit(tmp_path)  # both have let go


class NonFinite(Small):
    """Its weights become NaN after so many batches, once."""

    def __init__(self, at: int | None) -> None:
        super().__init__()
        self._at, self._count = at, itertools.count(1)  # no plain number, which a rollback would take back

    def on_train_batch_end(self, *details) -> None:
        if next(self._count) == self._at:
            next(self.parameters()).data.fill_(float("nan"))


def fit_non_finite(directory, at: int | None, **options) -> HoldfastCallback:
    pl.seed_everything(1, verbose=False)
    callback = HoldfastCallback(directory, checkpointing=policy(**options))
    trainer(callback).fit(NonFinite(at), *loaders())
    return callback


@pytest.mark.parametrize("at", [17, 40])  # the last of these is found when all is over
def test_a_run_that_diverges_goes_back_and_ends_as_one_that_began_there(at, tmp_path, monkeypatch):
    def train(directory, diverges) -> HoldfastCallback:
        return fit_non_finite(directory, at if diverges else None, on_divergence="rollback")

    check_rollback(train, tmp_path, monkeypatch)


def test_a_rollback_is_told_of_once_all_is_as_in_the_checkpoint(tmp_path):
    pl.seed_everything(1, verbose=False)
    told = []

    def lower(callback: HoldfastCallback) -> None:
        told.append((callback.last_resume.record.moment.step, made.global_step))
        assert all(each.isfinite().all() for each in made.lightning_module.parameters())
        for group in made.optimizers[0].param_groups:
            group["weight_decay"] = 0.125

    callback = HoldfastCallback(tmp_path, checkpointing=policy(on_divergence="rollback"), on_rollback=lower)
    made = trainer(callback)
    made.fit(NonFinite(17), *loaders())
    assert len(told) == 1
    assert told[0][0] == told[0][1] > 0
    assert made.optimizers[0].param_groups[0]["weight_decay"] == 0.125


def test_without_a_policy_it_saves_by_the_default_one(tmp_path):
    def fit_by_default(name: str, crash_at: int | None = None) -> HoldfastCallback:
        pl.seed_everything(1, verbose=False)
        callback = HoldfastCallback(tmp_path / name)
        trainer(callback).fit(Small(beats(crash_at)), *loaders())
        return callback

    with pytest.raises(Crash):
        fit_by_default("crashed", crash_at=25)
    resumed, wanted = fit_by_default("crashed"), fit_by_default("uninterrupted")
    assert resumed.last_resume is not None
    assert (resumed.last_resume.verdict, resumed.state_digest()) == ("exact", wanted.state_digest())
    assert 1 <= len(holdfast.scan(tmp_path / "crashed")) <= 3


def test_a_run_that_diverges_stops_or_is_warned_of(tmp_path, caplog):
    with pytest.raises(errors.DivergenceError, match="train_epoch1_batch4"):
        fit_non_finite(tmp_path / "stop", 17, on_divergence="stop")
    fit_non_finite(tmp_path / "warn", 17, on_divergence="warn")
    assert "the run is diverging" in caplog.text


@pytest.mark.medium
def test_the_best_score_of_an_early_stopping_is_not_non_finite(tmp_path):
    fit(tmp_path, saving=policy(save_on="batch_start", every_n=1, on_divergence="stop"))
    assert not any("health" in each.record.details for each in holdfast.scan(tmp_path) if each.record)


@pytest.mark.slow
def test_two_processes_that_are_killed_or_told_to_leave_resume_as_two_uninterrupted_ones(tmp_path):
    check_a_pair_resumes("lightning_ddp.py", 23, tmp_path)
