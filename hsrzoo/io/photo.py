"""Decoding of photographs to linear light: what their files state, and what is assumed.

Networks of the zoo expect linear values, proportional to light. Phones and cameras write sRGB, which is not
linear; linear renderings and rendered data sets are. The encoding is taken from evidence in the file or
given by the user, and reported in one line.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hsrzoo.colour.srgb import decode_srgb
from hsrzoo.errors import InputError
from hsrzoo.io.raster import SUFFIXES as RASTERS
from hsrzoo.io.raster import Pixels, Raster, open_raster
from hsrzoo.io.rgb import to_unit

Encoding = Literal["auto", "linear", "srgb"]
"""``linear``: values proportional to light. ``srgb``: sRGB (IEC 61966-2-1). ``auto``: by the file."""

_CURVE = "decoded by IEC 61966-2-1"
_CHOOSE = "Convert it to sRGB, or say what its values are by --linear or --srgb"
_EXIF_IFD, _COLOR_SPACE, _MAKE, _MODEL = 0x8769, 0xA001, 0x010F, 0x0110
_ICC_TAG = 34675
_LEVELS_OF_SRGB = 2
"""By how many of 255 levels a profile that counts as sRGB may differ from it: makers round differently."""


@dataclass(frozen=True)
class Evidence:
    """What a file states about the encoding of its values and the camera that took it."""

    profile: bytes | None = field(default=None, repr=False)
    """The embedded ICC profile."""
    srgb: str | None = None
    """What marks the file as sRGB, other than a profile."""
    camera: str | None = None
    """Maker and model by EXIF."""


@dataclass(frozen=True)
class Photo:
    """An image with linear values, and how they were obtained."""

    pixels: Pixels
    value_range: tuple[float, float] | None
    """Range of the values of ``pixels``, where their dtype does not define it."""
    note: str
    """One line for the user."""
    about: Mapping[str, str]
    """For the metadata of cubes: what was assumed, why, and the profile's name."""
    camera: str | None = None
    """Maker and model by EXIF."""


def to_linear(
    raster: Raster, path: Path, encoding: Encoding = "auto", value_range: tuple[float, float] | None = None
) -> Photo:
    """The image of ``raster``, read from ``path``, with linear values.

    ``value_range`` is that of the stored values. What is sRGB is decoded window by window. Raises
    InputError for profiles that cannot be converted.
    """
    evidence = find_evidence(path)
    profile = _profile(evidence.profile, path) if evidence.profile and encoding == "auto" else None
    stated = value_range or raster.value_range
    name = profile.name if profile else _name_of(evidence.profile)
    if encoding == "linear" or (encoding == "auto" and not profile and not evidence.srgb):
        why = "asked for" if encoding == "linear" else "no evidence"
        note = _linear_note(encoding, name, path)
        return Photo(raster.pixels, stated, note, _about("linear", why, name), evidence.camera)
    if encoding == "srgb":
        why, note = "asked for", f"Input: taken as sRGB, as asked, and {_CURVE}{_ignored(name)}"
    elif profile is None:
        why, note = str(evidence.srgb), f"Input: sRGB by its {evidence.srgb}, {_CURVE}"
    elif profile.is_srgb:
        why, note = "ICC profile", f"Input: sRGB by its ICC profile ({name}), {_CURVE}"
    else:
        why = f"converted from {name}"
        note = f"Input: its ICC profile is {name}: converted to sRGB, {_CURVE}"
    other = profile if profile and not profile.is_srgb else None
    dtype = raster.pixels.read(0, 0, 1, 1).dtype
    if other is not None and dtype != np.uint8:
        problem = f"The colours of {path} cannot be converted from {other.name} to sRGB"
        raise InputError(problem, expected="8 bits", got=dtype.name, fix=_CHOOSE)
    decoded = _Decoded(raster.pixels, stated, other)
    return Photo(decoded, None, note, _about(f"sRGB, {_CURVE}", why, name), evidence.camera)


def read_photo(path: str | Path, encoding: Encoding = "auto") -> np.ndarray:
    """Read a photograph with linear values, proportional to light.

    Args:
        path: A photograph, a TIFF, an ENVI header of three bands, or a .npy file.
        encoding: ``linear``: take the values as they are; ``srgb``: decode them from sRGB; ``auto``: decode
            them if an ICC profile or a tag of the file marks them as sRGB.

    Returns:
        (H, W, 3), upright: float32 in [0, 1] where it was decoded, else in the stored dtype and range.

    Raises:
        InputError: There is no such image, or its profile cannot be converted.
        FormatError: The file is damaged.
    """
    photo = to_linear(open_raster(path), Path(path), encoding)
    height, width = photo.pixels.shape
    return photo.pixels.read(0, 0, height, width)


def _about(values: str, why: str, profile: str | None) -> dict[str, str]:
    return {"input_values": values, "input_evidence": why, "input_profile": profile or "none"}


def _linear_note(encoding: Encoding, profile: str | None, path: Path) -> str:
    if encoding == "linear":
        return f"Input: taken as proportional to light, as asked{_ignored(profile)}"
    if path.suffix.lower() in RASTERS:
        return "Input: taken as proportional to light (--srgb if it is encoded as sRGB)"
    return (
        "Input: taken as proportional to light, since the file does not say sRGB "
        "(--srgb for pictures of phones and cameras)"
    )


def _ignored(profile: str | None) -> str:
    return f"; its ICC profile ({profile}) is ignored" if profile else ""


def find_evidence(path: Path) -> Evidence:
    """What the file at ``path`` states; nothing for rasters and damaged tags."""
    suffix = path.suffix.lower()
    if suffix in RASTERS:
        return Evidence()
    try:
        return _tiff_evidence(path) if suffix in (".tif", ".tiff") else _pillow_evidence(path)
    # Malformed tags raise many kinds of errors; the pixels may be intact and are checked separately.
    except Exception:
        return Evidence()


def _pillow_evidence(path: Path) -> Evidence:
    from PIL import Image

    from hsrzoo.io.images import open_image

    with open_image(path) as image:
        info = image.info
        exif = Image.Exif()
        if info.get("exif"):
            exif.load(info["exif"])
        srgb = None
        if "srgb" in info:
            srgb = "PNG chunk sRGB"
        elif exif.get_ifd(_EXIF_IFD).get(_COLOR_SPACE) == 1:
            srgb = "EXIF ColorSpace"
        elif abs(float(info.get("gamma") or 0) - 1 / 2.2) < 0.001:
            srgb = "PNG gamma of 1/2.2"
        return Evidence(info.get("icc_profile"), srgb, _camera(exif.get(_MAKE), exif.get(_MODEL)))


def _tiff_evidence(path: Path) -> Evidence:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        tags = tiff.pages.first.tags
        found = {code: tags[code].value for code in (_ICC_TAG, _EXIF_IFD, _MAKE, _MODEL) if code in tags}
    exif = found.get(_EXIF_IFD)
    srgb = "EXIF ColorSpace" if isinstance(exif, dict) and exif.get("ColorSpace") == 1 else None
    profile = bytes(found[_ICC_TAG]) if found.get(_ICC_TAG) is not None else None
    return Evidence(profile, srgb, _camera(found.get(_MAKE), found.get(_MODEL)))


def _camera(make: object, model: object) -> str | None:
    """Maker and model in one line; the maker only where the model does not begin with it."""
    maker, name = (_plain(str(x)) if x else "" for x in (make, model))
    if name.lower().startswith(maker.lower()):
        maker = ""
    return f"{maker} {name}".strip() or None


def _plain(text: str) -> str:
    """Text from a foreign file as one short line of plain characters."""
    kept = "".join(c if c.isascii() and c.isprintable() and c not in "{}" else " " for c in text)
    return " ".join(kept.split())[:80]


def _name_of(data: bytes | None) -> str | None:
    """A profile's name, where it can be read; None without a profile."""
    if data is None:
        return None
    try:
        from PIL import ImageCms

        return _plain(ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(data))))
    except Exception:  # it is not used, only named
        return "one that cannot be read"


@dataclass(frozen=True)
class _Profile:
    """An ICC profile and the way from it to sRGB, in 8 bits."""

    name: str
    transform: Any
    is_srgb: bool

    def apply(self, stored: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8 in this profile as uint8 in sRGB; what lies outside of sRGB is clipped."""
        from PIL import Image, ImageCms

        image = Image.fromarray(np.ascontiguousarray(stored))
        return np.asarray(ImageCms.applyTransform(image, self.transform))


@lru_cache(maxsize=4)
def _profile(data: bytes, path: Path) -> _Profile:
    try:
        from PIL import ImageCms

        source = ImageCms.ImageCmsProfile(io.BytesIO(data))
        target = ImageCms.createProfile("sRGB")
        how = ImageCms.Intent.RELATIVE_COLORIMETRIC
        transform = ImageCms.buildTransform(source, target, "RGB", "RGB", how)
        name = _plain(ImageCms.getProfileDescription(source)) or "without a name"
    except Exception as error:  # PyCMSError, OSError; ImportError where Pillow has no LittleCMS
        got = str(error) or type(error).__name__
        raise InputError(f"The colour profile of {path} cannot be used", got=got, fix=_CHOOSE) from error
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(9, 81, 3)
    converted = _Profile(name, transform, False).apply(colours).astype(int)
    return _Profile(name, transform, bool(np.abs(converted - colours).max() <= _LEVELS_OF_SRGB))


@dataclass(frozen=True)
class _Decoded:
    """sRGB pixels as linear values: float32 in [0, 1], window by window."""

    stored: Pixels
    value_range: tuple[float, float] | None
    profile: _Profile | None
    """The profile of the stored values, where it is not sRGB."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.stored.shape

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        values = np.asarray(self.stored.read(top, left, height, width))
        if self.profile is not None:
            values = self.profile.apply(values)
        if self.value_range is None and values.dtype.name in ("uint8", "uint16"):
            return _table(values.dtype.name)[values]
        unit = to_unit(values.astype(np.float64), values.dtype.name, self.value_range)
        return decode_srgb(unit).astype(np.float32)


@lru_cache
def _table(dtype: str) -> np.ndarray:
    """The linear value of every stored value of an unsigned integer dtype, float32."""
    top = np.iinfo(dtype).max
    return decode_srgb(np.arange(top + 1) / top).astype(np.float32)
