"""JPEG: what a file format made for the eye leaves of the image, the truth left alone."""

from __future__ import annotations

import numpy as np

from hsrzoo.camera import jpeg_decode, jpeg_encode
from hsrzoo.datasets.base import pixels_with_data
from hsrzoo.perturb import Perturbed
from hsrzoo.spec import PerturbationSpec


def compress(rgb: np.ndarray, cube: np.ndarray, quality: int, generator: np.random.Generator) -> Perturbed:
    """RGB encoded as a JPEG file and decoded again, by Pillow: 8 bits, colour at half resolution (4:2:0).

    The values go into the file as they are, without a tone curve: a linear image has more of its
    content in the shadows than JPEG's tables were made for. ``info``: quality, subsampling, ``bytes`` of
    the file, and ``psnr_to_clean`` in dB over pixels with data (infinite where nothing changed).
    """
    data = jpeg_encode(rgb, quality)
    decoded = jpeg_decode(data)
    error = float(np.mean(pixels_with_data(decoded - rgb, cube) ** 2))
    psnr = -10 * float(np.log10(error)) if error else float("inf")
    info = {"quality": quality, "subsampling": "4:2:0", "bytes": len(data), "psnr_to_clean": psnr}
    return decoded, cube, info


SPEC = PerturbationSpec(
    name="jpeg",
    apply=compress,
    severities={"95": 95, "65": 65, "35": 35},
    default=("95", "65", "35"),
    summary="RGB through a JPEG file (4:2:0), cube unchanged",
)
