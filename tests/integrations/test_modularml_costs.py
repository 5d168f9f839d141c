"""What saving costs an experiment of ModularML in disk and memory, and what has to be installed for it."""

from __future__ import annotations

import gc
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support import ROOT

if any(importlib.util.find_spec(name) is None for name in ("modularml", "matplotlib", "IPython")):
    pytest.skip("modularml is not installed", allow_module_level=True)

import modularml as mml

from holdfast.integrations import modularml as hf
from holdfast.state import MemorySnapshot
from tests.support.integrations.modularml_experiment import experiment, run, train_phase

pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory", "ignore::UserWarning:modularml")

WIDTH = 1_000
NEEDED = ROOT / "tests" / "support" / "integrations" / "modularml_alone.py"


@pytest.fixture(autouse=True)
def enabled(tmp_path):
    hf.enable(tmp_path / "run")
    yield
    hf.disable()


def trained(policy=None, *, n_epochs=1):
    """Nearly all of the state is weights, and two moments of Adam for each."""
    made = experiment(width=WIDTH)
    made.execution_plan.add_item(train_phase("train", policy, n_epochs=n_epochs))
    run(made)
    return made


def payload_bytes(made) -> int:
    models = [node.model for node in made.model_graph.nodes.values() if isinstance(node, mml.ModelNode)]
    return 3 * sum(each.nbytes for model in models for each in model.parameters())


def test_a_checkpoint_holds_each_array_once_and_is_built_where_it_will_be(tmp_path, monkeypatch):  # 31, 36
    made = trained()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no such directory"))
    path = Path(made.model_graph.save_checkpoint(tmp_path / "by_hand"))
    size_bytes = sum(file.stat().st_size for file in path.rglob("*"))
    assert payload_bytes(made) < size_bytes < 1.5 * payload_bytes(made)


@pytest.mark.slow
def test_snapshots_in_memory_hold_each_array_once_and_are_freed_beyond_max_to_keep():  # 32
    made = trained(mml.Checkpointing(mode="memory", save_on="epoch_end", max_to_keep=2), n_epochs=3)
    assert made.execution_plan.get_train_phase("train").checkpointing.saved_keys == [1, 2]
    gc.collect()
    sizes = [each.size_bytes for each in gc.get_objects() if type(each) is MemorySnapshot]
    assert len([each for each in sizes if each >= payload_bytes(made)]) == 2
    assert max(sizes) < 1.5 * payload_bytes(made)


@pytest.mark.medium
def test_keeping_everything_in_memory_is_warned_of_before_it_fills(monkeypatch, caplog):  # 32
    def keeping(number: int | None):
        made = experiment()
        policy = mml.Checkpointing(mode="memory", save_on="epoch_end", max_to_keep=number)
        made.execution_plan.add_item(train_phase("train", policy, n_epochs=5))
        run(made)
        return policy._holdfast

    size_bytes = keeping(1).get_snapshot(4).size_bytes
    machine = {
        "SC_PAGE_SIZE": 2,
        "SC_PHYS_PAGES": 7 * size_bytes,
    }  # a quarter of it: three snapshots, not four
    monkeypatch.setattr("os.sysconf", lambda name: machine[name])
    keeping(3)
    assert not caplog.text
    keeping(None)
    assert [message[:40] for message in caplog.messages] == ["'train' keeps 4 checkpoints in memory, 3"]
    assert "max_to_keep=" in caplog.text


@pytest.mark.medium
def test_a_package_that_modularml_lacks_is_named_with_what_brings_it():  # 40
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "try: import holdfast.integrations.modularml\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("UsageError ModularML cannot be imported without matplotlib")
    assert 'pip install "holdfast[modularml]"' in done.stdout


@pytest.mark.slow
def test_the_extra_brings_all_that_an_experiment_imports():  # 40
    pytest.importorskip("packaging")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(NEEDED)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["trained and saved"]), done.stderr
