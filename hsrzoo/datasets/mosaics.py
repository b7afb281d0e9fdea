"""Scenes made of single spectra: mosaics of square blocks, a spectrum each, at random brightness."""

from __future__ import annotations

import numpy as np

SIDE, BLOCK = 64, 4
"""Pixels of a mosaic's side, and of a block's, which holds one spectrum."""
BRIGHTNESS = (0.3, 1.0)
"""Every block's spectrum is multiplied by a number drawn evenly from this range."""
EVERY = 10
"""Every 10th spectrum of a library is kept for validation."""
_SEED = 0
PER_SCENE = (SIDE // BLOCK) ** 2
DESCRIPTION = f"{SIDE} x {SIDE} pixels, blocks of {BLOCK}, brightness {BRIGHTNESS}, seed {_SEED}"
"""How mosaics are made, for the records of data sets."""


def mosaics_of(count: int) -> int:
    """How many mosaics show ``count`` spectra."""
    return -(-count // PER_SCENE)


def mosaic(spectra: np.ndarray, number: int, stream: int) -> np.ndarray:
    """Mosaic ``number`` (0 is the first) of spectra in an order drawn once, each shown at least once: the
    last mosaic is filled up with the first spectra again.

    Args:
        spectra: (N, C) reflectance.
        number: Below ``mosaics_of(N)``.
        stream: Which random numbers: that of the split.

    Returns:
        (C, 64, 64) float32: reflectance times brightness.
    """
    generator = np.random.default_rng((_SEED, stream))
    count = mosaics_of(len(spectra))
    order = np.resize(generator.permutation(len(spectra)), (count, PER_SCENE))
    brightness = generator.uniform(*BRIGHTNESS, order.shape)
    blocks = spectra[order[number]] * brightness[number, :, None]
    grid = blocks.T.reshape(-1, SIDE // BLOCK, SIDE // BLOCK)
    return grid.repeat(BLOCK, axis=1).repeat(BLOCK, axis=2).astype(np.float32)
