"""Lazy snapshots: what was at the hook is what is saved, or nothing is, and it is said why."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import holdfast
from holdfast import Checkpointing, Lazy, Write, state
from holdfast.policy import attach_to_training
from holdfast.records import Moment
from holdfast.runtime import ExperimentDirectory, Session

RUN = "f" * 32
WIDTH = 200  # a weight of 160 kB: arrays under 64 KiB are never lazy


class Loop:
    """A training loop with a lazy saver; remembers the digest that the state had at each hook."""

    def __init__(self, path: Path, make_optimizer=None, *, checked: int = 0, **policy) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, WIDTH))
        make = make_optimizer or (lambda parameters: torch.optim.AdamW(parameters, lr=0.01))
        self.optimizer = make(list(self.model.parameters()))
        self.path = path
        self.directory = ExperimentDirectory(path, RUN)
        self.directory.taking._unchecked = checked  # 0: lazy from the first save on
        options = {"write": Write(durability="process"), "snapshot": "lazy", **policy}
        self.saver = Session(
            attach_to_training(Checkpointing(mode="disk", **options)),
            "train",
            "train",
            self.directory,
            path / "train",
        )
        self.digests: dict[int, str] = {}
        self.epoch = 0

    def parts(self):
        return {"optimizer": self.optimizer, "model": self.model, "epoch": self.epoch}

    def save(self, saver: Session | None = None) -> None:
        saver = saver or self.saver
        moment = Moment(run=RUN, hook="epoch_end", phase="train", epoch=self.epoch)
        self.digests[self.epoch] = state.digest(state.capture(self.parts()))
        reason = saver.due(moment)
        if reason is not None:
            saver.save(moment, self.parts, reason=reason, metrics={})
        self.epoch += 1

    def backward(self) -> torch.Tensor:
        loss = self.model(torch.randn(8, WIDTH)).square().mean()
        loss.backward()
        return loss

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.backward()
        self.optimizer.step()

    def end(self) -> set[int]:
        """Close; the epochs that were saved, each proven to be the state at its hook."""
        self.directory.writer.wait()
        self.directory.close()
        saved = set()
        for listed in holdfast.scan(self.path):
            with holdfast.open(listed) as checkpoint:
                assert checkpoint.verify(deep=True) == []
                epoch = checkpoint["epoch"]
                assert state.digest(checkpoint.source) == self.digests[epoch], (
                    f"epoch {epoch} is not what was"
                )
                saved.add(epoch)
        return saved

    @property
    def is_lazy(self) -> bool:
        return self.directory.taking._lazy


def adamw(**options):
    return lambda parameters: torch.optim.AdamW(parameters, lr=0.01, **options)


@pytest.mark.parametrize("checked", [0, 2])
@pytest.mark.parametrize(
    "make_optimizer",
    [
        adamw(foreach=False),
        adamw(foreach=True),
        adamw(fused=True),  # whose writes no version counter sees: they come after the seal
        lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
    ],
    ids=["single", "foreach", "fused", "momentum"],
)
def test_every_lazy_save_holds_the_state_at_its_hook_bit_for_bit(tmp_path, make_optimizer, checked):
    loop = Loop(tmp_path, make_optimizer, checked=checked)
    for _ in range(5):
        loop.step()
        loop.save()
    assert loop.end() == {0, 1, 2, 3, 4}
    assert loop.is_lazy
    assert loop.directory.accounting.dropped == 0


def test_nothing_is_committed_before_the_optimizer_is_about_to_step(tmp_path):
    loop = Loop(tmp_path)
    loop.step()
    loop.save()
    loop.optimizer.zero_grad()
    loop.backward()
    assert loop.directory.writer.is_busy
    assert holdfast.scan(tmp_path) == []
    loop.optimizer.step()
    assert loop.end() == {0}


def test_parameters_and_optimizer_state_are_lazy_and_nothing_else(tmp_path):
    loop = Loop(tmp_path)
    loop.step()
    taken = state.capture_lazily(loop.parts(), check=False)
    lazy = {leaf.path for leaf, *_ in taken._watched}
    weights = {"0.weight", "2.weight"}
    moments = {
        f"optimizer/state/model%2F{name}/{slot}" for name in weights for slot in ("exp_avg", "exp_avg_sq")
    }
    assert lazy == {f"model/{name}" for name in weights} | moments
    taken.finish()


def test_lazy_and_copied_checkpoints_hold_the_same_files_contents(tmp_path):
    loop = Loop(tmp_path)
    loop.step()
    copied = state.capture(loop.parts())
    taken = state.capture_lazily(loop.parts(), check=False)
    loop.step()
    taken.seal()
    assert taken.tree == copied.tree
    assert taken.size_bytes == copied.size_bytes
    assert state.digest(taken) == state.digest(copied)


# What breaks the contract


def in_place(loop: Loop) -> None:
    with torch.no_grad():
        loop.model[0].weight.mul_(0.5)


def new_data(loop: Loop) -> None:
    loop.model[0].weight.data = loop.model[0].weight.data * 0.5


def loaded(loop: Loop) -> None:
    loop.model.load_state_dict(
        {name: value * 0.5 for name, value in loop.model.state_dict().items()}, strict=False
    )


def other_optimizer(loop: Loop) -> None:
    torch.optim.SGD([loop.model[0].weight], lr=0.1).step()


@pytest.mark.parametrize("write", [in_place, new_data, loaded, other_optimizer])
def test_a_write_that_leaves_a_trace_gives_the_save_up_and_the_next_hook_makes_up_for_it(
    tmp_path, write, caplog
):
    loop = Loop(tmp_path, every_n=3)
    for epoch in range(7):
        loop.step()
        loop.save()
        if epoch == 2:  # the first to be saved
            loop.optimizer.zero_grad()
            loop.backward()
            write(loop)
            loop.optimizer.step()
            loop.directory.writer.settle()
    assert loop.end() == {3, 5}, "not 2, but 3 in its place, and 5 as ever"
    assert not loop.is_lazy
    assert loop.directory.accounting.dropped == 1
    assert "gave up saving train_epoch2" in caplog.text
    assert "model/0.weight" in caplog.text
    assert "lazy' is off" in caplog.text


def through_data(loop: Loop) -> None:
    loop.model[0].weight.data.mul_(0.5)


def through_numpy(loop: Loop) -> None:
    loop.model[0].weight.detach().numpy()[:] *= 0.5


def through_dlpack(loop: Loop) -> None:
    weight = np.from_dlpack(loop.model[0].weight.detach())
    if not weight.flags.writeable:
        pytest.skip("this torch hands its memory to NumPy read-only")
    weight[:] *= 0.5


def other_fused_optimizer(loop: Loop) -> None:
    torch.optim.SGD([loop.model[0].weight], lr=0.1, fused=True).step()


UNSEEN = [through_data, through_numpy, through_dlpack, other_fused_optimizer]


@pytest.mark.parametrize("write", [*UNSEEN, in_place, new_data])
@pytest.mark.parametrize("number", [1, 2])
def test_the_first_two_saves_of_a_run_are_right_whatever_is_written_and_find_it_out(
    tmp_path, write, number, caplog
):
    loop = Loop(tmp_path, checked=2)
    for epoch in range(4):
        loop.step()
        loop.save()
        loop.optimizer.zero_grad()
        loop.backward()
        if epoch + 1 >= number:
            write(loop)
        loop.optimizer.step()
    assert loop.end() == {0, 1, 2, 3}
    assert not loop.is_lazy
    assert "'model/0.weight' was changed between the hook and step()" in caplog.text
    assert ("no trace" in caplog.text) == (write in UNSEEN)


@pytest.mark.parametrize("write", UNSEEN)
def test_with_snapshot_check_every_save_is_right_and_finds_out(tmp_path, write):
    loop = Loop(tmp_path, checked=0, snapshot=Lazy(check=True))
    for epoch in range(4):
        loop.step()
        loop.save()
        if epoch == 2:
            loop.optimizer.zero_grad()
            loop.backward()
            write(loop)
            loop.optimizer.step()
    assert loop.end() == {0, 1, 2, 3}
    assert not loop.is_lazy


@pytest.mark.parametrize("write", UNSEEN)
def test_what_leaves_no_trace_after_the_checked_saves_is_not_noticed(tmp_path, write):
    """Not a promise but its limit, said in docs/snapshots.md: if this fails, the page can promise more."""
    loop = Loop(tmp_path)
    loop.step()
    loop.save()
    loop.backward()
    write(loop)
    loop.optimizer.step()
    loop.directory.writer.settle()
    assert loop.is_lazy
    assert loop.directory.accounting.dropped == 0
    loop.directory.close()


def test_statistics_of_batch_normalisation_are_those_of_the_hook(tmp_path):
    loop = Loop(tmp_path)
    loop.step()
    mean = loop.model[1].running_mean.clone()
    loop.save()
    loop.step()
    loop.directory.writer.wait()
    with holdfast.open(tmp_path / "train" / "train_epoch0.ckpt.mml") as checkpoint:
        assert np.array_equal(checkpoint["model/1.running_mean"], mean)
    assert not torch.equal(loop.model[1].running_mean, mean)
    assert loop.end() == {0}


def test_gradients_of_an_accumulation_are_those_of_the_hook(tmp_path):
    loop = Loop(tmp_path)
    parts = loop.parts

    def with_gradients():
        return parts() | {"gradients": {str(i): p.grad for i, p in enumerate(loop.model.parameters())}}

    loop.parts = with_gradients
    loop.step()
    for _ in range(3):
        loop.backward()  # adds to the gradients that are being saved
        loop.save()
        loop.backward()
        loop.optimizer.step()
    assert loop.end() == {0, 1, 2}
    assert loop.is_lazy


def test_arrays_that_share_memory_with_something_else_are_copied_at_once(tmp_path):
    loop = Loop(tmp_path)
    parts = loop.parts
    weight = loop.model[0].weight.detach()
    loop.parts = lambda: parts() | {"rows": weight[:100].numpy(), "view": loop.model[2].weight.detach()}
    loop.step()
    taken = state.capture_lazily(loop.parts(), check=False)
    lazy = {leaf.path for leaf, *_ in taken._watched}
    taken.finish()
    assert not any(path.startswith("model/") for path in lazy)
    assert lazy
    loop.save()
    weight.mul_(2)  # through the other name, which is nobody's business
    loop.step()
    assert loop.end() == {0}


def test_a_parameter_of_two_optimizers_is_copied_at_once(tmp_path):
    loop = Loop(tmp_path)
    second = torch.optim.SGD([loop.model[0].weight], lr=0.1, fused=True)
    parts = loop.parts
    loop.parts = lambda: parts() | {"second": second}
    for _ in range(3):
        loop.step()
        loop.save()
        loop.backward()
        second.step()
    assert loop.end() == {0, 1, 2}
    assert loop.is_lazy


def test_tied_weights_stay_lazy_and_tied(tmp_path):
    loop = Loop(tmp_path)
    loop.model[2].weight = loop.model[0].weight
    loop.optimizer = torch.optim.AdamW(loop.model.parameters(), lr=0.01)
    loop.step()
    taken = state.capture_lazily(loop.parts(), check=False)
    assert "model/0.weight" in {leaf.path for leaf, *_ in taken._watched}
    taken.finish()
    loop.save()
    loop.step()
    assert loop.end() == {0}


class Wrapped(torch.optim.Optimizer):
    """As trainers wrap optimizers: one by type that never was made as one, so it calls no hooks."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.inner = inner

    param_groups = property(lambda self: self.inner.param_groups)
    state = property(lambda self: self.inner.state)

    def step(self, closure=None):
        self.inner.step()


def compiled(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    step = optimizer.step
    optimizer.step = lambda *args: step(*args)
    return optimizer


@pytest.mark.parametrize(
    "make_optimizer",
    [lambda ps: Wrapped(torch.optim.SGD(ps, lr=0.1)), lambda ps: compiled(torch.optim.SGD(ps, lr=0.1)),
     lambda ps: torch.optim.Adam(ps, lr=torch.tensor(0.1), capturable=True)],
    ids=["wrapper", "replaced step", "capturable"],
)  # fmt: skip
def test_an_optimizer_that_may_step_without_its_hooks_is_copied_at_once(tmp_path, make_optimizer):
    loop = Loop(tmp_path)
    loop.optimizer = make_optimizer(list(loop.model.parameters()))
    taken = state.capture_lazily(loop.parts(), check=False)
    assert taken._watched == []
    taken.seal()


def test_a_schedule_around_the_step_leaves_it_lazy(tmp_path):
    loop = Loop(tmp_path)
    schedule = torch.optim.lr_scheduler.StepLR(loop.optimizer, 1)
    for _ in range(3):
        loop.step()
        schedule.step()
        loop.save()
    assert state.capture_lazily(loop.parts(), check=False)._watched
    assert loop.end() == {0, 1, 2}


def test_tensors_of_inference_mode_are_copied_at_once():
    with torch.inference_mode():
        weight = torch.ones(WIDTH, WIDTH)
    optimizer = torch.optim.SGD([torch.ones(WIDTH, WIDTH, requires_grad=True)], lr=0.1)
    optimizer.state[optimizer.param_groups[0]["params"][0]]["momentum_buffer"] = weight
    taken = state.capture_lazily({"optimizer": optimizer}, check=False)
    assert taken._watched == []


def test_an_optimizer_with_a_closure_evaluates_after_the_seal(tmp_path):
    loop = Loop(tmp_path, lambda parameters: torch.optim.LBFGS(parameters, max_iter=3, history_size=2))

    def closure():
        loop.optimizer.zero_grad()
        return loop.backward()

    for _ in range(3):
        loop.optimizer.step(closure)
        loop.save()
    assert loop.end() == {0, 1, 2}
    assert loop.is_lazy


def test_steps_that_a_scaler_skips_seal_nothing_and_lose_nothing(tmp_path):
    loop = Loop(tmp_path)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for epoch in range(4):
        loop.optimizer.zero_grad()
        scaler.scale(loop.model(torch.randn(8, WIDTH)).square().mean()).backward()
        if epoch % 2:
            loop.model[0].weight.grad[0, 0] = torch.inf
        scaler.step(loop.optimizer)
        scaler.update()
        loop.save()
    assert loop.end() == {0, 1, 2, 3}
    assert loop.is_lazy


def test_an_exception_between_hook_and_step_does_not_lose_the_save(tmp_path):
    loop = Loop(tmp_path)
    loop.step()

    def train() -> None:
        with loop.directory:
            loop.save()
            loop.backward()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    assert loop.end() == {0}


def test_a_run_that_ends_without_another_step_commits_its_last_save(tmp_path):
    loop = Loop(tmp_path)
    loop.step()
    loop.save()
    assert loop.end() == {0}


@pytest.mark.medium
def test_a_process_that_just_ends_commits_what_it_accepted(tmp_path):
    script = f"""
    import sys
    from pathlib import Path
    from tests.runtime.test_lazy_saves import Loop
    loop = Loop(Path({str(tmp_path)!r}))
    loop.step()
    loop.save()
    raise SystemExit(3)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], timeout=60, check=False)
    assert done.returncode == 3
    (listed,) = holdfast.scan(tmp_path)
    with holdfast.open(listed) as checkpoint:
        assert checkpoint.verify(deep=True) == []


def test_weights_that_a_callback_puts_back_at_the_end_of_a_phase_cost_no_save(tmp_path):
    from tests.support.small_runs import At, experiment, graph, on_disk, train

    def put_zeros(context):
        with torch.no_grad():
            for parameter in context.graph.parameters():
                parameter.zero_()

    policy = on_disk(snapshot="lazy")
    phase = train(n_epochs=4, checkpointing=policy, callbacks=[At("phase_end", do=put_zeros)])
    made = experiment(tmp_path, phase, graph=graph(width=20_000))
    made.run(progress=False)
    assert made.accounting.saves == 4
    assert made.accounting.dropped == 0
    with holdfast.open(tmp_path / "train/train_epoch3.ckpt.mml") as checkpoint:
        assert torch.as_tensor(checkpoint["model_graph/body/0.weight"]).any()


def test_a_hook_seals_what_is_copied_already_so_that_later_writes_do_no_harm(tmp_path):
    loop = Loop(tmp_path)
    loop.step()
    loop.save()
    taken = loop.directory.writer
    while not taken._needs.__self__._copying.is_done:
        time.sleep(0.01)
    taken.prepare(wait=False)
    in_place(loop)
    assert loop.end() == {0}
    assert loop.is_lazy


def test_two_savers_at_one_hook_both_hold_its_state(tmp_path):
    loop = Loop(tmp_path)
    policy = attach_to_training(
        Checkpointing(mode="disk", write=Write(durability="process"), snapshot="lazy")
    )
    second = Session(policy, "train", "other", loop.directory, tmp_path / "other")
    for _ in range(3):
        loop.step()
        loop.save()
        loop.epoch -= 1
        loop.save(second)
    assert loop.end() == {0, 1, 2}
    assert len(holdfast.scan(tmp_path)) == 6
    assert loop.is_lazy


def test_a_step_in_a_forked_child_neither_waits_nor_seals(tmp_path):
    loop = Loop(tmp_path)
    loop.step()
    taken = state.capture_lazily(loop.parts(), check=False)
    taken._process += 1  # as the child sees it
    finished = threading.Thread(target=taken.finish)
    finished.start()
    finished.join(10)
    assert not finished.is_alive()
    assert not taken._sealed.is_set()
    loop.directory.close()


def test_a_lazy_policy_is_refused_where_nothing_would_continue_meanwhile():
    for options in ({"mode": "memory"}, {"write": Write(background=False)}):
        with pytest.raises(ValueError, match=r"snapshot='lazy' needs"):
            Checkpointing(snapshot="lazy", **options)
