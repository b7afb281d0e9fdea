"""Write hsrzoo/data/chart-*.csv, the measured reflectances of colour charts (MIT).

Run ``python scripts/export_charts.py FOLDER`` with the folder of LICENSE and data/\\*_reflectance.csv: 36
rows, 380-730 nm, a column for each patch, down the columns of the chart. \\*_lab.csv, the colours of the
same patches under D50, must agree. The licence goes to hsrzoo/data/LICENSE.charts.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parent.parent / "hsrzoo" / "data"
CHARTS = {
    "colorchecker24": ("CC", "ColorChecker Classic", 4),
    "sg140": ("CCSG", "ColorChecker Digital SG", 10),
    "ngt130": ("NGT", "Next Generation Target", 10),
}
"""Name -> stem of the files, title, number of rows."""
CENTRES_NM = range(380, 731, 10)
LIGHTNESS = 6.0
"""By how much L* of the mean reflectance may differ from the stored one, whose light and observer weigh
wavelengths unequally, on patches that are nearly grey."""


def table(folder: Path, stem: str, title: str, rows: int) -> str:
    """The CSV file of one chart; its patches are named by column and row, as A1."""
    reflectance = np.genfromtxt(folder / f"{stem}_reflectance.csv", delimiter=",").T
    lab = np.genfromtxt(folder / f"{stem}_lab.csv", delimiter=",").T
    assert reflectance.shape == (len(lab), len(CENTRES_NM)), f"{stem}: {reflectance.shape}"
    grey = np.hypot(lab[:, 1], lab[:, 2]) < 10
    lightness = 116 * np.cbrt(reflectance[:, 4:28].mean(axis=1)) - 16
    assert np.all(np.abs(lightness - lab[:, 0])[grey] < LIGHTNESS), f"{stem}: another order of patches"
    lines = [f"# Reflectances of {title}, one measured chart (MIT; see LICENSE.charts)"]
    lines.append(",".join(["patch_at_nm", *map(str, CENTRES_NM)]))
    for i, spectrum in enumerate(reflectance):
        name = f"{chr(ord('A') + i // rows)}{i % rows + 1}"
        lines.append(",".join([name, *(f"{value:.6g}" for value in spectrum)]))
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for name, (stem, title, rows) in CHARTS.items():
        (DATA / f"chart-{name}.csv").write_text(table(folder / "data", stem, title, rows))
    shutil.copyfile(folder / "LICENSE", DATA / "LICENSE.charts")


if __name__ == "__main__":
    main()
