"""Stage 1: a multi-scale VQ-VAE trained on hyperspectral data."""
