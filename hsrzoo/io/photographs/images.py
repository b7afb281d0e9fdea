"""Photographs as arrays: 8 and 16 bit, EXIF orientation applied, anything unclear refused.

Pillow decodes everything but TIFF; what it would cut to 8 bits is decoded by :mod:`.deep`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from hsrzoo.errors import FormatError, InputError
from hsrzoo.io.common import missing_codec, require_developed, require_file
from hsrzoo.io.photographs.deep import decode_deep, to_full_scale

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pnm", ".heic", ".heif",
    ".avif", ".jp2", ".j2k",
)  # fmt: skip
"""Suffixes that a folder of photographs is searched for."""
MOST_PIXELS = 1 << 30
"""Of a photograph that is decoded whole: 3 GiB in 8 bits."""
_TIFF = (".tif", ".tiff")
_FORMATS = (
    "JPEG", "MPO", "PNG", "BMP", "DIB", "WEBP", "PPM", "GIF", "TGA", "PCX", "SUN", "QOI", "PSD", "SGI",
    "JPEG2000", "AVIF", "HEIF", "TIFF",
)  # fmt: skip
"""Formats (Pillow's names) of which no bit is lost: 8 bits, or decoded by :mod:`.deep`."""
_JPEG_IN_TIFF = (6, 7, 33007)
"""Compressions whose YCbCr is decoded to RGB."""
_EXIF_ORIENTATION = 0x0112
# What EXIF orientation 2..8 asks a viewer to do with the stored (H, W, ...) array.
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
_REFUSED = {
    **dict.fromkeys(("L", "I", "F"), "a grey image"),
    **dict.fromkeys(("I;16", "I;16B"), "a 16-bit grey image"),
    **dict.fromkeys(("P", "PA"), "an image with a colour palette"),
    "1": "a black and white image",
    "LA": "a grey image with transparency",
    "RGBA": "an image with an alpha channel",
    "CMYK": "a CMYK image",
    "LAB": "an image of Lab values",
    "YCbCr": "an image of YCbCr values",
}


def read_image(path: str | Path) -> np.ndarray:
    """An RGB photograph as (H, W, 3), upright: uint8 or uint16 of full scale, or other numbers of a TIFF.

    Raises InputError for raw photographs and for grey, palette, alpha, CMYK, Lab and YCbCr images (red,
    green and blue are needed, and how to get them is the owner's choice), FormatError for truncated, empty
    or unknown files.
    """
    path = Path(path)
    if path.suffix.lower() in _TIFF:
        return _rgb_from_tiff(path)
    with open_image(path) as image:
        if image.format == "TIFF":  # under another name; Pillow would drop the low bytes of 16 bits
            return _rgb_from_tiff(path)
        if image.mode != "RGB":
            raise _not_rgb(path, _REFUSED.get(image.mode, f"an image of mode {image.mode}"))
        pixels = _decode(image, path)
        orientation = _orientation(image)  # after: it loads PNG files by itself
    return _upright(pixels, orientation)


def _upright(pixels: np.ndarray, orientation: Any) -> np.ndarray:
    return np.ascontiguousarray(_UPRIGHT.get(orientation, lambda a: a)(pixels))


def _orientation(image: Image.Image) -> Any:
    """EXIF's; 1, upright, where there is none or its tags are damaged, which harms no pixel."""
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # Pillow raises anything from SyntaxError to struct.error for damaged tags
        return 1


def read_plane(path: str | Path) -> np.ndarray:
    """One band stored as an image: (H, W) uint8 or uint16.

    Colour images count as one band if their channels are equal (CAVE's RGBA files); others raise.
    """
    path = Path(path)
    with open_image(path) as image:
        pixels = _decode(image, path)
    if pixels.ndim == 3:
        if (pixels[..., 1:3] != pixels[..., :1]).any():
            grey = "a grey image, or equal red, green and blue"
            raise FormatError(f"{path} should hold one band", expected=grey, got="a colour image")
        pixels = np.ascontiguousarray(pixels[..., 0])
    if pixels.dtype not in (np.uint8, np.uint16):
        raise FormatError(f"{path} should hold one band", expected="8 or 16 bits", got=pixels.dtype)
    return pixels


def open_image(path: Path) -> Image.Image:
    """The image by Pillow, not decoded yet. Raises InputError, FormatError."""
    require_file(path)
    require_developed(path)
    _require_heif(path)
    # Pillow's limit is for untrusted images; those of phones and panoramas exceed it.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        image = Image.open(path)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise FormatError(
            f"{path} is not an image that can be read",
            expected="PNG, JPEG, TIFF, BMP, WebP, PPM, JPEG 2000, HEIC or AVIF",
            got=str(error),
            fix="Save it in one of these formats; if it is, check that the copy is complete",
        ) from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    if image.format not in _FORMATS:
        image.close()
        fix, got = "Save it as PNG or TIFF", f"the format {image.format}"
        raise InputError(f"{path} is of a format whose values Pillow changes", got=got, fix=fix)
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise InputError(
            f"{path} has too many pixels to be decoded whole",
            expected=f"at most {MOST_PIXELS:,}",
            got=f"{image.height:,} x {image.width:,}",
            fix="Save it as an uncompressed TIFF, which is read part by part",
        )
    return image


def _require_heif(path: Path) -> None:
    """Make Pillow read HEIC; InputError where what reads HEIC or AVIF is not installed."""
    with path.open("rb") as file:
        head = file.read(64)
    if head[4:8] != b"ftyp":
        return
    brands = {head[i : i + 4] for i in range(8, min(int.from_bytes(head[:4], "big"), 64), 4)}
    if brands & {b"avif", b"avis"}:
        from PIL import features

        if not features.check("avif"):
            fix = 'Install what reads it: pip install "hsrzoo[heif]", or save it as PNG'
            raise InputError(f"{path} is AVIF, which the installed Pillow does not read", fix=fix)
    elif brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}:
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            fix = 'Install it: pip install "hsrzoo[heif]", or save the photograph as PNG'
            raise InputError(f"{path} is HEIC, which needs the package pillow-heif", fix=fix) from None
        register_heif_opener()


def _decode(image: Image.Image, path: Path) -> np.ndarray:
    """All pixels; a truncated stream raises instead of giving grey rows."""
    try:
        deep = decode_deep(image, path)
        return np.asarray(image) if deep is None else deep
    except ImportError as error:
        raise missing_codec(path, error) from error
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError, LookupError) as error:
        problem = f"The image {path} is truncated or damaged"
        raise FormatError(problem, got=str(error), fix="Copy or download it again") from error


def _rgb_from_tiff(path: Path) -> np.ndarray:
    import tifffile

    from hsrzoo.io.tiff import open_tiff

    with open_tiff(path) as tiff:
        page = tiff.pages.first
        photometric, kinds = page.photometric, tifffile.PHOTOMETRIC
        if photometric == kinds.PALETTE:
            raise _not_rgb(path, "an image with a colour palette")
        from_jpeg = photometric == kinds.YCBCR and page.compression in _JPEG_IN_TIFF
        if photometric not in (kinds.RGB, kinds.MINISBLACK) and not from_jpeg:
            raise _not_rgb(path, f"PhotometricInterpretation {getattr(photometric, 'name', photometric)}")
        pixels, bits = tiff.series[0].asarray(), page.bitspersample
        orientation = page.tags.get("Orientation")
    if pixels.ndim == 3 and pixels.shape[0] == 3 and pixels.shape[2] != 3:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype.kind not in "uif":
        raise _not_rgb(path, f"shape {pixels.shape}, {pixels.dtype}")
    if pixels.dtype.name in ("uint8", "uint16"):  # 12 bits come in 16
        pixels = to_full_scale(pixels, 2**bits - 1)
    return _upright(pixels, int(orientation.value) if orientation else 1)


def _not_rgb(path: Path, got: str) -> InputError:
    return InputError(
        f"{path} is not an RGB photograph",
        expected="three channels of 8 or 16 bits: red, green, blue",
        got=got,
        fix="Save it as plain RGB (flatten transparency; a grey image has no colour to start from)",
    )
