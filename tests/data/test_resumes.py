"""The law: take k batches, save, build anew, resume: all that follows is what would have followed."""

from __future__ import annotations

import gc
import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from holdfast import rng
from holdfast.data import BatchSource
from tests.support import data_cases
from tests.support.data_cases import CASES, SEED_AT_START, WITH_WORKERS, resume, save, train, train_on

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata 0.11 under torch 2.13
EPOCH = 1  # the one that is interrupted; one has gone before, two come after


@pytest.fixture(autouse=True)
def _streams_of_others_stay():
    with rng.preserved():
        yield


def uninterrupted(build: Callable[[], BatchSource]) -> list[list[Any]]:
    rng.seed_everything(SEED_AT_START)
    source = build()
    return train(source, source.begin(0), 0, more_epochs=3)


def interrupted(build: Callable[[], BatchSource]) -> list[dict[str, Any]]:
    """What was saved after 0, 1, 2, … batches of the epoch, and after its end."""
    rng.seed_everything(SEED_AT_START)
    source = build()
    train(source, source.begin(0), 0, more_epochs=0)
    batches = source.begin(EPOCH)
    saved = [save(source)]
    for batch in batches:
        train_on(batch)
        saved.append(save(source))
    return [*saved, save(source)]


@pytest.mark.parametrize("build", [pytest.param(build, id=name) for name, build in CASES.items()])
def test_what_follows_a_resume_is_what_would_have_followed(build):
    expected = uninterrupted(build)[EPOCH:]
    saved = interrupted(build)
    last = len(expected[0])
    for k in sorted({0, 1, last // 2, last - 1, last, last + 1}):
        assert resume(build, saved[k], EPOCH) == [expected[0][k:], *expected[1:]], f"after {k} batches"


@pytest.mark.medium
@pytest.mark.parametrize("build", [pytest.param(build, id=name) for name, build in WITH_WORKERS.items()])
def test_it_follows_with_workers_too(build):
    expected = uninterrupted(build)[EPOCH:]
    saved = interrupted(build)
    for k in (3, len(expected[0]) + 1):  # in mid-epoch not all workers have made as many batches
        assert resume(build, saved[k], EPOCH) == [expected[0][k:], *expected[1:]], f"after {k} batches"


@pytest.mark.medium
@pytest.mark.parametrize("name", ["shuffle", "2 persistent workers"])
def test_it_follows_in_a_fresh_process(name, tmp_path):
    build = (CASES | WITH_WORKERS)[name]
    expected = uninterrupted(build)[EPOCH:]
    (tmp_path / "in").write_bytes(pickle.dumps(interrupted(build)[3]))
    command = [sys.executable, data_cases.__file__, name, str(tmp_path / "in"), str(tmp_path / "out")]
    subprocess.run(command, check=True, timeout=60)
    assert pickle.loads((tmp_path / "out").read_bytes()) == [expected[0][3:], *expected[1:]]


@pytest.mark.parametrize("name", [*CASES, "2 persistent workers that draw"])
def test_an_epoch_can_be_interrupted_again_and_again(name):
    """KempnerForge#57: the second resume within one epoch restarted it."""
    build = (CASES | WITH_WORKERS)[name]
    expected = uninterrupted(build)[EPOCH:]
    saved = interrupted(build)[1]
    for k in (1, 2):
        rng.seed_everything(999)
        source = build()
        rest = source.resume(saved["source"])
        rng.restore_state(saved["streams"])
        assert train_on(next(rest)) == expected[0][k]
        saved = save(source)
    assert resume(build, saved, EPOCH) == [expected[0][3:], *expected[1:]]


def test_a_first_epoch_not_begun_yet_resumes_from_its_start():
    for name in ("shuffle, generator", "own", "stateful shuffle", "stateful stream"):
        build = CASES[name]
        expected = uninterrupted(build)
        rng.seed_everything(SEED_AT_START)
        saved = save(build())
        assert saved["source"]["epoch"] is None
        assert resume(build, saved, epoch=-1)[1:] == expected[:2]


def test_persistent_workers_of_a_run_that_is_forgotten_are_told_to_end(monkeypatch):
    source = WITH_WORKERS["2 persistent workers"]()
    list(source.begin(0))
    waited_in_vain, join = [], multiprocessing.Process.join

    def watched(worker, timeout=None):
        join(worker, timeout)
        waited_in_vain.append(worker.is_alive())

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "join", watched)
    source.itself = source  # type: ignore[attr-defined]  # as a run is in a cycle
    del source
    gc.collect()
    assert waited_in_vain == [False, False]
