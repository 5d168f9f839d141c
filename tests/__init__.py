"""Tests of the packages of `holdfast`, folder by folder; `tests.support` has what they share."""
