"""Shared by the integrations."""
