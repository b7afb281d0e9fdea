"""KAIST: 30 scenes in 31 bands, 420-720 nm, and crops of them.

Choi, Jeon, Nam, Gutierrez and Kim, "High-Quality Hyperspectral Reconstruction Using a Spectral Prior",
SIGGRAPH Asia 2017. The full scenes of 2704 x 3376 pixels come as OpenEXR, which no library at hand
reads; crops of 256 x 256 circulate as MATLAB v7.3.
"""

from __future__ import annotations

from pathlib import Path

from hsrzoo.bands import BandSet
from hsrzoo.camera import DEFAULT_CAMERA
from hsrzoo.datasets.folder import Folder
from hsrzoo.datasets.folder_files import Layout
from hsrzoo.datasets.layout import child
from hsrzoo.errors import FormatError
from hsrzoo.spec import DatasetSpec

BANDS = BandSet.regular(420, 720, 10)


def open_kaist(
    root: Path,
    response: str = DEFAULT_CAMERA,
    key: str | None = None,
    axes: str | None = None,
    bands: str | BandSet = BANDS,
    scale: str | float | None = None,
    nodata: str | float | None = None,
) -> Folder:
    """Open KAIST under the data root; ``response`` renders RGB, the other options are those of ``folder``.

    Copies differ in key (if not given: ``cube``, or the only array with three axes), order of axes (as
    MATLAB shows them; "hwc" if not given) and bands.
    """
    folder = child(root, "kaist")
    where = Layout(rendered=True, several=True)
    if not where.splits(where.base(folder)):
        _refuse_exr(folder)
    return Folder(
        folder, SPEC, bands=bands, key=key, axes=axes, scale=scale, nodata=nodata, response=response
    )


def _refuse_exr(folder: Path) -> None:
    found = next((f for f in folder.rglob("*") if f.suffix.lower() == ".exr"), None)
    if found is not None:
        raise FormatError(
            f"{found} is OpenEXR, which cannot be read here",
            expected=".mat, .h5, .npz, .tif or .hdr",
            fix="Convert the scenes with a program that reads OpenEXR: numpy.savez('SCENE.npz', "
            f"cube=array) with an array of H x W x {len(BANDS)}, bands in ascending order",
        )


SPEC = DatasetSpec(
    name="kaist",
    open=open_kaist,
    title="KAIST hyperspectral images of objects, 420-720 nm in 31 bands",
    where="KAIST's Visual Computing Lab offers it for research, read its page's terms: "
    "https://vclab.kaist.ac.kr/siggraphasia2017p1/ (the scenes are OpenEXR: convert them).",
    size="30 scenes of 2704 x 3376 pixels and 31 bands, 34 GB as float32 by its shape",
    layout="kaist/SCENE.mat (or .h5, .npz), all in the split valid; or in kaist/train, kaist/valid and "
    "kaist/test, as you divide them: there is no official split",
)
