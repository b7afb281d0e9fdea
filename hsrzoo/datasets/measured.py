"""Single measured scenes as data sets: whole, to score models on, and as strips, to learn spectra from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import DEFAULT_CAMERA, Camera
from hsrzoo.datasets.base import Scene
from hsrzoo.datasets.common import BAND_CHOICES, IndexedDataset, mask_among, missing, nothing_in
from hsrzoo.datasets.folder_files import parts_of
from hsrzoo.datasets.layout import child, unpacked
from hsrzoo.errors import BandsError, FormatError, require_known
from hsrzoo.io import load_cube, mat
from hsrzoo.spec import DatasetSpec

WHOLE = "whole"


@dataclass(frozen=True)
class Source:
    """One file with a cube, and which of its rows the splits take."""

    file: str
    """Its name in the set's folder; of ENVI's two files the binary."""
    shape: tuple[int, int, int]
    """(C, H, W) that it must have: ``rows`` mean nothing in another cutting."""
    rows: Mapping[str, tuple[int, int]]
    """Split -> first row and the one after the last."""
    scale: float = 1.0
    """Divides the stored values; the result is reflectance, or as near to it as the file comes."""
    axes: str | None = None
    key: str | None = None
    """The cube's variable, in files that hold several arrays."""
    bands: BandSet | None = None
    """Of files that do not state them."""
    empty: tuple[int, ...] = field(default=(), repr=False)
    """Bands that hold 0 throughout: no data."""
    mask: str | None = None
    """Variable (H, W) that is 0 at pixels without data."""


class Measured(IndexedDataset):
    """The splits ``train`` and ``valid``, which share no pixel, and ``whole``: every scene in full.

    ``whole`` holds the pixels of both, so it is for models that were trained on other sets. RGB is rendered
    from the bands as measured, before any resampling; a response is normalised over the bands that the
    sensor has (see :meth:`Camera.matrix`). Truth is not clipped, RGB is.
    """

    measured: BandSet
    contents = True  # a few MB

    def __init__(
        self,
        spec: DatasetSpec,
        folder: Path,
        sources: Mapping[str, Source],
        *,
        bands: str = "visible",
        response: str = DEFAULT_CAMERA,
        info: Mapping[str, Any],
    ) -> None:
        """``sources``: name -> file below ``folder``, all on the same bands; ``bands``: one of
        :data:`BAND_CHOICES`; ``response``: the camera that renders RGB; ``info``: what else to record."""
        require_known(f"choice of bands of {spec.name}", bands, BAND_CHOICES)
        self._sources, self._choice = dict(sources), bands
        self.name, self.folder = spec.name, unpacked(folder, lambda one: not self._absent(one))
        self.camera = Camera.named(response)
        if absent := self._absent(self.folder):
            raise missing(spec, folder, nothing_in(folder, f"no {', '.join(absent)}"))
        _, self.measured = self._stored(next(iter(self._sources)))
        self.bands = VISIBLE_31 if bands == "visible" else self.measured
        scale = {name: source.scale for name, source in self._sources.items()}
        self.info = {"bands": bands, **self.camera.record(), "scale": scale, **info}
        self._parts = self._divide()
        self.index = {split: sorted(parts) for split, parts in self._parts.items()}

    def read(self, split: str, scene: str) -> Scene:
        """Cube (C, rows, W) on the chosen bands, values as measured over ``scale``; RGB in 8 bits."""
        name, (first, end) = self._parts[split][scene]
        cube = np.ascontiguousarray(self._source(name)[:, first:end])
        return self.rendered(scene, cube)

    def files(self) -> list[Path]:
        """The files of all sources."""
        return [part for name in self._sources for part in parts_of(self._file(name))]

    def options(self) -> dict[str, Any]:
        """Bands, rows and options."""
        return {**self.info, "measured": self.measured.to_json(), "parts": self._parts}

    def notes(self) -> list[str]:
        """What was rendered from which bands, and what the splits share."""
        return [
            *super().notes(),
            f"{WHOLE} holds the pixels of train and valid too: it is for models trained on other sets",
        ]

    def _absent(self, folder: Path) -> list[str]:
        """Files of the sources that are not in ``folder``."""
        files = [source.file for source in self._sources.values()]
        return [file for file in files if not child(folder, file).is_file()]

    def _file(self, name: str) -> Path:
        return child(self.folder, self._sources[name].file)

    def _divide(self) -> dict[str, dict[str, tuple[str, tuple[int, int]]]]:
        """Split -> scene -> (source, its rows)."""
        parts: dict[str, dict[str, tuple[str, tuple[int, int]]]] = {"train": {}, "valid": {}, WHOLE: {}}
        for name, source in self._sources.items():
            parts[WHOLE][name] = (name, (0, source.shape[1]))
            for split, (first, end) in source.rows.items():
                parts[split][f"{name}-rows-{first}-{end - 1}"] = (name, (first, end))
        return parts

    def _stored(self, name: str) -> tuple[np.ndarray, BandSet]:
        """Values, (H, W, C) float32, and their bands; both without the empty ones."""
        source, file = self._sources[name], self._file(name)
        scale = None if source.scale == 1 else source.scale
        array, stated = load_cube(file, axes=source.axes, key=source.key, scale=scale)
        channels, *size = source.shape
        if array.shape != (*size, channels):
            raise FormatError(
                f"{file} is not the file that {self.name} expects",
                expected=f"shape {(*size, channels)} (H, W, C)",
                got=array.shape,
            )
        bands = source.bands or stated
        if bands is None:
            raise BandsError(
                f"The wavelengths of {file} are not known", expected=f"{channels} inside the file"
            )
        kept = [band for band in range(channels) if band not in source.empty]
        return array[:, :, kept], bands.select(kept)

    def _source(self, name: str) -> np.ndarray:
        """A whole scene: (C, H, W) float32 in the bands :attr:`measured`, NaN where there is no data."""
        source, file = self._sources[name], self._file(name)
        array, bands = self._stored(name)
        self.measured.require_same(bands, f"the set {self.name}", str(file), fix="Copy the file again")
        cube = array.transpose(2, 0, 1)
        if source.mask is not None:
            with mat.variables(file) as found:
                cube[:, mask_among(found, source.mask, cube.shape[1:], file, FormatError) == 0] = np.nan
        return cube
