"""Synthetic cubes from a prior over codes."""
