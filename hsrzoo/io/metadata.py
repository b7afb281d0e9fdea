"""What a cube's file states about its values and their origin: units, model, training data, input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.io import format_of
from hsrzoo.io.values import UNITS

_LONGEST_UNITS = 80
"""Characters of units that fit beside the plot."""
_LONGEST = 300
"""Characters of a fact."""
_ENVI = "hsrzoo "
"""What the names of our own fields begin with in ENVI headers."""


@dataclass(frozen=True)
class Metadata:
    """Units of the values, None if unknown; and the ``metadata`` that the cube was saved with, as text."""

    units: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def metadata_of(path: Path) -> Metadata:
    """The metadata of a cube file that :func:`hsrzoo.io.load_cube` has read; empty where there is none.

    By format: ``data units`` and ``hsrzoo NAME`` in ENVI headers; ``units`` and ``metadata`` in the
    ImageDescription of TIFF, as attributes in HDF5 and Zarr, as variables in .mat and .npz.
    """
    try:
        units, stated = _READERS[format_of(path)](path)
        stated = json.loads(stated) if isinstance(stated, (str, bytes)) else stated
    except Exception:  # a label must not fail the command, and files have anything under these names
        return Metadata()
    facts = stated if isinstance(stated, Mapping) else {}
    return Metadata(
        _one_line(units, _LONGEST_UNITS) or None,
        {str(name): text for name, value in facts.items() if (text := _one_line(value, _LONGEST))},
    )


def is_reflectance(units: str | None, facts: Mapping[str, str]) -> bool:
    """Whether 0 and 1, the white, are the limits of plausible values."""
    stated = facts.get("cube_values")
    return units in (UNITS, "reflectance") if stated is None else stated.startswith("reflectance")


def origin(facts: Mapping[str, str]) -> str:
    """One line for the user: model, training data, encoding and camera of the input; "" if unknown."""
    values, why = facts.get("input_values"), facts.get("input_evidence")
    profile = facts.get("input_profile", "none")
    why = "assumed" if why == "no evidence" else why
    reasons = [reason for reason in (why, profile if profile != "none" else None) if reason]
    encoding = f"{values} ({', '.join(reasons)})" if values and reasons else values
    camera = ", ".join(facts[name] for name in ("input_camera", "input_map") if name in facts)
    found = {
        "model": facts.get("model"),
        "training data": facts.get("training_data"),
        "encoding of the input": encoding,
        "development of the input": facts.get("input_raw"),
        "white of the input": facts.get("input_white"),
        "camera of the input": camera,
        "values": facts.get("cube_values"),
        "test-time adaptation": facts.get("test_time_adaptation"),
        "refined with": facts.get("refined_with"),
    }
    text = "; ".join(f"{label}: {value}" for label, value in found.items() if value)
    return text[:1].upper() + text[1:]


def _one_line(value: Any, longest: int) -> str:
    text = " ".join(str(value).split()) if value is not None else ""
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _envi(path: Path) -> tuple[Any, Any]:
    from hsrzoo.io.envi_header import header_of, read_fields

    fields = read_fields(header_of(path))
    own = {name: text for name, text in fields.items() if name.startswith(_ENVI)}
    return fields.get("data units"), {n[len(_ENVI) :].replace(" ", "_"): text for n, text in own.items()}


def _tiff(path: Path) -> tuple[Any, Any]:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        stated = json.loads(tiff.pages.first.description)
    return stated.get("units"), stated.get("metadata")


def _h5(path: Path) -> tuple[Any, Any]:
    from hsrzoo.io.h5 import open_h5

    with open_h5(path) as file:
        return file["cube"].attrs.get("units"), file.attrs.get("metadata")


def _mat(path: Path) -> tuple[Any, Any]:
    from hsrzoo.io.h5 import open_h5

    with open_h5(path) as file:  # v7.3: text is an array of UTF-16 codes
        units, stated = (
            np.asarray(file[name]).astype("<u2").tobytes().decode("utf-16-le") if name in file else None
            for name in ("units", "metadata")
        )
    return units, stated


def _npz(path: Path) -> tuple[Any, Any]:
    with np.load(path, allow_pickle=False) as archive:  # fails for .npy, which has no metadata
        units, stated = (
            str(archive[name]) if name in archive.files else None for name in ("units", "metadata")
        )
    return units, stated


def _zarr(path: Path) -> tuple[Any, Any]:
    import zarr

    about = zarr.open(str(path), mode="r").attrs
    return about.get("units"), about.get("metadata")


_READERS = {"envi": _envi, "tiff": _tiff, "h5": _h5, "mat": _mat, "npz": _npz, "zarr": _zarr}

__all__ = ["Metadata", "is_reflectance", "metadata_of", "origin"]
