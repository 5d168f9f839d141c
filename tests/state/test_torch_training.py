"""The law of every adapter: what is restored trains on bit for bit like what was captured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

import holdfast
from holdfast.state import capture, digest, rebuild, restore

Objects = dict[str, Any]


class Tied(nn.Module):
    """An embedding whose weight is also the output layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.norm = nn.LayerNorm(4)
        self.out = nn.Linear(4, 7, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.norm(self.embed((x[:, :3].abs() * 3).long().clamp(max=6))))


def plain_model() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))


def dropout_model() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 3))


def bfloat16_model() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.Linear(8, 3)).to(torch.bfloat16)


def frozen_model() -> nn.Module:
    model = plain_model()
    model[0].requires_grad_(False)
    model[1].eval()
    return model


def objects(
    model: Callable[[], nn.Module] = plain_model,
    optimizer: Callable[..., Any] = lambda parameters: torch.optim.AdamW(parameters, lr=0.01),
    scheduler: Callable[[Any], Any] | None = None,
    scaler: bool | None = None,
    seed: int = 0,
) -> Objects:
    torch.manual_seed(seed)
    made: Objects = {"model": model()}
    made["optimizer"] = optimizer(made["model"].parameters())
    if scheduler is not None:
        made["scheduler"] = scheduler(made["optimizer"])
    if scaler is not None:
        made["scaler"] = torch.amp.GradScaler("cpu", enabled=scaler, growth_interval=2)
    return made


def train(held: Objects, steps: range) -> None:
    model, optimizer = held["model"], held["optimizer"]
    dtype = next(model.parameters()).dtype
    for step in steps:
        x = torch.randn(6, 5, generator=torch.Generator().manual_seed(step)).to(dtype)
        torch.manual_seed(step)

        def loss(x: torch.Tensor = x) -> torch.Tensor:
            optimizer.zero_grad()
            value = model(x).float().pow(2).mean()
            held["scaler"].scale(value).backward() if "scaler" in held else value.backward()
            return value

        if isinstance(optimizer, torch.optim.LBFGS):
            value = optimizer.step(loss)
        else:
            value = loss()
            if "scaler" in held:
                held["scaler"].step(optimizer)
                held["scaler"].update()
            else:
                optimizer.step()
        if "scheduler" in held:
            plateau = isinstance(held["scheduler"], lr_scheduler.ReduceLROnPlateau)
            held["scheduler"].step(value.item()) if plateau else held["scheduler"].step()


def sequential(optimizer: Any) -> Any:
    parts = [lr_scheduler.LinearLR(optimizer, total_iters=2), lr_scheduler.ExponentialLR(optimizer, 0.5)]
    return lr_scheduler.SequentialLR(optimizer, parts, milestones=[2])


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "fused": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "tensor lr": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01), foreach=False),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3, history_size=3),
}
SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "step": lambda o: lr_scheduler.StepLR(o, 2),
    "milestones": lambda o: lr_scheduler.MultiStepLR(o, [1, 4, 5]),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 10),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=12),
    "warm restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 0.9**epoch),
    "plateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0, factor=0.5),
    "sequential": sequential,
}
CASES: dict[str, dict[str, Any]] = {
    **{f"optimizer {name}": {"optimizer": make} for name, make in OPTIMIZERS.items()},
    **{f"scheduler {name}": {"scheduler": make} for name, make in SCHEDULERS.items()},
    "scaler": {"scaler": True},
    "scaler that is off": {"scaler": False},
    "dropout": {"model": dropout_model},
    "tied": {"model": Tied},
    "bfloat16": {"model": bfloat16_model},
    "frozen": {
        "model": frozen_model,
        "optimizer": lambda p: torch.optim.Adam([q for q in p if q.requires_grad]),
    },
}


@pytest.mark.filterwarnings("ignore:The epoch parameter")  # of SequentialLR itself, in torch 2.4
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("reader", ["fresh", "trained"])
def test_what_is_restored_trains_on_bit_for_bit(case, reader):
    held, other = objects(**CASES[case]), objects(**CASES[case], seed=1)
    train(held, range(3))
    snapshot = capture(held)
    before = digest(snapshot)
    if reader == "trained":
        train(other, range(50, 55))
    assert restore(snapshot, other).value is other
    assert digest(capture(other)) == before
    train(held, range(3, 8))
    train(other, range(3, 8))
    assert digest(capture(other)) == digest(capture(held))
    assert digest(snapshot) == before  # a snapshot is independent of later training


def test_the_state_before_the_first_step_is_restored_over_a_trained_one():
    held, other = objects(), objects(seed=1)
    train(other, range(4))
    restore(capture(held), other)
    assert not other["optimizer"].state
    train(held, range(3))
    train(other, range(3))
    assert digest(capture(other)) == digest(capture(held))


def test_live_tensors_are_filled_in_their_own_memory():
    held, other = objects(), objects(seed=1)
    train(held, range(2))
    train(other, range(2))
    tensors = [*other["model"].state_dict().values()]
    tensors += [value for state in other["optimizer"].state.values() for value in state.values()]
    places = [tensor.data_ptr() for tensor in tensors]
    restore(capture(held), other)
    again = [*other["model"].state_dict().values()]
    again += [value for state in other["optimizer"].state.values() for value in state.values()]
    assert [tensor.data_ptr() for tensor in again] == places


def test_optimizer_state_is_keyed_by_parameter_path_whatever_the_order_in_the_dict():
    held = objects()
    train(held, range(1))
    tree = capture({"optimizer": held["optimizer"], "model": held["model"]}).tree
    assert list(tree["optimizer"].state["state"])[:2] == ["model/0.weight", "model/0.bias"]
    assert tree["optimizer"].state["param_groups"][0]["params"][0] == "model/0.weight"


def test_parameters_in_another_order_are_matched_by_name():
    held, other = objects(), objects(seed=1)
    other["optimizer"] = torch.optim.AdamW(reversed(list(other["model"].parameters())), lr=0.01)
    train(held, range(2))
    restore(capture(held), other)
    for mine, yours in zip(held["model"].parameters(), other["model"].parameters(), strict=True):
        assert torch.equal(
            held["optimizer"].state[mine]["exp_avg"], other["optimizer"].state[yours]["exp_avg"]
        )


def test_an_optimizer_alone_is_matched_by_position_and_by_shape():
    held, other = objects(), objects(seed=1)
    train(held, range(2))
    snapshot = capture(held)
    restore(capture({"optimizer": held["optimizer"]}), {"optimizer": other["optimizer"]})
    restore(snapshot, {"optimizer": other["optimizer"]})
    assert digest(capture({"o": other["optimizer"]})) == digest(capture({"o": held["optimizer"]}))


def test_the_hyperparameters_of_the_checkpoint_win():
    held, other = objects(), objects(optimizer=lambda p: torch.optim.AdamW(p, lr=5.0, betas=(0.1, 0.2)))
    restore(capture(held), other)
    assert other["optimizer"].param_groups[0]["lr"] == 0.01
    assert other["optimizer"].param_groups[0]["betas"] == (0.9, 0.999)


class Graph:
    """A composite: nodes and an optimizer, by its parts."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.nodes = {"encoder": nn.Linear(3, 2), "head": nn.Linear(2, 1)}
        parameters = [p for node in self.nodes.values() for p in node.parameters()]
        self.optimizer, self.step = torch.optim.Adam(parameters), 0

    def state_parts(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer, **self.nodes, "step": self.step}

    def adopt_parts(self, parts: dict[str, Any]) -> None:
        assert parts["optimizer"] is self.optimizer
        self.step = parts["step"]

    def train(self) -> None:
        self.optimizer.zero_grad()
        self.nodes["head"](self.nodes["encoder"](torch.ones(2, 3))).sum().backward()
        self.optimizer.step()
        self.step += 1


def test_a_composite_gives_its_optimizer_names_from_beside_it():
    graph, other = Graph(0), Graph(1)
    graph.train()
    snapshot = capture({"model_graph": graph})
    assert "encoder/weight" in snapshot.tree["model_graph"].state["optimizer"].state["state"]
    restore(snapshot, {"model_graph": other})
    graph.train()
    other.train()
    assert other.step == 2
    assert digest(capture(other)) == digest(capture(graph))


def test_training_modes_and_frozen_parameters_are_put_back():
    held, other = objects(frozen_model, lambda p: torch.optim.SGD(p, lr=0.1)), objects(seed=1)["model"]
    other.eval()
    restore(capture({"model": held["model"]}), {"model": other})
    assert [module.training for module in other] == [True, False, True, True]
    assert [parameter.requires_grad for parameter in other.parameters()] == [False, False, *[True] * 4]


def test_a_torch_generator_resumes_with_the_same_draws():
    generator, fresh = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    torch.randn(3, generator=generator)
    snapshot = capture({"rng": generator})
    expected = torch.randn(5, generator=generator)
    restore(snapshot, {"rng": fresh})
    assert torch.equal(torch.randn(5, generator=fresh), expected)
    assert torch.equal(torch.randn(5, generator=rebuild(snapshot)["rng"]), expected)


def test_memory_that_an_optimizer_shares_with_a_later_object_is_stored_with_the_optimizer(tmp_path):
    """Optimizers are captured after everything else, but an alias has to come after what it is an alias of."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight])
    weight.sum().backward()
    optimizer.step()
    average = optimizer.state[weight]["exp_avg"]
    holdfast.save(
        tmp_path / "saved", {"optimizer": optimizer, "also": [average, {"again": average}], "weight": weight}
    )
    loaded = holdfast.load(tmp_path / "saved")
    assert loaded["also"][0].tolist() == loaded["also"][1]["again"].tolist() == average.tolist()
    assert holdfast.open(tmp_path / "saved").verify() == []


@pytest.mark.parametrize("verify", ["first", "streaming"])
def test_what_was_one_tensor_fills_both_that_it_is_now(verify):
    tied = torch.arange(6.0)
    saved = capture({"one": tied, "two": [tied]})
    now = {"one": torch.zeros(6), "two": [torch.zeros(6)]}
    versions = now["one"]._version, now["two"][0]._version
    first, second = now["one"], now["two"][0]
    restore(saved, now, verify=verify)
    assert torch.equal(first, tied)
    assert torch.equal(second, tied)
    assert first._version > versions[0]
    assert second._version > versions[1]


def test_tensors_are_filled_where_something_else_does_not_fit():
    saved = capture({"one": torch.ones(3), "two": torch.ones(4), "three": torch.ones(5)})
    now = {"one": torch.zeros(3), "two": torch.zeros(2), "three": torch.zeros(5)}
    restored = restore(saved, now, strict=False)
    assert len(restored.skipped) == 1
    assert now["one"].tolist() == [1] * 3
    assert now["two"].tolist() == [0] * 2
    assert now["three"].tolist() == [1] * 5
    assert set(restored.loaded) == {"one", "three"}
