"""Jasper Ridge: a test cube of unmixing, 100 x 100 pixels of water, trees, soil and road, 198 AVIRIS bands.

The cube circulates with the places of its bands among the sensor's 224, but without wavelengths. Even steps
of 9.46 nm from 380 nm are assumed, which nobody has verified: bands may be off by some 10 nm.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.camera import DEFAULT_CAMERA
from hsrzoo.datasets.layout import child
from hsrzoo.datasets.measured import Measured, Source
from hsrzoo.spec import DatasetSpec

WITH_DATA = np.r_[4:108, 113:154, 167:220]
"""Places, counted from 1, of the bands in the file: without both ends and without water vapour."""
BANDS = BandSet.of((380 + 9.46 * (WITH_DATA - 1)).tolist())
SOURCES = {
    "jasper-ridge": Source(
        "jasperRidge2_R198.mat",
        (198, 100, 100),
        {"train": (0, 68), "valid": (76, 100)},  # 8 rows between them are used by none
        scale=5000.0,
        axes="c(wh)",
        key="Y",
        bands=BANDS,
    )
}


def open_jasper_ridge(root: Path, bands: str = "visible", response: str = DEFAULT_CAMERA) -> Measured:
    """Open Jasper Ridge under the data root; the options are those of :class:`Measured`."""
    info = {"sensor": "jasper-ridge", "wavelengths": "380 + 9.46 (i - 1) nm, unverified"}
    return Measured(SPEC, child(root, "jasper_ridge"), SOURCES, bands=bands, response=response, info=info)


SPEC = DatasetSpec(
    name="jasper-ridge",
    open=open_jasper_ridge,
    title="Jasper Ridge, an AVIRIS scene of water, trees and soil in 198 bands of unverified wavelengths",
    where="A test cube of unmixing that many pages on the subject offer; its terms are not stated.",
    size="one scene of 100 x 100 pixels and 198 bands, 3 MB",
    mirrors=("https://huggingface.co/datasets/danaroth/jasper_ridge",),
    layout="jasper_ridge/jasperRidge2_R198.mat with Y (198, 10000), nRow and nCol",
)
