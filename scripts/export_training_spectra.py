"""Write hsrzoo/data/spectra-cave.json: mean, covariance and colours of the spectra of cave/train.

``HSRZOO_DATA=FOLDER python scripts/export_training_spectra.py``. Camera consistency reads the file. It
holds a mean of 31 numbers, 31 x 31 of a covariance, and for each built-in camera in how many of the scenes
each colour occurs; no pixel and no scene.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.camera import Camera
from hsrzoo.colour.responses import STANDARD
from hsrzoo.colour.spectra import Spectra
from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.base import Dataset
from hsrzoo.errors import DatasetError
from hsrzoo.models.camera_estimate import colours_of

FILE = Path(__file__).resolve().parent.parent / "hsrzoo" / "data" / "spectra-cave.json"


def spectral_covariance(dataset: Dataset, split: str, scenes: Sequence[str] | None = None) -> Spectra:
    """Mean, covariance and colours of the spectra of ``scenes`` (None: all of the split).

    Every pixel with data in all bands counts once. Colours are those that each built-in camera sees, in
    8 bits. Raises DatasetError where there are fewer pixels than bands.
    """
    names = dataset.scenes(split) if scenes is None else list(scenes)
    count, total = 0, np.zeros(len(dataset.bands))
    products = np.zeros((len(dataset.bands),) * 2)
    cameras = {name: Camera.named(name) for name in STANDARD}
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


def to_json(spectra: Spectra) -> dict[str, Any]:
    """Plain lists, for the file."""
    return {
        "origin": dict(spectra.origin),
        "bands": spectra.bands.to_json(),
        "mean": spectra.mean.tolist(),
        "covariance": spectra.covariance.tolist(),
        "colours": {name: table.tolist() for name, table in spectra.colours.items()},
    }


def main() -> None:
    """Read all scenes and write the file."""
    spectra = spectral_covariance(open_dataset("cave"), "train")
    FILE.write_text(json.dumps(to_json(spectra), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
