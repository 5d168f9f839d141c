"""What loading leaves behind: nothing but what was asked for."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from bundle_cases import place, save

from holdfast import bundle
from holdfast.errors import StateMismatchError
from holdfast.state import rebuild, restore
from holdfast.storage import MemoryDisk


def test_the_cycle_collector_is_as_it_was_after_a_load_even_one_that_fails():
    disk = MemoryDisk()
    save(disk, "runs", {"weight": np.arange(3.0)})
    for chosen in (gc.disable, gc.enable):
        chosen()
        before = gc.isenabled()
        with bundle.Bundle(disk, place("runs")) as opened:
            rebuild(opened)
            with pytest.raises(StateMismatchError):
                restore(opened, {"weight": np.arange(4.0)})
        assert gc.isenabled() is before
