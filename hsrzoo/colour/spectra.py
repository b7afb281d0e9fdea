"""What is known of the spectra of natural scenes, measured on training scenes alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.bands import BandSet

ERROR = 0.15
"""e: the errors of a network, as a share of the spread of spectra in equal light."""
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


def spectra_for(
    bands: BandSet, model: str, what: str = "the covariance of spectra that camera consistency needs",
    fix: str = "Leave it out, or use hsrzoo.models.consistency.Consistency with a covariance of your own",
) -> Spectra:  # fmt: skip
    """The bundled spectra; BandsError where a model has other bands than they have. ``what`` needs them."""
    spectra = bundled_spectra()
    spectra.bands.require_same(bands, what, f"the model {model}", fix=fix)
    return spectra
