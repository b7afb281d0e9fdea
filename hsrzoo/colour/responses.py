"""Tables of camera responses: built in, or in a file of the user's.

``hsrzoo/data`` holds two CIE observers and two cameras from colour-science (BSD-3-Clause), and 52 measured
cameras from rawtoaces-data (Apache-2.0); ``scripts/export_*.py`` wrote them.
"""

from __future__ import annotations

import csv
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.errors import FormatError, HsrzooError, InputError, nearest_names, require_known
from hsrzoo.utils.tables import decode, is_number, number, rows_of

STANDARD = ("cie-1931", "cie-1964", "nikon-d5100", "sigma-sdmerill")
"""The responses of the benchmark's camera perturbation."""
SUFFIXES = (".csv", ".json")
"""Of files with the response of one camera."""
CALIBRATION = "calibration"
"""The kind that files of :mod:`hsrzoo.colour.calibration` state."""
Response = tuple[np.ndarray, np.ndarray]
"""Wavelengths in nm (N,), ascending, and sensitivities (N, 3), float64, read-only."""

_FOLDER = Path(__file__).parent.parent / "data"
_WIDEST_GAP_NM = 20.0
"""Widest step of a table: between two values it is interpolated linearly."""
_NEGATIVE = 0.01
"""Share of the maximum that noise may bring a response below zero."""
_COVERED_NM = (420.0, 680.0)
"""A response must be known between these."""
_WORST_CONDITION = 1e3
"""Condition number of three channels that can be distinguished; those of measured cameras are 2 to 11."""


def response_names() -> list[str]:
    """Names of the built-in responses, sorted."""
    return sorted([*STANDARD, *_measured()])


def is_file(name: str) -> bool:
    """Whether ``name`` is that of a file and not of a built-in response."""
    return Path(name).suffix.lower() in SUFFIXES


@cache
def response(name: str) -> Response:
    """The response ``name``: built in, or of the file with this path.

    Raises:
        UnknownNameError: There is no such response; names the nearest.
        InputError, FormatError: See :func:`read_response`.
    """
    if is_file(name):
        return read_response(Path(name))
    require_known("camera response", name, response_names())
    return read_table(name) if name in STANDARD else _measured()[name]


@cache
def read_table(stem: str) -> Response:
    """Wavelengths (N,) and columns (N, K) of a shipped table: a source line, a header, the rows."""
    return _frozen(np.loadtxt(_FOLDER / f"{stem}.csv", delimiter=",", skiprows=2, ndmin=2))


@cache
def _measured() -> dict[str, Response]:
    """Name -> response of the measured cameras."""
    header, *rows = _rows("measured-cameras")
    wavelengths = np.asarray(header[2:], dtype=np.float64)
    curves: dict[str, list[list[str]]] = {}
    for name, _, *values in rows:
        curves.setdefault(name, []).append(values)
    return {
        name: _frozen(np.column_stack([wavelengths, np.asarray(columns, dtype=np.float64).T]))
        for name, columns in curves.items()
    }


def _rows(stem: str) -> list[list[str]]:
    """The header and the rows of a shipped table of text."""
    with (_FOLDER / f"{stem}.csv").open(newline="") as file:
        next(file)  # the source
        return list(csv.reader(file))


def _frozen(table: np.ndarray) -> Response:
    table.setflags(write=False)  # shared by all callers
    return table[:, 0], table[:, 1:]


def camera_of(make: str, model: str) -> str | None:
    """The built-in response of the camera with this make and model by EXIF; None where there is none."""
    return _by_exif().get(_key(make, model))


def exif_of(name: str) -> list[str]:
    """Makes and models by EXIF of the cameras that a built-in response stands for, in lower case."""
    return sorted(" ".join(key) for key, camera in _by_exif().items() if camera == name)


def source_of(name: str) -> str:
    """Where a built-in response comes from, with its licence."""
    return "colour-science (BSD-3-Clause)" if name in STANDARD else "rawtoaces-data (Apache-2.0)"


def nearest_cameras(make: str, model: str) -> list[str]:
    """Up to three built-in cameras whose names are nearest to those by EXIF."""
    return nearest_names(" ".join(_key(make, model)), _measured())


@cache
def _by_exif() -> dict[tuple[str, str], str]:
    _, *rows = _rows("camera-names")
    return {_key(make, model): name for make, model, name, _ in rows}


def _key(make: str, model: str) -> tuple[str, str]:
    """Maker's first word and model without it, in lower case: makers write both in several ways."""
    maker = make.strip().lower().partition(" ")[0]
    return maker, " ".join(model.lower().replace("_", " ").split()).removeprefix(maker).strip()


def read_response(path: Path) -> Response:
    """The response in a file.

    CSV: rows of wavelength in nm and sensitivities of R, G and B (a header and lines that begin with # may
    come first). JSON: ``{"wavelengths_nm": [...], "sensitivities": [[r, g, b], ...]}``, or the schema of
    rawtoaces-data. Only the shapes of the curves count: each channel is scaled by its sum.

    Raises:
        InputError: There is no such file, or its table is no response.
        FormatError: The file cannot be read.
    """
    if not path.is_file():
        raise InputError("There is no such file", expected="a camera response (.csv or .json)", got=path)
    try:
        table = _from_json(path) if path.suffix.lower() == ".json" else _from_csv(path)
    except HsrzooError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise FormatError(
            f"{path} is not a camera response",
            expected="rows of wavelength in nm, red, green, blue (CSV), or the same in JSON",
            got=str(error) or type(error).__name__,
        ) from error
    return _frozen(_checked(table, path))


def _from_csv(path: Path) -> np.ndarray:
    """(N, 4) of a table with any of the usual separators; text before the first number is the header."""
    rows = [" ".join(row).split() for row in rows_of(decode(path.read_bytes()))]  # spaces separate too
    if rows and not is_number(rows[0][0]):
        rows = rows[1:]
    return np.asarray([[number(cell) for cell in row] for row in rows], dtype=np.float64)


def _from_json(path: Path) -> np.ndarray:
    content: Any = json.loads(path.read_text())
    if content.get("kind") == CALIBRATION:
        raise InputError(
            f"{path} is a calibration of `hsrzoo calibrate`, not a camera response",
            fix="Give it to `hsrzoo predict --camera`",
        )
    if "spectral_data" in content:
        rows = content["spectral_data"]["data"]["main"]
        return np.asarray([[float(nm), *row] for nm, row in rows.items()], dtype=np.float64)
    wavelengths = np.asarray(content["wavelengths_nm"], dtype=np.float64)
    return np.column_stack([wavelengths, np.asarray(content["sensitivities"], dtype=np.float64)])


def _checked(table: np.ndarray, path: Path) -> np.ndarray:
    """``table`` (N, 4) in ascending order of wavelengths, scaled to a maximum of 1."""
    if table.ndim != 2 or table.shape[1] != 4:
        channels = table.shape[1] - 1 if table.ndim == 2 else 0
        raise _refused(path, "four columns: wavelength_nm, red, green, blue", f"{channels} channels")
    if not np.isfinite(table).all():
        raise _refused(path, "numbers", "NaN or infinite values")
    table = table[np.argsort(table[:, 0], kind="stable")]
    wavelengths, curves = table[:, 0], table[:, 1:]
    steps = np.diff(wavelengths)
    first, last = _COVERED_NM
    if not (len(wavelengths) and wavelengths[0] <= first and wavelengths[-1] >= last):
        got = f"{wavelengths[0]:g}-{wavelengths[-1]:g}" if len(wavelengths) else "no row"
        raise _refused(path, f"wavelengths in nm that cover {first:g}-{last:g}", got)
    if steps.min() <= 0 or steps.max() > _WIDEST_GAP_NM:
        at = int(steps.argmax() if steps.min() > 0 else steps.argmin())
        got = f"{wavelengths[at]:g} nm followed by {wavelengths[at + 1]:g} nm"
        raise _refused(path, f"different wavelengths, at most {_WIDEST_GAP_NM:g} nm apart", got)
    most = curves.max(axis=0)
    if not np.all(most > 0) or np.any(curves.min(axis=0) < -_NEGATIVE * most):
        got = f"values from {curves.min():.4g} to {curves.max():.4g}"
        raise _refused(path, "three channels, none of them negative", got)
    if not np.linalg.cond(curves / most) < _WORST_CONDITION:
        got = "one that is proportional to another, or a sum of the others"
        raise _refused(path, "three different channels", got)
    return np.column_stack([wavelengths, np.maximum(curves, 0) / curves.max()])


def _refused(path: Path, expected: str, got: str) -> InputError:
    return InputError(f"{path} is not a camera response", expected=expected, got=got)


__all__ = [
    "CALIBRATION",
    "STANDARD",
    "SUFFIXES",
    "Response",
    "camera_of",
    "exif_of",
    "is_file",
    "nearest_cameras",
    "read_response",
    "read_table",
    "response",
    "response_names",
    "source_of",
]
