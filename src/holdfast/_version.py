"""The version of this library, importable without the rest of it."""

__version__ = "0.1.0"
