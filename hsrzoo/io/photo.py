"""Decoding of photographs to linear light: what their files state, and what is assumed.

Networks of the zoo expect linear values, proportional to light. Phones and cameras write sRGB, which is not
linear; linear renderings and rendered data sets are. The encoding is taken from evidence in the file
(:mod:`hsrzoo.io.photographs.evidence`) or given by the user, and reported in one line. Commands, data sets
and Python helpers all decide it here.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hsrzoo.colour.matrix import map_colours
from hsrzoo.colour.spaces import LINEAR, SRGB, ColourSpace
from hsrzoo.colour.srgb import decode_srgb, encode_srgb
from hsrzoo.errors import InputError, require_known
from hsrzoo.io.photographs.evidence import Evidence, find_evidence, plain
from hsrzoo.io.raster import SUFFIXES as RASTERS
from hsrzoo.io.raster import Pixels, Raster
from hsrzoo.io.rgb import to_unit

Encoding = Literal["auto", "linear", "srgb"]
"""``linear``: values proportional to light. ``srgb``: sRGB (IEC 61966-2-1). ``auto``: by the file."""
ENCODINGS = ("auto", "linear", "srgb")
_CHOOSE = "Convert it to sRGB, or say what its values are by --linear or --srgb (data sets: encoding=...)"
_LEVELS_OF_SRGB = 2
"""By how many of 255 levels a profile that counts as sRGB may differ from it: makers round differently."""
_LOW = 16
"""Values of 16 bits that all lie below full scale over this are pointed out: 12 bits or fewer, unscaled."""
_ROWS = 256
"""Rows that are searched at a time for the largest value."""


@dataclass(frozen=True)
class Area:
    """A white or grey area of a photograph."""

    name: str
    """For people."""
    rgb: tuple[float, float, float]
    """Mean linear values in [0, 1], as the network would get them without a correction."""

    @property
    def gains(self) -> np.ndarray:
        """(3,) float64: factors of the channels; 1 for the brightest, so that no channel of the area, and
        of what is darker, leaves the range."""
        return np.asarray(max(self.rgb) / np.asarray(self.rgb))


@dataclass(frozen=True)
class Photo:
    """An image with linear values, and how they were obtained."""

    pixels: Pixels
    value_range: tuple[float, float] | None
    """Range of the values of ``pixels``, where their dtype does not define it."""
    encoding: Literal["linear", "srgb"]
    """``linear``: the values are those of the file; ``srgb``: they were decoded to linear sRGB."""
    statement: str
    """How the values were interpreted, and why."""
    about: Mapping[str, str]
    """For the metadata of cubes: what was assumed, why, and the profile's name."""
    option: str = ""
    """The option of ``hsrzoo predict`` that decides otherwise; "" where the file or the user decided."""
    camera: str | None = None
    """Maker and model by EXIF."""
    area: Area | None = None
    """The white or grey area that was made neutral."""

    @property
    def note(self) -> str:
        """One line for the user."""
        return f"Input: {self.statement}" + (f" ({self.option})" if self.option else "")

    def window(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """A part of the image, (h, w, 3) float64 in [0, 1]. Raises InputError for values that leave their
        range."""
        return _unit(self.pixels, self.value_range, top, left, height, width)

    def unit(self) -> np.ndarray:
        """All pixels, (H, W, 3) float32 in [0, 1]. Raises InputError for values that leave their range."""
        return self.window(0, 0, *self.pixels.shape).astype(np.float32)

    def transformed(self, matrix: np.ndarray, text: str, **changes: Any) -> Photo:
        """The image with every pixel mapped by ``matrix`` (:func:`hsrzoo.colour.matrix.map_colours`),
        cut to [0, 1]: float32.

        ``text`` is added to the statement; ``changes``: other attributes of the result.
        """
        pixels = _Transformed(self.pixels, self.value_range, matrix)
        statement = f"{self.statement}; {text}"
        return replace(self, pixels=pixels, value_range=None, statement=statement, **changes)


def _unit(
    pixels: Pixels, value_range: tuple[float, float] | None, top: int, left: int, height: int, width: int
) -> np.ndarray:
    values = np.asarray(pixels.read(top, left, height, width))
    return to_unit(values.astype(np.float64), values.dtype.name, value_range)


@dataclass(frozen=True)
class _Transformed:
    """Pixels mapped by a matrix, window by window."""

    stored: Pixels
    value_range: tuple[float, float] | None
    matrix: np.ndarray
    """(3, 3) or (3, 6) float64."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.stored.shape

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        unit = _unit(self.stored, self.value_range, top, left, height, width)
        return map_colours(unit, self.matrix).clip(0, 1).astype(np.float32)


def to_linear(
    raster: Raster,
    path: Path,
    encoding: Encoding = "auto",
    value_range: tuple[float, float] | None = None,
    bit_depth: int | None = None,
    untagged: Literal["linear", "srgb"] = "linear",
) -> Photo:
    """The image of ``raster`` with linear values; what is encoded is decoded window by window.

    Args:
        raster: The opened image.
        path: Its file, whose tags are evidence.
        encoding: Of the stored values.
        value_range: Of the stored values; default: by the file, else by their dtype.
        bit_depth: Of the stored values, where the dtype has more bits: 12 for values up to 4095 in a file
            of 16 bits.
        untagged: What values of 8 bits are where no tag of a photograph says it. Untagged values of 16
            bits, floats and rasters (ENVI, .npy) are always linear.

    Raises:
        InputError: A profile cannot be used, the values are of high dynamic range, or they cannot have
            ``bit_depth`` bits.
    """
    require_known("encoding", encoding, ENCODINGS)
    if raster.raw:
        if encoding == "srgb":
            problem = f"The values of the raw photograph {path} are linear"
            raise InputError(problem, expected="encoding auto or linear", got="srgb")
        about = {"input_values": "linear", "input_evidence": "raw", "input_profile": "none"}
        about["input_raw"] = "; ".join(raster.notes).removeprefix("Raw: ")
        return Photo(raster.pixels, None, "linear", "raw values, proportional to light", about)
    evidence = find_evidence(path)
    profile = _profile(evidence.profile, path) if evidence.profile and encoding == "auto" else None
    if evidence.hdr and encoding == "auto" and profile is None:
        problem = f"The values of {path} are of high dynamic range ({evidence.hdr}) and cannot be decoded"
        raise InputError(problem, expected="sRGB or linear values", fix=_CHOOSE)
    about = {"input_profile": profile.name if profile else _name_of(evidence.profile) or "none"}
    if bit_depth is not None:
        value_range = _full_range(bit_depth, raster, value_range, path)
        about["input_bit_depth"] = str(bit_depth)
    value_range = value_range or raster.value_range
    way, why, statement = _decide(evidence, encoding, profile)
    option = ""
    if why == "no evidence" and untagged == "srgb" and _is_photograph_of_8_bits(raster, path):
        way = SRGB
        statement = f"taken as sRGB, as photographs of 8 bits are, and {SRGB.how}"
        option = "--linear if its values are proportional to light"
    if way is None:
        if why == "no evidence":
            is_raster = path.suffix.lower() in RASTERS
            statement += "" if is_raster else ", since the file does not say sRGB"
            kind = "if it is encoded as sRGB" if is_raster else "for pictures of phones and cameras"
            option = f"--srgb {kind}"
        about |= {"input_values": "linear", "input_evidence": why}
        return Photo(raster.pixels, value_range, "linear", statement, about, option, evidence.camera)
    about |= {"input_values": f"{way.name}, {way.how}", "input_evidence": why}
    pixels = _Decoded(raster.pixels, value_range, way)
    return Photo(pixels, None, "srgb", statement, about, option, evidence.camera)


def _is_photograph_of_8_bits(raster: Raster, path: Path) -> bool:
    dtype = raster.pixels.read(0, 0, 1, 1).dtype.name
    return dtype == "uint8" and path.suffix.lower() not in RASTERS


def low_values(raster: Raster, path: Path) -> tuple[int, str] | None:
    """How many bits the values of a 16-bit image seem to have, and a sentence about it; None if they use
    the full scale, or the file states another.

    They are pointed out and not scaled: the image may as well be dark.
    """
    if raster.value_range is not None or raster.pixels.read(0, 0, 1, 1).dtype.name != "uint16":
        return None
    evidence = find_evidence(path)
    stated = evidence.bits if evidence.bits and evidence.bits < 16 else 0
    limit = max(65535 // _LOW, 2**stated - 1)
    height, width = raster.shape
    largest = 0
    for top in range(0, height, _ROWS):
        largest = max(largest, int(raster.pixels.read(top, 0, min(_ROWS, height - top), width).max()))
        if largest > limit:
            return None
    if largest == 0:
        return None
    bits = stated if largest < 2**stated else next(n for n in (8, 10, 12) if largest < 2**n)
    by = f", and {evidence.bits_by} says {stated} bits" if bits == stated else ""
    return bits, f"no value of {path.name} exceeds {largest} of 65535{by}"


def _decide(
    evidence: Evidence, encoding: Encoding, profile: _Profile | None
) -> tuple[ColourSpace | _Profile | None, str, str]:
    """What decodes the values (None: they stay), why, and a statement for the user."""
    if encoding != "auto":
        named = _name_of(evidence.profile)
        ignored = f"; its ICC profile ({named}) is ignored" if named else ""
        if (
            evidence.space
            and not named
            and evidence.space.name != {"linear": "linear", "srgb": "sRGB"}[encoding]
        ):
            ignored = f"; its {evidence.by} says {evidence.space.name} and is ignored"
        if encoding == "linear":
            return None, "asked for", f"taken as proportional to light, as asked{ignored}"
        return SRGB, "asked for", f"taken as sRGB, as asked, and {SRGB.how}{ignored}"
    if profile is not None and profile.is_srgb:
        return SRGB, "ICC profile", f"sRGB by its ICC profile ({profile.name}), {SRGB.how}"
    if profile is not None:
        why = f"converted from {profile.name}"
        return profile, why, f"its ICC profile is {profile.name}: {profile.how}"
    space = evidence.space
    if space is None:
        return None, "no evidence", "taken as proportional to light"
    if space == LINEAR:
        return None, evidence.by, f"proportional to light by its {evidence.by}"
    return space, evidence.by, f"{space.name} by its {evidence.by}, {space.how}"


def _full_range(
    bit_depth: int, raster: Raster, value_range: tuple[float, float] | None, path: Path
) -> tuple[float, float]:
    """The range of values that have ``bit_depth`` bits."""
    dtype = raster.pixels.read(0, 0, 1, 1).dtype
    most = 8 * dtype.itemsize
    if value_range is not None:
        raise InputError("A bit depth and a range exclude each other", fix="Give one of them")
    if dtype.kind != "u" or not 1 <= bit_depth <= most:
        expected = f"1 to {most}" if dtype.kind == "u" else "unsigned integers"
        raise InputError(
            f"{path} cannot hold values of {bit_depth} bits",
            expected=expected,
            got=f"a file of {dtype.name}",
        )
    return 0.0, float(2**bit_depth - 1)


def _name_of(data: bytes | None) -> str | None:
    """A profile's name, where it can be read; None without a profile."""
    if data is None:
        return None
    try:
        from PIL import ImageCms

        return (
            plain(ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(data)))) or "no name"
        )
    except Exception:  # it is not used, only named
        return "one that cannot be read"


@dataclass(frozen=True)
class _Profile:
    """An ICC profile, from which LittleCMS converts to linear sRGB."""

    data: bytes
    name: str
    is_srgb: bool = False

    how = "converted to linear sRGB"

    def decode(self, unit: np.ndarray) -> np.ndarray:
        """(h, w, 3) in [0, 1] as linear sRGB, float32; what lies outside of its gamut is clipped."""
        import imagecodecs

        stored = np.ascontiguousarray(unit, dtype=np.float32)
        linear = imagecodecs.cms_transform(
            stored, self.data, _linear_srgb(), colorspace="rgb", outcolorspace="rgb", outdtype="float32",
            intent=imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC,
        )  # fmt: skip
        return linear.clip(0, 1)


@lru_cache
def _linear_srgb() -> bytes:
    """An ICC profile of linear sRGB."""
    import imagecodecs

    white, primaries = (0.3127, 0.3290, 1.0), (0.64, 0.33, 1, 0.30, 0.60, 1, 0.15, 0.06, 1)
    return imagecodecs.cms_profile("rgb", whitepoint=white, primaries=primaries, gamma=1.0)


@lru_cache(maxsize=4)
def _profile(data: bytes, path: Path) -> _Profile:
    steps = np.linspace(0, 1, 9)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(9, 81, 3)
    found = _Profile(data, _name_of(data) or "")
    try:
        linear = found.decode(colours)
    except Exception as error:  # CmsError, ValueError and others, by what is wrong
        got = str(error) or type(error).__name__
        raise InputError(f"The colour profile of {path} cannot be used", got=got, fix=_CHOOSE) from error
    levels = np.abs(encode_srgb(linear) - colours).max() * 255
    return _Profile(data, found.name, bool(levels <= _LEVELS_OF_SRGB))


@dataclass(frozen=True)
class _Decoded:
    """Encoded pixels as linear values: float32 in [0, 1], window by window."""

    stored: Pixels
    value_range: tuple[float, float] | None
    way: ColourSpace | _Profile

    @property
    def shape(self) -> tuple[int, int]:
        return self.stored.shape

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        values = np.asarray(self.stored.read(top, left, height, width))
        if self.way == SRGB and self.value_range is None and values.dtype.name in ("uint8", "uint16"):
            return _table(values.dtype.name)[values]
        unit = to_unit(values.astype(np.float64), values.dtype.name, self.value_range)
        return self.way.decode(unit).astype(np.float32, copy=False)


@lru_cache
def _table(dtype: str) -> np.ndarray:
    """The linear value of every stored value of an unsigned integer dtype, float32."""
    top = np.iinfo(dtype).max
    return decode_srgb(np.arange(top + 1) / top).astype(np.float32)
