"""Superpixels of an image, for networks that ask for segments (``hsrzoo.extras.Segmentation``)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hsrzoo.errors import PluginError


def slic(
    image: np.ndarray, n_segments: Sequence[int], compactness: float = 10.0, max_num_iter: int = 10
) -> np.ndarray:
    """Label maps by SLIC (Achanta et al., TPAMI 2012) of scikit-image, one for each number of segments.

    Args:
        image: (H, W, 3) uint8, R, G, B.
        n_segments: About how many segments each of the K maps has.
        compactness: Weight of distance in space to that in colour.
        max_num_iter: Iterations of its k-means.

    Returns:
        (K, H, W) int64, from 1 on.

    Raises:
        PluginError: scikit-image is not installed.
    """
    try:
        from skimage.segmentation import slic as segments
    except ImportError as error:
        raise PluginError(
            "Superpixels need scikit-image", got=str(error), fix="pip install 'hsrzoo[superpixels]'"
        ) from None
    options = {"compactness": compactness, "max_num_iter": max_num_iter, "start_label": 1}
    return np.stack([segments(image, n_segments=count, **options) for count in n_segments])
