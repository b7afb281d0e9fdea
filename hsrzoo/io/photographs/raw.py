"""Raw photographs by rawpy (LibRaw): demosaiced to the camera's own linear RGB.

Black and white levels are those of the file. Channels are multiplied by the white balance that the camera
set, so that white is (1, 1, 1), and cut at full scale. Colours are not converted: the values are RGB of
this camera.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.colour.responses import camera_of, nearest_cameras
from hsrzoo.errors import FormatError, InputError
from hsrzoo.io.common import raw_error

_MAKE, _MODEL = 0x010F, 0x0110


def read_raw(path: Path) -> tuple[np.ndarray, str]:
    """The pixels of a raw photograph, upright, and a note on how they were made.

    Returns:
        (H, W, 3) uint16, full scale 65535.

    Raises:
        InputError: rawpy is not installed, or the sensor has no colours.
        FormatError: LibRaw cannot read the file.
    """
    try:
        import rawpy
    except ImportError as error:
        raise raw_error(path) from error
    try:
        with rawpy.imread(str(path)) as raw:
            balance = np.asarray(raw.camera_whitebalance[:3], dtype=float)
            known = bool(np.all(balance > 0))
            black, white = raw.black_level_per_channel[0], raw.white_level
            pixels = raw.postprocess(
                gamma=(1, 1), no_auto_bright=True, output_bps=16, output_color=rawpy.ColorSpace.raw,
                use_camera_wb=known, user_wb=None if known else [1.0, 1.0, 1.0, 1.0],
            )  # fmt: skip
    except rawpy.LibRawError as error:
        raise FormatError(
            f"{path} cannot be read as a raw photograph",
            got=str(error),
            fix="Check that the copy is complete, install a newer rawpy, or develop it first",
        ) from error
    if pixels.shape[2] != 3:
        raise InputError(
            f"{path} is a raw photograph without colours",
            expected="a sensor of red, green and blue",
            got=f"{pixels.shape[2]} channel{'s' * (pixels.shape[2] > 1)}",
            fix="If it has colours, develop it first, to linear 16 bits if possible",
        )
    how = f"white balance {balance[0] / balance[1]:.3g}, 1, {balance[2] / balance[1]:.3g} as shot"
    how = how if known else "without a white balance, which the file does not state"
    return pixels, f"Raw: demosaiced by LibRaw, black {black}, white {white}, {how}"


def camera_by_exif(path: Path) -> str:
    """The built-in response of the camera that took a raw photograph.

    Raises:
        InputError: Its EXIF names no camera, or one that is not built in; names the nearest.
    """
    make, model = _make_and_model(path)
    found = camera_of(make, model)
    if found is not None:
        return found
    near = nearest_cameras(make, model)
    raise InputError(
        f"The response of the camera that took {path} is not known",
        expected="one of `hsrzoo cameras`",
        got=f"{'' if model.startswith(make) else make} {model}".strip() or "no camera in its EXIF",
        fix=f"Give --camera with the name of a similar one ({', '.join(near) or 'none is near'}) or the "
        "file of its response, or develop it first",
    )


def _make_and_model(path: Path) -> tuple[str, str]:
    """By the tags of TIFF containers (DNG, NEF, CR2, ARW), else by those of the preview; else "" """
    tags: Any
    try:
        import tifffile

        with tifffile.TiffFile(path) as tiff:
            tags = {code: tiff.pages.first.tags.valueof(code) for code in (_MAKE, _MODEL)}
    except Exception:  # no TIFF, or damaged tags; the pixels may be intact
        tags = _preview_tags(path)
    make, model = (str(tags.get(code) or "").strip() for code in (_MAKE, _MODEL))
    return make, model


def _preview_tags(path: Path) -> Any:
    try:
        import rawpy
        from PIL import Image

        with (
            rawpy.imread(str(path)) as raw,
            Image.open(io.BytesIO(bytes(raw.extract_thumb().data))) as preview,
        ):
            return preview.getexif()
    except Exception:  # no preview, or one without tags
        return {}


__all__ = ["camera_by_exif", "read_raw"]
