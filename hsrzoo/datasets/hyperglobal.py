"""HyperGlobal-450K: patches of satellite images. It has no public layout: cubes with bands you declare.

Wang et al., "HyperSIGMA: Hyperspectral Intelligence Comprehension Foundation Model", 2024. The samples that
spectral reconstruction was published on are 64 x 64 pixels in 191 bands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hsrzoo.bands import BandSet
from hsrzoo.camera import DEFAULT_CAMERA
from hsrzoo.datasets.folder import Folder
from hsrzoo.datasets.folder_files import Layout
from hsrzoo.datasets.wavelengths import FILE_NAME, read_wavelengths
from hsrzoo.errors import BandsError
from hsrzoo.io.photo import Encoding
from hsrzoo.spec import DatasetSpec

_FOLDER = "hyperglobal-450k"


class HyperGlobal(Folder):
    """A folder of cubes; ``verify`` reports where they differ from the published samples."""

    usual_shape = "191 x 64 x 64"


def open_hyperglobal(
    root: Path,
    bands: str | BandSet | None = None,
    path: str | Path | None = None,
    key: str | None = None,
    axes: str | None = None,
    scale: str | float | None = None,
    nodata: str | float | None = None,
    response: str | None = DEFAULT_CAMERA,
    zero_bands: str = "keep",
    encoding: Encoding = "auto",
    bit_depth: str | int | None = None,
) -> HyperGlobal:
    """Open cubes; ``bands`` must be declared here or in wavelengths.csv, the rest is as in ``folder``.

    RGB is rendered by ``response``; ``response=none`` reads photographs in ``rgb/``.
    """
    folder = root / Path(path or _FOLDER).expanduser()
    rendered = response not in (None, "none")
    where = Layout(rendered=rendered, several=True)
    folder = where.base(folder)
    if bands is None and (folder / FILE_NAME).is_file():
        bands = read_wavelengths(folder / FILE_NAME)
    if bands is None and where.splits(folder):
        raise BandsError(
            "The bands of hyperglobal-450k must be declared: the set has no public layout",
            expected=f"--data-option bands=FILE.csv, or {folder / FILE_NAME} (a column wavelength_nm)",
            fix="See docs/hyperglobal.md for a walk-through",
        )
    settings: dict[str, Any] = {"key": key, "axes": axes, "scale": scale, "nodata": nodata}
    settings |= {"zero_bands": zero_bands, "encoding": encoding, "bit_depth": bit_depth}
    return HyperGlobal(folder, SPEC, bands=bands, response=response if rendered else None, **settings)


SPEC = DatasetSpec(
    name="hyperglobal-450k",
    open=open_hyperglobal,
    title="HyperGlobal-450K satellite patches, as a folder of cubes with declared bands",
    where="No public layout of it was found: ask its authors for the samples and their bands, and see "
    "docs/hyperglobal.md.",
    layout=f"{_FOLDER}/NAME.mat (or .h5, .npz, .tif, .hdr) and {_FOLDER}/wavelengths.csv, optionally with "
    "the cubes in train, valid and test",
)
