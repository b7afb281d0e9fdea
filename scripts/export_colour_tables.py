"""Write hsrzoo/data/*.csv from the package colour-science (BSD-3-Clause).

The library reads these small text files, so that colour-science need not be installed to use it.
Run ``python scripts/export_colour_tables.py`` after ``pip install colour-science``; the output is the
same byte for byte as long as the package's tables are.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "hsrzoo" / "data"


def rows_of(wavelengths: Any, values: Any) -> list[str]:
    """CSV rows ``wavelength,value,...``; ``repr`` keeps every digit of the doubles."""
    return [
        ",".join([f"{float(w):g}", *(repr(float(v)) for v in row)])
        for w, row in zip(wavelengths, values, strict=True)
    ]


def tables() -> dict[str, tuple[str, str, list[str]]]:
    """File stem -> (source line, header, rows)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that matplotlib is absent; nothing is drawn here
        import colour

    origin = f"exported from colour-science {colour.__version__} (BSD-3-Clause)"
    cameras, observers = colour.MSDS_CAMERA_SENSITIVITIES, colour.MSDS_CMFS
    responses = {
        "nikon-d5100": (
            "Nikon D5100 relative sensitivities, NPL",
            cameras["Nikon 5100 (NPL)"],
            "red,green,blue",
        ),
        "sigma-sdmerill": (
            "Sigma SDMerill relative sensitivities, NPL",
            cameras["Sigma SDMerill (NPL)"],
            "red,green,blue",
        ),
        "cie-1931": (
            "CIE 1931 2 degree standard observer",
            observers["CIE 1931 2 Degree Standard Observer"],
            "x_bar,y_bar,z_bar",
        ),
        "cie-1964": (
            "CIE 1964 10 degree standard observer",
            observers["CIE 1964 10 Degree Standard Observer"],
            "x_bar,y_bar,z_bar",
        ),
    }
    out = {
        stem: (f"{title}, {origin}", f"wavelength_nm,{columns}", rows_of(table.wavelengths, table.values))
        for stem, (title, table, columns) in responses.items()
    }
    d65 = colour.SDS_ILLUMINANTS["D65"]
    out["illuminant-d65"] = (
        f"CIE standard illuminant D65, relative power, {origin}",
        "wavelength_nm,power",
        rows_of(d65.wavelengths, d65.values[:, None]),
    )
    basis = colour.colorimetry.SDS_BASIS_FUNCTIONS_CIE_ILLUMINANT_D_SERIES
    parts = [basis[name] for name in ("S0", "S1", "S2")]
    out["cie-daylight"] = (
        f"CIE components of daylight (mean and two eigenvectors of measured daylight), {origin}",
        "wavelength_nm,s0,s1,s2",
        rows_of(parts[0].wavelengths, zip(*(part.values for part in parts), strict=True)),
    )
    return out


def main() -> None:
    """Write every table into the folder given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for stem, (source, header, rows) in tables().items():
        text = "\n".join([f"# {source}", header, *rows]) + "\n"
        (folder / f"{stem}.csv").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
