"""A fit of Keras whose script has lost a callback resumes, and says what it lacks; what the others remember comes back."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("keras")

from holdfast import Checkpointing, Write
from tests.support.integrations.crashing import Crash, beats

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def train(directory, names, crash_at=None):
    import keras

    from holdfast.integrations.keras import HoldfastCallback
    from tests.support.integrations.cases.keras_fit import LambdaCallback, compiled, fit

    made = {
        "stops": keras.callbacks.EarlyStopping("loss", patience=9),
        "slows": keras.callbacks.ReduceLROnPlateau("loss", patience=9),
    }
    beat = beats(crash_at)
    policy = Checkpointing(save_on="epoch_end", write=Write(durability="process"))
    held = HoldfastCallback(directory, checkpointing=policy)
    beating = LambdaCallback(on_train_batch_begin=lambda batch, logs=None: beat())
    fit(compiled(), [held, *(made[name] for name in names), beating], epochs=4)
    return held, made


def test_a_callback_that_is_gone_is_named(tmp_path):
    with pytest.raises(Crash):
        train(tmp_path, ["stops", "slows"], crash_at=20)
    held, made = train(tmp_path, ["slows"])
    assert held.last_resume is not None
    assert held.last_resume.verdict == (
        "not exact: a callback EarlyStopping 1 had a state in the checkpoint, and is not among the callbacks now"
    )
    assert made["slows"].best < float("inf")


def test_what_callbacks_remember_comes_back(tmp_path):
    expected, wanted = train(tmp_path / "a", ["stops", "slows"])
    with pytest.raises(Crash):
        train(tmp_path / "b", ["stops", "slows"], crash_at=20)
    held, made = train(tmp_path / "b", ["stops", "slows"])
    assert held.last_resume is not None
    assert held.last_resume.verdict == "exact"
    assert held.state_digest() == expected.state_digest()
    for name in ("stops", "slows"):
        assert (made[name].best, made[name].wait) == (wanted[name].best, wanted[name].wait)
