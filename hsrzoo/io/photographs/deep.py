"""Photographs of more than 8 bits in formats that Pillow cuts to 8: PNG, PNM, JPEG 2000, AVIF, HEIC."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.errors import InputError


def decode_deep(image: Any, path: Path) -> np.ndarray | None:
    """The pixels (H, W, 3) uint16 of an image that Pillow has opened, full scale 65535, as stored (EXIF
    orientation not applied); None where Pillow loses nothing."""
    reader = _READERS.get(image.format)
    return None if reader is None or image.mode != "RGB" else reader(image, path)


def to_full_scale(values: np.ndarray, largest: int) -> np.ndarray:
    """Integers whose full scale is ``largest`` as uint8 or uint16 of full scale, rounded: uint8 where they
    are uint8."""
    full, dtype = (255, np.uint8) if values.dtype == np.uint8 else (65535, np.uint16)
    if largest == full:
        return values.astype(dtype, copy=False)
    scaled = (values.astype(np.uint64) * full + largest // 2) // largest
    return np.minimum(scaled, full).astype(dtype)


def _png(image: Any, path: Path) -> np.ndarray | None:
    if not str(image.tile[0][3]).startswith("RGB;16"):
        return None
    import imagecodecs

    return imagecodecs.png_decode(path.read_bytes())[..., :3]


def _pnm(image: Any, path: Path) -> np.ndarray | None:
    codec, _, offset, settings = image.tile[0]
    largest = 255 if isinstance(settings, str) else settings[1]
    if largest <= 255:
        return None
    shape = (image.height, image.width, 3)
    count, data = 3 * image.height * image.width, path.read_bytes()[offset:]
    if codec.endswith("plain"):
        text = b" ".join(line.partition(b"#")[0] for line in data.splitlines())
        values = np.array(text.split()[:count], dtype=np.int64)
    else:
        values = np.frombuffer(data, ">u2", min(len(data) // 2, count))
    if values.size < count:
        raise ValueError(f"{values.size} of {count} values")
    if values.max(initial=0) > largest or values.min(initial=0) < 0:
        raise ValueError(f"values up to {values.max()}, above the stated {largest}")
    return to_full_scale(values.reshape(shape), largest)


def _jpeg2000(image: Any, path: Path) -> np.ndarray | None:
    data = path.read_bytes()
    start = data.find(b"\xff\x4f\xff\x51")  # start of the codestream, marker of its sizes
    bits = [(data[start + 42 + 3 * i] & 0x7F) + 1 for i in range(3)]
    if max(bits) <= 8:
        return None
    if len(set(bits)) > 1 or max(bits) > 16 or any(data[start + 42 + 3 * i] & 0x80 for i in range(3)):
        raise _too_deep(path, f"{bits} bits")
    import imagecodecs

    return to_full_scale(imagecodecs.jpeg2k_decode(data)[..., :3], 2 ** bits[0] - 1)


def _avif(image: Any, path: Path) -> np.ndarray | None:
    data = path.read_bytes()
    start = data.find(b"av1C")
    flags = data[start + 6] if start >= 0 else 0
    if not flags & 0x40:
        return None
    import imagecodecs

    return to_full_scale(imagecodecs.avif_decode(data)[..., :3], 4095 if flags & 0x20 else 1023)


def _heif(image: Any, path: Path) -> np.ndarray | None:
    bits = int(image.info.get("bit_depth") or 8)
    if bits <= 8:
        return None
    import pillow_heif

    found = pillow_heif.open_heif(path, convert_hdr_to_8bit=False, hdr_to_16bit=False)
    return to_full_scale(np.asarray(found)[..., :3], 2**bits - 1)


def _sgi(image: Any, path: Path) -> np.ndarray | None:
    with path.open("rb") as file:
        bytes_each = file.read(4)[3]
    if bytes_each != 1:
        raise _too_deep(path, f"{8 * bytes_each} bits")
    return None


def _too_deep(path: Path, got: str) -> InputError:
    return InputError(
        f"{path} has more bits than can be read from its format",
        expected="8 bits", got=got, fix="Save it as PNG or TIFF of 16 bits",
    )  # fmt: skip


_READERS = {
    "PNG": _png, "PPM": _pnm, "JPEG2000": _jpeg2000, "AVIF": _avif, "HEIF": _heif, "SGI": _sgi,
}  # fmt: skip
