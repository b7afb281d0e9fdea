"""The result of a reconstruction. Without torch, so that exported networks give it, too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


METAMER: Literal["metamer"] = "metamer"
"""Instead of a probability: the range of all spectra that have the colour of the pixel."""
Level = float | Literal["metamer"]
"""Of intervals: a probability, or :data:`METAMER`."""


@dataclass(frozen=True)
class Reconstruction:
    """A cube that knows its bands.

    Attributes:
        cube: Reflectance, float32: numpy (H, W, C) for a numpy image, torch (B, C, H, W) for a torch batch.
        bands: The wavelengths of the C bands.
        model: Name of the model that made it.
        weights_sha256: Of the model's weights, hexadecimal; None for random weights.
        level: Probability of the intervals, or "metamer"; None where none were asked for, as for what
            follows.
        lower: Lower ends of the intervals, as the cube; not below 0.
        upper: Upper ends.
        unfamiliar: float32 in [0, 1], numpy (H, W) or torch (B, H, W): the percentile of the distance of a
            pixel's colour, exposure apart, from the colours of training, over training pixels of scenes
            held out. Beyond 0.99 a pixel is unlike the training data. None for "metamer".
    """

    cube: np.ndarray | Tensor
    bands: BandSet
    model: str
    weights_sha256: str | None = None
    level: Level | None = None
    lower: np.ndarray | Tensor | None = None
    upper: np.ndarray | Tensor | None = None
    unfamiliar: np.ndarray | Tensor | None = None

    def __repr__(self) -> str:  # not the arrays, which a notebook would print whole
        level = "" if self.level is None else f", interval={self.level}"
        return f"Reconstruction({self.model}, {tuple(self.cube.shape)}, {self.bands}{level})"

    def save(self, path: str | Path, *, format: str | None = None) -> None:
        """Write the cube with its wavelengths as (H, W, C).

        Args:
            path: The file. Its suffix decides the format: .hdr, .tif, .h5, .mat, .npz, .zarr; .npy holds
                the numbers alone.
            format: The format's name, where the suffix is another.

        Raises:
            InputError: A torch batch of several images, or an unknown format.
        """
        path, cube = Path(path), self._array()
        if format is None and path.suffix.lower() == ".npy":
            from hsrzoo.io.common import output_file

            with output_file(path) as temporary, temporary.open("wb") as stream:
                np.save(stream, cube)
            return
        from hsrzoo.io import save_cube  # pulls in the file formats only when one is written

        about = {"model": self.model, "weights_sha256": self.weights_sha256 or "random"}
        save_cube(path, cube, self.bands, format=format, metadata=about)

    def _array(self) -> np.ndarray:
        """(H, W, C) in memory's order."""
        cube = self.cube
        if not isinstance(cube, np.ndarray):
            if len(cube) != 1:
                raise InputError(
                    "A file holds one cube", expected="a batch of one image", got=f"{len(cube)} images"
                )
            cube = cube[0].permute(1, 2, 0).cpu().numpy()
        return np.ascontiguousarray(cube)
