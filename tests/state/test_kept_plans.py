"""A snapshot made with what the one before has left is the one that a full walk makes, whatever has changed between them."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402

from holdfast import state  # noqa: E402
from holdfast.records import leaves  # noqa: E402


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("seen", torch.zeros(3))
        self.register_buffer("cache", torch.zeros(2), persistent=False)

    def forward(self, x):
        return self.two(self.norm(self.one(x)))


class Training:
    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = Net()
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        self.others = {"epoch": 0, "x": torch.arange(5)}
        self.step()

    def parts(self):
        return {"model": self.model, "optimizer": self.optimizer, "others": self.others}

    def step(self):
        self.optimizer.zero_grad()
        self.model(torch.randn(8, 4)).square().mean().backward()
        self.optimizer.step()

    def moments(self):
        return self.optimizer.state[self.model.one.weight]


def _give_extra_state(net):
    net.get_extra_state = lambda: {"n": 3}
    net.set_extra_state = lambda given: None


def _leave_out(module, saved, prefix, about):
    saved.pop(f"{prefix}seen", None)


def _look_as_another_type(value):
    if value is not None:  # there may be no moments
        value.data = value.data.view(torch.float64)


def _swap(one, other):
    one.weight, other.weight = other.weight, one.weight


CHANGES = {
    "nothing": lambda run: None,
    "a step": lambda run: run.step(),
    "another number": lambda run: run.others.__setitem__("epoch", run.others["epoch"] + 1),
    "a float for an integer": lambda run: run.others.__setitem__("epoch", 1.0),
    "a list that grows": lambda run: run.others.setdefault("seen", []).append(1),
    "another parameter of the same shape": lambda run: setattr(
        run.model.one, "weight", nn.Parameter(torch.ones(4, 4))
    ),
    "another parameter of another shape": lambda run: setattr(
        run.model.two, "bias", nn.Parameter(torch.ones(2))
    ),
    "requires_grad": lambda run: run.model.one.bias.requires_grad_(not run.model.one.bias.requires_grad),
    "new data": lambda run: setattr(run.model.one.weight, "data", torch.full((4, 4), 2.0)),
    "data of another type": lambda run: setattr(
        run.model.two.weight, "data", run.model.two.weight.data.double()
    ),
    "the same memory as another type": lambda run: _look_as_another_type(run.others["x"]),
    "turned in place": lambda run: run.moments()["exp_avg"].t_(),
    "resized": lambda run: run.model.seen.resize_(5).zero_(),
    "a moment more": lambda run: run.moments().__setitem__("more", torch.ones(2)),
    "a moment that is a number": lambda run: run.moments().__setitem__("count", 3),
    "a moment replaced": lambda run: run.moments().__setitem__("exp_avg", torch.ones(4, 4)),
    "no moments": lambda run: run.optimizer.state.pop(run.model.one.weight, None),
    "a tie": lambda run: setattr(run.model.two, "weight", run.model.one.weight),
    "a tie of memory": lambda run: setattr(run.model.two.weight, "data", run.model.one.weight.data),
    "no tie": lambda run: setattr(run.model.two, "weight", nn.Parameter(torch.zeros(4, 4))),
    "a tie with what stands before": lambda run: run.others.__setitem__("x", run.model.one.weight),
    "a tie with a moment": lambda run: run.others.__setitem__("x", run.moments().get("exp_avg")),
    "two layers change places": lambda run: _swap(run.model.one, run.model.two),
    "two layers change names": lambda run: run.model._modules.update(
        one=run.model._modules["two"], two=run.model._modules["one"]
    ),
    "another layer": lambda run: setattr(run.model, "two", nn.Linear(4, 4)),
    "a layer more": lambda run: setattr(run.model, "three", nn.Linear(2, 2)),
    "a buffer more": lambda run: run.model.register_buffer("more", torch.ones(1)),
    "a buffer that is saved no more": lambda run: run.model._non_persistent_buffers_set.add("seen"),
    "another mode": lambda run: run.model.norm.train(not run.model.norm.training),
    "a hook": lambda run: run.model.register_state_dict_post_hook(_leave_out),
    "an extra state": lambda run: _give_extra_state(run.model),
    "another learning rate": lambda run: run.optimizer.param_groups[0].update(lr=0.5),
    "another group": lambda run: run.optimizer.add_param_group({"params": [nn.Parameter(torch.ones(3))]}),
    "groups in another order": lambda run: run.optimizer.param_groups[0]["params"].reverse(),
    "another optimizer": lambda run: setattr(
        run, "optimizer", torch.optim.SGD(run.model.parameters(), momentum=0.9)
    ),
    "another model": lambda run: setattr(run, "model", Net()),
    "the model goes by another name": lambda run: run.others.__setitem__("model", run.model),
}


def is_same(kept, full) -> None:
    assert kept.tree == full.tree
    assert kept.size_bytes == full.size_bytes
    for leaf in leaves(full.tree):
        there, here = (each.piece(leaf, 0, leaf.size_bytes).tobytes() for each in (full, kept))
        assert here == there, leaf.path


@pytest.mark.medium
@given(st.lists(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=8))
@settings(max_examples=150)
def test_any_change_between_two_snapshots(changes):
    run, plan, buffers = Training(), state.Plan(), state.Buffers()
    for change in ("nothing", "nothing", *changes):
        try:
            CHANGES[change](run)
        except (RuntimeError, KeyError, ValueError):  # not after what came before
            continue
        try:
            full = state.capture(run.parts())
        except Exception as err:
            with pytest.raises(type(err)):
                state.capture(run.parts(), plan=plan, buffers=buffers)
            return
        kept = state.capture(run.parts(), plan=plan, buffers=buffers)
        is_same(kept, full)
        is_same_live = state.look(run.parts(), plan=plan)
        assert is_same_live.tree == full.tree
        kept.release()


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_each_change_alone(change):
    run, plan, buffers = Training(), state.Plan(), state.Buffers()
    for _ in range(3):
        state.capture(run.parts(), plan=plan, buffers=buffers).release()
    CHANGES[change](run)
    is_same(state.capture(run.parts(), plan=plan, buffers=buffers), state.capture(run.parts()))


def test_what_has_not_changed_is_not_walked_again(monkeypatch):
    run, plan = Training(), state.Plan()
    state.capture(run.parts(), plan=plan)
    walked = []
    array = state.Walk.array
    monkeypatch.setattr(
        state.Walk, "array", lambda walk, path, **each: (walked.append(path), array(walk, path, **each))[1]
    )
    run.step()
    state.capture(run.parts(), plan=plan)
    assert walked == ["others/x"]
