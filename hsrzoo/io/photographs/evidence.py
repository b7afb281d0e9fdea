"""What the file of a photograph states of its values: profile, colour space, camera, significant bits.

How the values are decoded by it is decided in :mod:`hsrzoo.io.photo`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.colour.spaces import ADOBE_RGB, LINEAR, SRGB, ColourSpace, space_of_codes
from hsrzoo.io.raster import SUFFIXES as RASTERS

_EXIF_IFD, _INTEROPERABILITY_IFD = 0x8769, 0xA005
_MAKE, _MODEL, _COLOR_SPACE, _INDEX, _ICC = 0x010F, 0x0110, 0xA001, 0x0001, 0x8773
_LARGEST_SAMPLE = {0x0119: "MaxSampleValue", 0x0155: "SMaxSampleValue"}
_UNCALIBRATED = 65535
_TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OF_CAMERAS = ("JPEG", "MPO", "HEIF", "AVIF")
"""Formats (Pillow's names) that cameras write in sRGB unless they say otherwise (DCF, MIAF)."""


@dataclass(frozen=True)
class Evidence:
    """What a file states about the encoding of its values and the camera that took it."""

    profile: bytes | None = field(default=None, repr=False)
    """The embedded ICC profile."""
    space: ColourSpace | None = None
    """The colour space, where something other than a profile states it."""
    by: str = ""
    """What states it."""
    hdr: str | None = None
    """PQ or HLG, if the values are of high dynamic range."""
    camera: str | None = None
    """Maker and model by EXIF."""
    bits: int | None = None
    """Significant bits of the values; they may be fewer than those that are stored."""
    bits_by: str = ""
    """What states them."""


def find_evidence(path: Path) -> Evidence:
    """What the file at ``path`` states; nothing for rasters and damaged tags."""
    if path.suffix.lower() in RASTERS:
        return Evidence()
    try:
        with path.open("rb") as file:
            is_tiff = file.read(4) in _TIFF_MARKS
        return _of_tiff(path) if is_tiff else _by_pillow(path)
    # Malformed tags raise many kinds of errors; the pixels may be intact and are checked separately.
    except Exception:
        return Evidence()


def _by_pillow(path: Path) -> Evidence:
    from PIL import Image

    from hsrzoo.io.photographs.images import open_image

    with open_image(path) as image:
        info, form = image.info, image.format
    exif = Image.Exif()
    if info.get("exif"):
        exif.load(info["exif"])
    camera = _camera(exif.get(_MAKE), exif.get(_MODEL))
    profile = info.get("icc_profile")
    chunks = _png_chunks(path) if form == "PNG" else {}
    coded = chunks.get(b"cICP") or _nclx(path, form)
    bits = max(chunks.get(b"sBIT", b"\0")[:3]) or None
    known: dict[str, Any] = {"camera": camera, "bits": bits, "bits_by": "its PNG chunk sBIT"}
    # The chunk cICP has precedence over a profile, by the standard of PNG; nclx has not.
    if coded and (chunks or not profile):
        by = "PNG chunk cICP" if chunks else "nclx"
        space, hdr = space_of_codes(coded[0], coded[1])
        if space or hdr:
            return Evidence(space=space, by=by, hdr=hdr, **known)
    space, by = _of_png(info) if form == "PNG" else (None, "")
    if space is None or by.startswith("PNG gamma"):  # EXIF is more specific than a gamma
        found = _of_dcf(exif.get_ifd(_EXIF_IFD).get(_COLOR_SPACE), _index(exif))
        if found[0] is None and camera and form in _OF_CAMERAS:
            found = SRGB, f"EXIF, which names a camera ({camera})"
        space, by = found if found[0] else (space, by)
    return Evidence(profile, space, by, **known)


def _of_png(info: Mapping[Any, Any]) -> tuple[ColourSpace | None, str]:
    """By the chunks sRGB and gAMA."""
    if "srgb" in info:
        return SRGB, "PNG chunk sRGB"
    gamma = float(info.get("gamma") or 0)
    if abs(gamma - 1 / 2.2) < 0.001:
        return SRGB, "PNG gamma of 1/2.2"
    if abs(gamma - 1) < 0.001:
        return LINEAR, "PNG gamma of 1"
    if 0.2 < gamma < 1:
        return ColourSpace(f"gamma {1 / gamma:.3g}", 1 / gamma), f"PNG gamma of {gamma:.3g}"
    return None, ""


def _index(exif: Any) -> str:
    """DCF's InteroperabilityIndex; "" without one."""
    if _INTEROPERABILITY_IFD not in exif.get_ifd(_EXIF_IFD):
        return ""
    found = exif.get_ifd(_INTEROPERABILITY_IFD).get(_INDEX, "")
    return (found.decode("latin-1") if isinstance(found, bytes) else str(found)).strip("\0 ")


def _of_dcf(space: Any, index: str) -> tuple[ColourSpace | None, str]:
    """By EXIF's ColorSpace, and the InteroperabilityIndex where that says nothing."""
    if space == 1:
        return SRGB, "EXIF ColorSpace"
    if space == 2:
        return ADOBE_RGB, "EXIF ColorSpace of 2"
    if space in (None, _UNCALIBRATED) and index == "R03":
        return ADOBE_RGB, "EXIF InteroperabilityIndex R03"
    if space is None and index == "R98":
        return SRGB, "EXIF InteroperabilityIndex R98"
    return None, ""


def _png_chunks(path: Path) -> dict[bytes, bytes]:
    """The chunks of a PNG before its pixels; Pillow hides those that it does not use."""
    found: dict[bytes, bytes] = {}
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
            found[head[4:]] = file.read(int.from_bytes(head[:4], "big"))
            file.seek(4, 1)  # the checksum
    return found


def _nclx(path: Path, form: str | None) -> bytes | None:
    """The last bytes of the codes for primaries and transfer in the box nclx of HEIF or AVIF."""
    if form not in ("HEIF", "AVIF"):
        return None
    with path.open("rb") as file:
        _, box, codes = file.read(1 << 16).partition(b"colrnclx")
    return codes[1:4:2] if box else None


def _of_tiff(path: Path) -> Evidence:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        tags = {tag.code: tag.value for tag in tiff.pages.first.tags}
    profile, about = tags.get(_ICC), tags.get(_EXIF_IFD)
    space, by = None, ""
    if isinstance(about, dict):
        space, by = _of_dcf(about.get("ColorSpace"), _index_in_tiff(path))
    bits, bits_by = None, ""
    for code, name in _LARGEST_SAMPLE.items():
        found = np.max(tags.get(code, 0))
        if 1 <= found < 2**16:
            bits, bits_by = int(found).bit_length(), f"its tag {name}"
    camera = _camera(tags.get(_MAKE), tags.get(_MODEL))
    data = bytes(profile) if profile else None
    return Evidence(data, space, by, camera=camera, bits=bits, bits_by=bits_by)


def _index_in_tiff(path: Path) -> str:
    """DCF's InteroperabilityIndex, which tifffile does not read."""
    from PIL import Image

    exif = Image.Exif()
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tags that are damaged
            exif.load_from_fp(file, None)
            return _index(exif)
    except Exception:  # any kind, for damaged tags and BigTIFF
        return ""


def _camera(make: object, model: object) -> str | None:
    """Maker and model in one line; the maker only where the model does not begin with it."""
    maker, name = (plain(str(x)) if x else "" for x in (make, model))
    if name.lower().startswith(maker.lower()):
        maker = ""
    return f"{maker} {name}".strip() or None


def plain(text: str) -> str:
    """Text from a foreign file as one short line of plain characters."""
    kept = "".join(c if c.isascii() and c.isprintable() and c not in "{}" else " " for c in text)
    return " ".join(kept.split())[:80]
