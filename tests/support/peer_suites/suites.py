"""Which tests of which framework are run, and with which plugin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from . import lightning_internals as lightning


@dataclass(frozen=True)
class Suite:
    """Some tests of a framework, and what puts Holdfast into them.

    Args:
        plugin: the module that pytest loads.
        where: the folder of the checkout below which `paths` are.
        paths: files and folders of tests.
        internals: tests that fail by their nature, with the reason: id of the test, or of all its parameters.
    """

    name: str
    plugin: str
    where: str
    paths: tuple[str, ...]
    internals: Mapping[str, str]

    def reason(self, test: str) -> str | None:
        """Why this test is known to fail with Holdfast in it."""
        return self.internals.get(test) or self.internals.get(test.partition("[")[0])


SUITES = {
    "lightning": (
        Suite(
            "HoldfastCallback in every fit",
            "tests.support.peer_suites.lightning_callback",
            "tests/tests_pytorch",
            ("loops", "tuner", "callbacks", "trainer/test_dataloaders.py",
             "utilities/test_combined_loader.py", "utilities/test_data.py"),
            lightning.OF_CALLBACK,
        ),
        Suite(
            "HoldfastCheckpointIO in place of Lightning's",
            "tests.support.peer_suites.lightning_io",
            "tests/tests_pytorch",
            ("checkpointing/test_checkpoint_callback_frequency.py", "checkpointing/test_model_checkpoint.py",
             "checkpointing/test_torch_saving.py", "checkpointing/test_trainer_checkpoint.py"),
            lightning.OF_IO,
        ),
    )
}  # fmt: skip
