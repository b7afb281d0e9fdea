"""Photographs as arrays: 8 and 16 bit, EXIF orientation applied, anything unclear refused.

Pillow decodes everything but TIFF; its 16-bit RGB PNG reader drops the low bytes, so those are
decoded once more here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from hsrzoo.errors import FormatError, InputError
from hsrzoo.io.common import require_file

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm")
"""Suffixes that a folder of photographs is searched for."""
MOST_PIXELS = 1 << 30
"""Of a photograph that is decoded whole: 3 GiB in 8 bits."""
_TIFF = (".tif", ".tiff")
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
}


def read_image(path: str | Path) -> np.ndarray:
    """An RGB photograph as (H, W, 3) uint8 or uint16, upright.

    Raises InputError for grey, palette and alpha images (three colour channels are needed, and how
    to get them is the owner's choice), FormatError for truncated, empty or unknown files.
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
    # Pillow's limit is for untrusted images; those of phones and panoramas exceed it.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        image = Image.open(path)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise FormatError(
            f"{path} is not an image that can be read",
            expected="PNG, JPEG, TIFF, BMP, WebP or PPM",
            got=str(error),
            fix="Check that the copy is complete and the name fits the format",
        ) from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise InputError(
            f"{path} has too many pixels to be decoded whole",
            expected=f"at most {MOST_PIXELS:,}",
            got=f"{image.height:,} x {image.width:,}",
            fix="Save it as an uncompressed TIFF, which is read part by part",
        )
    return image


def _decode(image: Image.Image, path: Path) -> np.ndarray:
    """All pixels; a truncated stream raises instead of giving grey rows."""
    try:
        low = _low_bytes(image, path)
        high = np.asarray(image)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        problem = f"The image {path} is truncated or damaged"
        raise FormatError(problem, got=str(error), fix="Copy or download it again") from error
    return high if low is None else (high.astype(np.uint16) << 8) | low


def _low_bytes(image: Any, path: Path) -> np.ndarray | None:
    """Low bytes of a 16-bit RGB PNG, else None.

    Pillow unpacks such files to 8 bits with the raw mode ``RGB;16B`` (the first, high byte of each
    pair); asking for ``RGB;16L`` makes it take the second byte instead.
    """
    if image.format != "PNG" or len(image.tile) != 1 or image.tile[0][3] != "RGB;16B":
        return None
    again: Any = open_image(path)
    with again:
        codec, extents, offset, _ = again.tile[0]
        # a plain tuple in older releases of pillow, a named one in newer
        kind = type(again.tile[0])
        fields = (codec, extents, offset, "RGB;16L")
        again.tile = [fields if kind is tuple else kind(*fields)]
        return np.asarray(again)


def _rgb_from_tiff(path: Path) -> np.ndarray:
    import tifffile

    from hsrzoo.io.tiff import open_tiff

    with open_tiff(path) as tiff:
        page = tiff.pages.first
        pixels = tiff.series[0].asarray()
        orientation = page.tags.get("Orientation")
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            raise _not_rgb(path, "an image with a colour palette")
    if pixels.ndim == 3 and pixels.shape[0] == 3 and pixels.shape[2] != 3:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype not in (np.uint8, np.uint16):
        raise _not_rgb(path, f"shape {pixels.shape}, {pixels.dtype}")
    return _upright(pixels, int(orientation.value) if orientation else 1)


def _not_rgb(path: Path, got: str) -> InputError:
    return InputError(
        f"{path} is not an RGB photograph",
        expected="three channels of 8 or 16 bits: red, green, blue",
        got=got,
        fix="Save it as plain RGB (flatten transparency; a grey image has no colour to start from)",
    )
