"""Python's `random.Random`, NumPy's `Generator` and `RandomState`: a closed table, restored in place."""

ADAPTERS = ()
