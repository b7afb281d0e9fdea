"""Indian Pines: one AVIRIS scene of farmland that comes with the package tensorly, 145 x 145 pixels.

Baumgardner, Biehl and Landgrebe 2015, doi:10.4231/R7RX991C, CC BY 3.0. The stored numbers are
1000 + 500 x radiance; radiance is divided by 15 and clipped to [0, 1].
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import DEFAULT_CAMERA, Camera
from hsrzoo.datasets.base import Scene
from hsrzoo.datasets.common import BAND_CHOICES, IndexedDataset, package_folder
from hsrzoo.errors import FormatError, require_known
from hsrzoo.io.npz import load as load_npy
from hsrzoo.spec import DatasetSpec

STRIPS = {"train": (0, 81), "valid": (89, 113), "test": (121, 145)}
"""Split -> first column and the one after the last. 8 columns between strips are used by none, so
that no patch, and hardly any field's edge, is shared."""
_FILE = "Indian_pines_corrected.npy"
_BANDS_FILE = Path(__file__).parent.parent / "data" / "indian-pines-bands.csv"
_SHAPE = (145, 145, 200)
_OFFSET, _GAIN, _FULL_SCALE = 1000.0, 500.0, 15.0


class IndianPines(IndexedDataset):
    """One scene per split: a strip of columns at full height."""

    name = "indian-pines"

    def __init__(self, root: Path, bands: str = "visible", response: str = DEFAULT_CAMERA) -> None:
        """``root``: not used, for the scene comes with a package; ``bands``: ``visible`` (resampled to
        400-700 nm at 10 nm) or ``all`` 200 as measured; ``response``: the camera that renders RGB."""
        require_known("choice of bands of indian-pines", bands, BAND_CHOICES)
        self.camera = Camera.named(response)
        self.bands = VISIBLE_31 if bands == "visible" else native_bands()
        self.info = {**self.camera.record(), "bands": bands, "scaling": "radiance/15, clipped to [0, 1]"}
        self.folder = package_folder(SPEC, "tensorly", "datasets/data", [_FILE], "'tensorly>=0.9,<0.11'")
        self.file = self.folder / _FILE
        self.index = {split: [f"columns-{first}-{end - 1}"] for split, (first, end) in STRIPS.items()}

    def read(self, split: str, scene: str) -> Scene:
        """Cube (31 or 200, 145, width of the strip); RGB rendered from it in 8 bits."""
        first, end = STRIPS[split]
        cube = np.clip(self._scaled()[:, :, first:end], 0, 1)
        return self.rendered(scene, cube)

    def files(self) -> list[Path]:
        """The one file."""
        return [self.file]

    def notes(self) -> list[str]:
        """Also how many values are clipped."""
        notes = super().notes()
        with suppress(FormatError):  # a problem of every scene
            scaled = self._scaled()
            outside = int(np.count_nonzero((scaled < 0) | (scaled > 1)))
            notes.append(f"{outside} of {scaled.size} values are outside [0, 1] and are clipped")
        return notes

    def _scaled(self) -> np.ndarray:
        """The whole scene in the chosen bands, (C, 145, 145) float32, not clipped."""
        stored, _ = load_npy(self.file)
        if stored.shape != _SHAPE:
            raise FormatError(f"{self.file} is not Indian Pines", expected=_SHAPE, got=stored.shape)
        cube = ((stored - _OFFSET) / (_GAIN * _FULL_SCALE)).transpose(2, 0, 1)
        if self.bands is VISIBLE_31:
            cube, _ = native_bands().resample(cube, VISIBLE_31)
        return np.ascontiguousarray(cube, dtype=np.float32)


@cache
def native_bands() -> BandSet:
    """The 200 AVIRIS bands left after removing those of water vapour; centres are not sorted."""
    return BandSet.of(np.loadtxt(_BANDS_FILE, skiprows=2).tolist())


SPEC = DatasetSpec(
    name="indian-pines",
    open=IndianPines,
    title="Indian Pines, an AVIRIS scene of farmland in Indiana, 12 June 1992",
    where="It comes with the package tensorly (CC BY 3.0, doi:10.4231/R7RX991C).",
    layout="tensorly/datasets/data/Indian_pines_corrected.npy inside the installed package tensorly",
)
