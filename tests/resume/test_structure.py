"""A run whose objects change their structure on the way resumes: `on_structure` brings new ones to that of the checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import holdfast
from holdfast import Resume, Run
from holdfast.errors import StateMismatchError, UsageError
from tests.support.small_loop import Crash, policy


class Script:
    """Trains the head alone for two epochs, then the body too: by a new group, or by another optimizer."""

    def __init__(self, directory: Path, *, rebuilds: bool) -> None:
        torch.manual_seed(0)
        self.directory, self.rebuilds, self.asked = directory, rebuilds, 0
        self.model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
        self.model[0].requires_grad_(False)
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(self.model[1].parameters(), 0.05)

    def thaw(self) -> None:
        self.model[0].requires_grad_(True)
        if self.rebuilds:
            self.optimizer = torch.optim.AdamW(self.model.parameters(), 0.02)
        else:
            self.optimizer.add_param_group({"params": list(self.model[0].parameters()), "lr": 0.01})

    def on_structure(self, record):
        self.asked += 1
        if record.moment.epoch is None or record.moment.epoch >= 2:
            self.thaw()
        return {"optimizer": self.optimizer}

    def run(self, *, crash_at: int = -1, resume: Resume | bool = True) -> Run:
        objects = {"model": self.model, "optimizer": self.optimizer}
        data = [torch.full((4, 3), float(each)) for each in range(3)]
        saving = policy(save_on="batch_end")
        with Run(self.directory, objects, checkpointing=saving, resume=resume) as run:
            for epoch in run.epochs(4):
                if epoch == 2 and not self.model[0].weight.requires_grad:
                    self.thaw()
                    run["optimizer"] = self.optimizer
                for x in run.batches(data):
                    if run.step == crash_at:
                        raise Crash
                    run["optimizer"].zero_grad()
                    (self.model(x + torch.rand(4, 3)) - 1).square().mean().backward()
                    run["optimizer"].step()
        return run


@pytest.mark.parametrize("rebuilds", [False, True])
@pytest.mark.parametrize("crash_at", [4, 8, 10])
def test_it_ends_as_one_that_was_not_killed(tmp_path, rebuilds, crash_at):
    wanted = Script(tmp_path / "uninterrupted", rebuilds=rebuilds).run()
    assert wanted.step == 12
    with pytest.raises(Crash):
        Script(tmp_path / "killed", rebuilds=rebuilds).run(crash_at=crash_at)
    again = Script(tmp_path / "killed", rebuilds=rebuilds)
    run = again.run(resume=Resume(on_structure=again.on_structure))
    assert again.asked == 1
    assert run.last_resume is not None
    assert run.last_resume.verdict == "exact"
    assert run.step == 12
    assert run.state_digest() == wanted.state_digest()


def test_without_it_the_checkpoint_does_not_fit(tmp_path):
    with pytest.raises(Crash):
        Script(tmp_path, rebuilds=False).run(crash_at=10)
    with pytest.raises(StateMismatchError):
        Script(tmp_path, rebuilds=False).run()


def test_it_is_asked_only_of_an_intact_checkpoint(tmp_path):
    with pytest.raises(Crash):
        Script(tmp_path, rebuilds=False).run(crash_at=8)
    newest = Path(holdfast.scan(tmp_path)[-1].path)
    pack = max(newest.glob("*.safetensors"), key=lambda file: file.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[-5] ^= 1
    pack.unlink()
    pack.write_bytes(data)
    again = Script(tmp_path, rebuilds=False)
    again.run(resume=Resume(on_structure=again.on_structure))
    assert again.asked == 1


def test_from_scratch_it_is_not_asked(tmp_path):
    script = Script(tmp_path, rebuilds=False)
    script.run(resume=Resume(on_structure=script.on_structure))
    assert not script.asked


def test_what_has_no_meaning_is_refused(tmp_path):
    with pytest.raises(UsageError, match="on_structure must be a function"):
        Resume(on_structure=3)  # type: ignore[arg-type]
    Script(tmp_path, rebuilds=False).run()
    for nonsense in ({"other": 1}, 3):
        with pytest.raises(UsageError, match="on_structure returned"):
            Script(tmp_path, rebuilds=False).run(resume=Resume(on_structure=lambda record: nonsense))  # noqa: B023
