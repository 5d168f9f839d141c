import pytest

from holdfast.variables import _guard


@pytest.fixture(autouse=True)
def failures_surface(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would only be logged in training is an error here."""
    monkeypatch.setattr(_guard, "raises", True)
