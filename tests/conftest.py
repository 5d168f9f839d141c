"""Beside this file lie helpers that tests of every folder import; pytest finds them because it is here."""
