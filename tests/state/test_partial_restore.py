"""A partial start: some of a checkpoint, under other names, into a new model; and a report of what was loaded and what not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import holdfast
from holdfast import ModelGraph, ModelNode, state
from holdfast.errors import StateMismatchError, UsageError
from tests.support.small_runs import digest_of, experiment, graph, on_disk, train, weights


@pytest.fixture
def checkpoint(tmp_path):
    trained = experiment(tmp_path, train(n_epochs=2, checkpointing=on_disk()))
    trained.run(progress=False)
    with holdfast.open(tmp_path / "train/train_epoch1.ckpt.mml") as opened:
        opened.trained = trained.graph  # type: ignore[attr-defined]
        yield opened


def other_head(classes: int = 7, body: str = "body") -> ModelGraph:
    """As the trained graph, but for another head, and perhaps another name for the body."""
    torch.manual_seed(9)
    layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.2))
    return ModelGraph(
        [ModelNode(body, layers, "pixels"), ModelNode("head", nn.Linear(8, classes), body)],
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.05),
    )


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def test_only_what_is_meant_is_loaded_and_all_else_stays_as_it_is(checkpoint):
    fresh = other_head()
    head, optimizer = fresh["head"].model.weight.detach().clone(), state.capture(fresh.optimizers[0])
    restored = checkpoint.restore({"model_graph": fresh}, only="model_graph/body/**")
    assert same(fresh["body"].model, checkpoint.trained["body"].model)
    assert torch.equal(fresh["head"].model.weight, head)
    assert state.digest(state.capture(fresh.optimizers[0])) == state.digest(optimizer)
    assert restored.loaded == ("model_graph/body/0.weight", "model_graph/body/0.bias")
    assert {"model_graph/head", "model_graph/optimizer"} <= {*restored.kept}
    assert restored.skipped == ()
    assert "loaded      model_graph/body/0.weight" in restored.report
    assert "not loaded  model_graph/head: kept as it was, as requested" in restored.report


def test_what_was_saved_under_one_name_goes_to_another(checkpoint):
    fresh = other_head(body="backbone")
    restored = checkpoint.restore(
        {"model_graph": fresh},
        only="model_graph/backbone",
        rename={"model_graph/body": "model_graph/backbone"},
    )
    assert same(fresh["backbone"].model, checkpoint.trained["body"].model)
    assert restored.loaded == ("model_graph/body/0.weight", "model_graph/body/0.bias")


def test_a_part_of_a_graph_goes_into_a_module_of_its_own(checkpoint):
    alone = nn.Sequential(nn.Linear(4, 8))
    checkpoint.restore({"model": alone}, only="model", rename={"model_graph/body": "model"})
    assert same(alone, checkpoint.trained["body"].model)


def test_names_within_a_module_can_be_changed_up_to_a_dot():
    class Old(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = nn.Sequential(nn.Linear(3, 3)), nn.Linear(3, 2)

    class New(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.heads = nn.Sequential(nn.Linear(3, 3)), nn.Linear(3, 5)

    old, new = Old(), New()
    saved = state.capture({"model": old})
    heads = new.heads.weight.detach().clone()
    restored = holdfast.restore(
        saved, {"model": new}, only="model/backbone.*", rename={"model/encoder": "model/backbone"}
    )
    assert same(new.backbone, old.encoder)
    assert torch.equal(new.heads.weight, heads)
    assert {"model/heads.weight", "model/head.weight"} <= {*restored.kept}
    # A prefix may end in the middle of the way from a whole model to a module in it.
    alone = nn.Sequential(nn.Linear(3, 3))
    holdfast.restore(saved, {"net": alone}, only="net", rename={"model/encoder.": "net/"})
    assert same(alone, old.encoder)


def test_what_is_meant_and_has_another_shape_is_refused_or_reported(checkpoint):
    fresh = other_head()
    before = digest_of(fresh)
    meant = ["model_graph/body", "model_graph/head"]
    with pytest.raises(StateMismatchError, match=r"model_graph/head/weight.*\[3, 8\].*\[7, 8\]"):
        checkpoint.restore({"model_graph": fresh}, only=meant)
    assert digest_of(fresh) == before
    head = weights(fresh)[2:]
    restored = checkpoint.restore({"model_graph": fresh}, only=meant, strict=False)
    assert same(fresh["body"].model, checkpoint.trained["body"].model)
    assert all(map(torch.equal, weights(fresh)[2:], head))
    assert len(restored.skipped) == 2
    assert "not loaded  model_graph/head/weight: an array float32 [3, 8] was saved" in restored.report


def test_what_is_meant_and_was_not_saved_is_refused_or_reported(checkpoint):
    deeper = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 8))
    torch.manual_seed(9)
    rename = {"model_graph/body": "body"}
    with pytest.raises(StateMismatchError, match=r"body/3.weight: is not in the saved state"):
        checkpoint.restore({"body": deeper}, only="body", rename=rename)
    restored = checkpoint.restore({"body": deeper}, only="body", rename=rename, strict=False)
    assert [line.partition(":")[0] for line in restored.skipped] == ["body/3.weight", "body/3.bias"]
    # Who means only what is there gets just that.
    assert checkpoint.restore({"body": deeper}, only="body/0.*", rename=rename).skipped == ()


def test_a_new_model_keeps_its_modes_and_what_it_has_frozen(checkpoint):
    fresh = other_head()
    fresh.freeze("body")
    checkpoint.restore({"model_graph": fresh}, only="model_graph/body")
    assert (fresh.frozen, fresh["body"].model.training) == (("body",), False)
    assert not any(parameter.requires_grad for parameter in fresh["body"].model.parameters())
    alone = nn.Sequential(nn.Linear(4, 8)).eval()
    alone[0].weight.requires_grad_(False)
    checkpoint.restore({"model": alone}, only="model", rename={"model_graph/body": "model"})
    assert not alone.training
    assert [parameter.requires_grad for parameter in alone.parameters()] == [False, True]


def test_damage_in_what_is_not_meant_does_not_matter_and_in_what_is_changes_nothing(checkpoint, tmp_path):
    pack = next((tmp_path / "train/train_epoch1.ckpt.mml").glob("*.safetensors"))
    piece = checkpoint.source.stored.pieces["model_graph/head/weight"][0]
    start, _ = checkpoint.source._packs.spans(piece.file)[piece.key]
    with pack.open("r+b") as file:
        file.seek(start)
        [byte] = file.read(1)
        file.seek(start)
        file.write(bytes([byte ^ 1]))
    fresh = other_head(classes=3)
    checkpoint.restore({"model_graph": fresh}, only="model_graph/body")
    before = digest_of(fresh)
    with pytest.raises(holdfast.errors.DamagedError):
        checkpoint.restore({"model_graph": fresh}, only=["model_graph/body", "model_graph/head"])
    assert digest_of(fresh) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"only": "model_graph/nothing"}, "only: the checkpoint has nothing that matches"),
        ({"rename": {"model_graph/nothing": "model_graph/body"}}, "has nothing at 'model_graph/nothing'"),
        ({"rename": {"model_graph/body": "model_graph/head"}}, "has something at 'model_graph/head' already"),
    ],
)
def test_names_that_mean_nothing_are_refused_and_change_nothing(checkpoint, options, said):
    fresh = graph(seed=4)
    before = digest_of(fresh)
    with pytest.raises(UsageError, match=said):
        checkpoint.restore({"model_graph": fresh}, **options)
    assert digest_of(fresh) == before


def test_a_model_whose_class_and_parts_were_renamed_takes_its_old_checkpoint():
    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.fc = nn.Linear(3, 4), nn.Linear(4, 2)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.classifier = nn.Linear(3, 4), nn.Linear(4, 2)

    old, new = Classifier(), Net()
    saved = state.capture({"model": old})
    restored = holdfast.restore(
        saved, {"model": new}, rename={"model/features": "model/encoder", "model/fc": "model/classifier"}
    )
    assert same(new.encoder, old.features)
    assert same(new.classifier, old.fc)
    assert (restored.skipped, restored.kept) == ((), ())
