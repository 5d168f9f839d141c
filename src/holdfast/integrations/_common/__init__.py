"""Shared by the integrations."""

__all__: list[str] = []
