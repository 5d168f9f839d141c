"""A structure that the loop changes, and a script that is started again would not have, is told of at the save, not hours later."""

from __future__ import annotations

import pytest
import torch

from holdfast import Checkpointing, Run
from holdfast.errors import StateMismatchError


def pair(*, tied):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    if tied:
        model[1].weight = model[0].weight
    return model, torch.optim.SGD(model.parameters(), 0.1)


def untie(model, optimizer):
    model[1].weight = torch.nn.Parameter(model[0].weight.detach() + 1)


def tie(model, optimizer):
    model[1].weight = model[0].weight


def add(model, optimizer):
    model.append(torch.nn.Linear(2, 2))


def remove(model, optimizer):
    del model[1]


def give_to_the_optimizer(model, optimizer):
    add(model, optimizer)
    optimizer.add_param_group({"params": [*model[2].parameters()]})


@pytest.mark.parametrize(
    ("change", "is_tied", "said"),
    [
        (untie, True, "'model/1.weight' and 'model/0.weight' are one parameter no longer"),
        (tie, False, "'model/1.weight' and 'model/0.weight' are one parameter and were two"),
        (add, False, "the parameter 'model/2.weight' is new"),
        (remove, False, "the parameter 'model/1.weight' is gone"),
        (
            give_to_the_optimizer,
            False,
            "the optimizer 'optimizer' had groups of [4] parameters, and has groups of [4, 2]",
        ),
    ],
)
def test_what_no_resume_could_take_back_is_told_of_at_the_first_save(
    change, is_tied, said, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr("holdfast.runtime.torch_watch.structure._MAX_NAMED", 9)

    def train(changed_at=None):
        model, optimizer = pair(tied=is_tied)
        objects = {"model": model, "optimizer": optimizer}
        with Run(tmp_path, objects, checkpointing=Checkpointing(save_on="batch_end")) as run:
            for step in run.steps(4):
                assert ("cannot resume from what is saved now" in caplog.text) == (step > 1)
                if step == changed_at:
                    change(model, optimizer)

    train(1)
    assert caplog.text.count(said) == 1
    caplog.clear()
    with pytest.raises(StateMismatchError):
        train()
