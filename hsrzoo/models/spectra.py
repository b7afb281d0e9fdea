"""What is known of the spectra of natural scenes, measured on training scenes alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.camera import Camera, camera_names
from hsrzoo.datasets.base import Dataset
from hsrzoo.errors import DatasetError
from hsrzoo.models.camera_estimate import colours_of

_FILE = Path(__file__).parents[1] / "data" / "spectra-cave.json"


@dataclass(frozen=True, eq=False)
class Spectra:
    """Moments and colours of the spectra of training scenes."""

    bands: BandSet
    mean: np.ndarray
    """(C,) float64."""
    covariance: np.ndarray
    """(C, C) float64."""
    colours: Mapping[str, np.ndarray]
    """Camera -> in how many scenes each colour occurs, as :mod:`.camera_estimate` counts them."""
    origin: Mapping[str, Any]
    """Data set, split, scenes, fingerprint and number of pixels."""

    @property
    def second_moment(self) -> np.ndarray:
        """(C, C) float64: mean of y y^T."""
        return self.covariance + np.outer(self.mean, self.mean)

    def to_json(self) -> dict[str, Any]:
        """Plain lists, for a file."""
        return {
            "origin": dict(self.origin),
            "bands": self.bands.to_json(),
            "mean": self.mean.tolist(),
            "covariance": self.covariance.tolist(),
            "colours": {name: table.tolist() for name, table in self.colours.items()},
        }


@cache
def bundled_spectra() -> Spectra:
    """Those of cave/train, 31 bands (``scripts/export_training_spectra.py``)."""
    stored = json.loads(_FILE.read_text())
    return Spectra(
        BandSet.from_json(stored["bands"]),
        np.array(stored["mean"]),
        np.array(stored["covariance"]),
        {name: np.array(table) for name, table in stored["colours"].items()},
        stored["origin"],
    )


def spectra_for(bands: BandSet, model: str) -> Spectra:
    """The bundled spectra; BandsError where a model has other bands than they have."""
    spectra = bundled_spectra()
    spectra.bands.require_same(
        bands, "the covariance of spectra that camera consistency needs", f"the model {model}",
        fix="Leave it out, or use hsrzoo.models.consistency.Consistency with a covariance of your own",
    )  # fmt: skip
    return spectra


def spectral_covariance(dataset: Dataset, split: str, scenes: Sequence[str] | None = None) -> Spectra:
    """Mean, covariance and colours of the spectra of ``scenes`` (None: all of the split).

    Every pixel with data in all bands counts once. Colours are those that each built-in camera sees, in
    8 bits. Raises DatasetError where there are fewer pixels than bands.
    """
    names = dataset.scenes(split) if scenes is None else list(scenes)
    count, total = 0, np.zeros(len(dataset.bands))
    products = np.zeros((len(dataset.bands),) * 2)
    cameras = {name: Camera.named(name) for name in camera_names()}
    seen: dict[str, Any] = dict.fromkeys(cameras, 0)
    for name in names:
        cube = dataset.load(split, name).cube
        spectra = cube.reshape(len(cube), -1).astype(np.float64)
        spectra = spectra[:, ~np.isnan(spectra).any(axis=0)]
        count, total = count + spectra.shape[1], total + spectra.sum(axis=1)
        products += spectra @ spectra.T
        for camera in cameras.values():
            colours = colours_of(camera.render(cube, dataset.bands))
            seen[camera.name] = seen[camera.name] + colours.astype(int)
    if count <= len(dataset.bands):
        raise DatasetError(
            f"{dataset.name}/{split} has too few spectra for a covariance",
            expected=f"more than {len(dataset.bands)} pixels with data in all bands",
            got=count,
        )
    mean = total / count
    covariance = (products - count * np.outer(mean, mean)) / (count - 1)
    origin = {
        "dataset": dataset.name, "split": split, "scenes": names, "pixels": count,
        "fingerprint": dataset.fingerprint(),
    }  # fmt: skip
    return Spectra(dataset.bands, mean, covariance, seen, origin)
