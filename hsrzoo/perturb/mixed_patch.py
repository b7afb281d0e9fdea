"""Mixed patches: the scene's layout is destroyed, every pixel's colour and spectrum stay together."""

from __future__ import annotations

import numpy as np

from hsrzoo.perturb import DoesNotApplyError, Perturbed
from hsrzoo.spec import PerturbationSpec


def shuffle(rgb: np.ndarray, cube: np.ndarray, patch: int, generator: np.random.Generator) -> Perturbed:
    """Shuffle the patch x patch squares of both arrays by one random permutation.

    The grid starts at the top left; a border at the right and bottom that does not fill a patch
    stays where it is. ``info``: the patch size, how many patches there are and how many moved.
    """
    height, width = rgb.shape[1:]
    count = (height // patch) * (width // patch)
    if count < 2:
        raise DoesNotApplyError(
            f"There is nothing to shuffle in an image of {height} x {width} pixels",
            expected=f"room for two patches of {patch} x {patch} or more",
            fix="Choose a smaller severity or a larger image",
        )
    # The raw stream, because numpy promises that it never changes; permutation() may.
    order = np.argsort(generator.bit_generator.random_raw(count), kind="stable")
    moved = int(np.count_nonzero(order != np.arange(count)))
    info = {"patch": patch, "patches": count, "moved": moved}
    return _reorder(rgb, patch, order), _reorder(cube, patch, order), info


def _reorder(image: np.ndarray, patch: int, order: np.ndarray) -> np.ndarray:
    """Put patch ``order[i]``, counted by rows, at place i: a copy of (K, H, W)."""
    k, rows, columns = len(image), image.shape[1] // patch, image.shape[2] // patch
    height, width = rows * patch, columns * patch
    cells = image[:, :height, :width].reshape(k, rows, patch, columns, patch)
    cells = cells.transpose(1, 3, 0, 2, 4).reshape(rows * columns, k, patch, patch)
    mixed = cells[order].reshape(rows, columns, k, patch, patch).transpose(2, 0, 3, 1, 4)
    result = np.array(image, order="C", copy=True)
    result[:, :height, :width] = mixed.reshape(k, height, width)
    return result


SPEC = PerturbationSpec(
    name="mixed-patch",
    apply=shuffle,
    severities={"32": 32, "16": 16, "8": 8},
    default=("32", "16", "8"),
    summary="RGB and cube cut into p x p patches, shuffled by one permutation",
    touches_cube=True,
)
