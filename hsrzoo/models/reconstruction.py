"""The result of a reconstruction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from hsrzoo.bands import BandSet
from hsrzoo.errors import InputError
from hsrzoo.models.rgb import Array


@dataclass(frozen=True)
class Reconstruction:
    """A cube that knows its bands.

    Attributes:
        cube: Reflectance, float32: numpy (H, W, C) for a numpy image, torch (B, C, H, W) for a torch batch.
        bands: The wavelengths of the C bands.
        model: Name of the model that made it.
        weights_sha256: Of the model's weights, hexadecimal; None for random weights.
    """

    cube: Array
    bands: BandSet
    model: str
    weights_sha256: str | None = None

    def save(self, path: str | Path, *, format: str | None = None) -> None:
        """Write the cube with its wavelengths as (H, W, C).

        Args:
            path: The file. Its suffix decides the format: .hdr, .tif, .h5, .mat, .npz.
            format: The format's name, where the suffix is another.

        Raises:
            InputError: A torch batch of several images, or an unknown format.
        """
        from hsrzoo.io import save_cube  # pulls in the file formats only when one is written

        cube = self.cube
        if isinstance(cube, Tensor):
            if len(cube) != 1:
                raise InputError(
                    "A file holds one cube", expected="a batch of one image", got=f"{len(cube)} images"
                )
            cube = cube[0].permute(1, 2, 0).cpu().numpy()
        about = {"model": self.model, "weights_sha256": self.weights_sha256 or "random"}
        save_cube(Path(path), np.ascontiguousarray(cube), self.bands, format=format, metadata=about)
