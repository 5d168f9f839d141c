"""Holdfast checkpoints machine-learning experiments."""
