"""Write hsrzoo/data/indian-pines-bands.csv from the package tensorly.

tensorly states the band centres inside a function; copying them to a small file saves importing it
(and its back ends) for 200 numbers. Run ``python scripts/export_indian_pines_bands.py``.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent / "hsrzoo" / "data" / "indian-pines-bands.csv"


def main() -> None:
    """Write one row per band, in the cube's order."""
    from tensorly.datasets.data_imports import load_indian_pines

    source = (
        "# AVIRIS band centres of the corrected Indian Pines cube, doi:10.4231/R7RX991C (CC BY 3.0), "
        f"as stated by tensorly {version('tensorly')}"
    )
    rows = [repr(float(value)) for value in load_indian_pines().ticks[1]]
    FILE.write_text("\n".join([source, "wavelength_nm", *rows]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
