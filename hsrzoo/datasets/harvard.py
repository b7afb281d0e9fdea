"""Harvard: 77 scenes in and out of doors, 420-720 nm in 31 bands.

Chakrabarti and Zickler, "Statistics of Real-World Hyperspectral Images", CVPR 2011. Bands were taken one
after the other; the mask ``lbl`` marks where something moved meanwhile.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.camera import DEFAULT_CAMERA
from hsrzoo.datasets.common import mask_among
from hsrzoo.datasets.folder import Folder
from hsrzoo.datasets.layout import child
from hsrzoo.errors import DatasetError, require_known
from hsrzoo.io import mat
from hsrzoo.io.arrays import cube_among
from hsrzoo.io.common import CubeAndBands, require_file
from hsrzoo.spec import DatasetSpec

BANDS = BandSet.regular(420, 720, 10)
MASKS = {"zero": "is 0", "nonzero": "is not 0", "none": ""}
"""Which pixels have no data, by their value in ``lbl``."""
_MASK_KEY = "lbl"


class Harvard(Folder):
    """A folder of MATLAB v5 files with ``ref`` (H, W, 31) and the mask ``lbl`` (H, W)."""

    def __init__(self, folder: Path, spec: DatasetSpec, *, mask: str, **settings: Any) -> None:
        """``mask``: pixels whose ``lbl`` is ``zero``, or ``nonzero``, have no data; ``none``: all have."""
        require_known("reading of Harvard's mask", mask, MASKS)
        self._mask = mask
        super().__init__(folder, spec, **settings)
        self.info["mask"] = mask

    def notes(self) -> list[str]:
        """Also how the mask is read."""
        read = f"pixels whose {_MASK_KEY} {MASKS[self._mask]} have no data"
        return super().notes() + ([] if self._mask == "none" else [read])

    def _read(self, file: Path) -> CubeAndBands:
        require_file(file)
        with mat.variables(file) as found:
            cube, bands = cube_among(found, "ref", "hwc", file, scale=self._scale, no_data=self._no_data)
            if self._mask != "none":
                fix = "Read the scenes without masks: --data-option mask=none"
                mask = mask_among(found, _MASK_KEY, cube.shape[:2], file, DatasetError, fix)
                cube[(mask == 0) if self._mask == "zero" else (mask != 0)] = np.nan
        return cube, bands


def open_harvard(
    root: Path, response: str = DEFAULT_CAMERA, mask: str = "zero", scale: str | float | None = None
) -> Harvard:
    """Open Harvard under the data root; ``response`` renders RGB, cubes are divided by ``scale``."""
    settings: dict[str, Any] = {"scale": scale, "response": response, "suffix": ".mat"}
    return Harvard(child(root, "harvard"), SPEC, mask=mask, bands=BANDS, **settings)


SPEC = DatasetSpec(
    name="harvard",
    open=open_harvard,
    title="Harvard real-world hyperspectral images, 420-720 nm in 31 bands",
    where="Harvard offers it for research, not for commerce; read its page's terms: "
    "http://vision.seas.harvard.edu/hyperspec/.",
    size="77 scenes of 1040 x 1392 pixels and 31 bands, about 7.5 GB to download",
    mirrors=("https://huggingface.co/datasets/danaroth/harvard",),
    layout="harvard/SCENE.mat (or in harvard/CZ_hsdb and harvard/CZ_hsdbi), all in the split valid; or in "
    "harvard/train, harvard/valid and harvard/test, as you divide them: there is no official split",
)
