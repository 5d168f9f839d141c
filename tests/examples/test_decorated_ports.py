"""Plain scripts of `examples/ports/` under `holdfast.resumable`: two or three lines of each are other ones, and no object is listed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.support.port_runs import PORTS, Outcome, outcome

RUN = "holdfast.current_run()"
MAIN = 'if __name__ == "__main__":'
CHANGES: dict[str, dict[str, str]] = {
    "mnist": {
        "def main():": "{decorator}\ndef main():",
        "in range(args.epochs):": f"in {RUN}.epochs(args.epochs):",
        "        train(args, model, train_loader, ": f"        train(args, model, {RUN}.batches(train_loader), ",
    },
    "unet": {
        "def train_model(": "{decorator}\ndef train_model(",
        "in range(epochs):": f"in {RUN}.epochs(epochs):",
        "in train_loader:": f"in {RUN}.batches(train_loader):",
    },
    "vae": {
        MAIN: "{decorator}\ndef main():",
        "in range(args.epochs):": f"in {RUN}.epochs(args.epochs):",
        "enumerate(train_loader)": f"enumerate({RUN}.batches(train_loader))",
    },
    "reinforce": {
        "def main():": "{decorator}\ndef main():",
        "in range(args.episodes):": f"in {RUN}.steps(args.episodes):",
    },
    "diffusion": {
        "    def train(self):": "    {decorator}\n    def train(self):",
        "while self.step < self.train_num_steps:": f"for _ in {RUN}.steps(self.train_num_steps):",
    },
}
HANDED_OVER = {
    "mnist": "main() hands over: model (Net), optimizer (Adadelta), scheduler (StepLR)",
    "unet": "train_model() hands over: model (UNet), optimizer (RMSprop), scheduler (ReduceLROnPlateau), grad_scaler (GradScaler)",
    "vae": "main() hands over: model (VAE), optimizer (Adam)",
    "reinforce": "main() hands over: policy (Policy), optimizer (Adam)",
    "diffusion": "Trainer.train() hands over: self.model (GaussianDiffusion), self.opt (Adam), self.ema.ema_model (GaussianDiffusion)",
}
EXACT = [name for name in CHANGES if name != "diffusion"]

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed"),
    pytest.mark.slow,
]


def decorated(name: str, directory: Path) -> Path:
    """The plain script with the changes, which all have to find their place."""
    text = "import holdfast\n" + (PORTS / "plain" / f"{name}.py").read_text()
    text += "\n\nmain()\n" if MAIN in CHANGES[name] else ""
    for plain, new in CHANGES[name].items():
        assert text.count(plain) == 1, plain
        text = text.replace(plain, new.format(decorator=f'@holdfast.resumable("runs/{name}")'))
    made = directory / f"{name}.py"
    made.write_text(text)
    return made


def killed(name: str, directory: Path) -> Outcome:
    ended = outcome(name, directory, port=decorated(name, directory))
    assert ended.as_plain, "never killed, it trains something else than the plain script"
    assert HANDED_OVER[name] in ended.said
    return ended


@pytest.mark.parametrize("name", EXACT)
def test_a_decorated_script_that_was_killed_ends_in_the_same_bits(name, tmp_path):
    ended = killed(name, tmp_path)
    assert ended.differs == ()
    assert ended.verdicts == ("exact",) * 3
    assert ended.differs_again == ()


def test_a_decorated_script_that_is_not_exact_names_what_is_missing(tmp_path):
    ended = killed("diffusion", tmp_path)
    assert "weights" in ended.differs
    assert ended.verdicts == ("exact but for: self.dl",) * 3
