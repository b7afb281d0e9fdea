"""Synthetic scenes, to run a model without real data (the contract test)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.camera import quantise
from hsrzoo.datasets.base import Scene
from hsrzoo.datasets.common import IndexedDataset

SIDE = 32
"""Height and width of the scenes unless another is asked for, pixels."""


class Synthetic(IndexedDataset):
    """Pixels of random colour; each one's spectrum is a fixed smooth function of its RGB.

    Works for any bands: red, green and blue have fixed places along the band axis. Not linear in
    RGB, so that better and worse models differ.
    """

    name = "synthetic"

    def __init__(self, bands: BandSet, scenes: int = 2, side: int = SIDE, bits: int | None = None) -> None:
        """``bits``: values are rounded to as many, as a file would hold them; None: not rounded."""
        self.bands, self.info, self.side, self.bits = bands, {}, side, bits
        self.index = {"train": [chr(ord("a") + i) for i in range(scenes)]}

    def read(self, split: str, scene: str) -> Scene:
        """RGB (3, side, side) and cube (C, side, side), float32 in [0, 1]."""
        rgb = np.random.default_rng(ord(scene)).random((3, self.side, self.side), dtype=np.float32)
        place = np.linspace(0, 1, len(self.bands))[:, None]
        weights = np.exp(-8 * (place - np.array([0.9, 0.5, 0.1])) ** 2)
        weights /= weights.sum(axis=1, keepdims=True)
        cube = np.einsum("cr,rhw->chw", weights, rgb**1.5)
        return Scene(scene, *(quantise(values, self.bits).astype(np.float32) for values in (rgb, cube)))

    def files(self) -> list[Path]:
        """None: the scenes are made, not read."""
        return []

    def fingerprint(self) -> str:
        """A constant."""
        return "synthetic-1"
