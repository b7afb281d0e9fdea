"""ICVL: about 200 natural scenes, 400-700 nm in 31 bands.

Arad and Ben-Shahar, "Sparse Recovery of Hyperspectral Signal from Natural RGB Images", ECCV 2016.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hsrzoo.bands import VISIBLE_31
from hsrzoo.camera import DEFAULT_CAMERA
from hsrzoo.datasets.folder import Folder
from hsrzoo.datasets.layout import child
from hsrzoo.spec import DatasetSpec

FULL_SCALE = 4095.0
"""Largest of the 12-bit values stored."""


def open_icvl(
    root: Path,
    response: str = DEFAULT_CAMERA,
    key: str = "rad",
    axes: str | None = None,
    scale: str | float = FULL_SCALE,
    nodata: str | float | None = None,
) -> Folder:
    """Open ICVL under the data root; ``response`` renders RGB, the other options are those of ``folder``.

    MATLAB v7.3 files hold ``rad`` as 31 x W x H, which MATLAB shows as H x W x 31. The .hdr and .raw files
    of the same names, with the 519 bands of the sensor, are left out.
    """
    settings: dict[str, Any] = {"key": key, "axes": axes, "scale": scale, "nodata": nodata}
    settings |= {"response": response, "suffix": ".mat"}
    return Folder(child(root, "icvl"), SPEC, bands=VISIBLE_31, **settings)


SPEC = DatasetSpec(
    name="icvl",
    open=open_icvl,
    title="ICVL hyperspectral images of natural scenes, 400-700 nm in 31 bands",
    where="Ben-Gurion University offers it under terms that you accept there (CC BY-NC-ND 4.0): "
    "https://huggingface.co/datasets/ICVL-BGU/ICVL_HS_2016 (mat/), https://icvl.cs.bgu.ac.il/hyperspectral/.",
    size="202 scenes of 1392 x 1300 pixels and 31 bands, 45 GB as float32 by its shape",
    mirrors=("https://huggingface.co/datasets/danaroth/icvl",),
    layout="icvl/SCENE.mat, all in the split valid; or in icvl/train, icvl/valid and icvl/test, as you "
    "divide them: there is no official split",
)
