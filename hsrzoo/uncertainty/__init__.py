"""Prediction intervals: how far each band of each pixel may be off, with a coverage that was measured."""

UNLIKE = 0.99
"""Pixels beyond this percentile are unlike the training data: 1 % of held-out training pixels are."""
