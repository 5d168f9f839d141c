"""Arrays of no framework, on the host."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

How = Literal["concat", "sum"]


def to_host(value: Any) -> npt.NDArray[Any]:
    """`value`, no tensor, as a NumPy array of the same shape."""
    if hasattr(value, "toarray"):  # scipy.sparse, as encoders and vectorizers give it
        return value.toarray()
    return np.asarray(value)
