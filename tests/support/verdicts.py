"""Verdicts that tests of several packages expect."""

WITHOUT_VARIABLES = "exact but for: the script's variables"
"""Of a run with `variables="off"` of which everything that was handed over came back."""
