"""Suites of frameworks, run with Holdfast in every training: what passes without it has to pass with it.

    python -m tests.support.peer_suites lightning PATH-TO-A-CHECKOUT

Nothing of theirs is kept here: a person points this at a checkout of the framework's repository, of the version that
is installed or near it. Each suite is run as it is first, then with Holdfast, and what fails is tried a second time.
"""
