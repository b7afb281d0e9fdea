"""Prediction intervals: how far each band of each pixel may be off, with a coverage that was measured."""
