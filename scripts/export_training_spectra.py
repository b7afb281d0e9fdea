"""Write hsrzoo/data/spectra-cave.json: mean, covariance and colours of the spectra of cave/train.

``HSRZOO_DATA=FOLDER python scripts/export_training_spectra.py``. Camera consistency reads the file. It
holds a mean of 31 numbers, 31 x 31 of a covariance, and for each built-in camera in how many of the scenes
each colour occurs; no pixel and no scene.
"""

from __future__ import annotations

import json
from pathlib import Path

from hsrzoo.datasets import open_dataset
from hsrzoo.models.spectra import spectral_covariance

FILE = Path(__file__).resolve().parent.parent / "hsrzoo" / "data" / "spectra-cave.json"


def main() -> None:
    """Read all scenes and write the file."""
    spectra = spectral_covariance(open_dataset("cave"), "train")
    FILE.write_text(json.dumps(spectra.to_json(), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
