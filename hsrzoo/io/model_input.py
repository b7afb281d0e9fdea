"""Photographs as models need them: linear, in the RGB of the camera that rendered the training pairs.

A decoded photograph is linear sRGB. Where config.json names the camera of the training pairs, the image
is mapped to the RGB of that camera (:mod:`hsrzoo.colour.matrix`); the cube is then reflectance relative to
the photograph's white. Weights that name no camera, as those trained on pairs of photographs, get values
that are decoded as in training. Linear values are RGB of the camera already, unless another one is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from hsrzoo.camera import Camera
from hsrzoo.colour.calibration import Calibration
from hsrzoo.colour.matrix import camera_from_camera, camera_from_srgb
from hsrzoo.errors import InputError
from hsrzoo.io.photo import Encoding, Photo, to_linear
from hsrzoo.io.photographs.raw import camera_by_exif
from hsrzoo.io.raster import Raster, open_raster
from hsrzoo.io.white import White, area_of, neutral, one_pixel


class HasConfig(Protocol):
    """A loaded model: a Reconstructor, or an exported file."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Of its config.json."""


def photo_for(
    config: Mapping[str, Any],
    raster: Raster,
    path: Path,
    encoding: Encoding = "auto",
    value_range: tuple[float, float] | None = None,
    bit_depth: int | None = None,
    camera: str | None = None,
    white: White | None = None,
) -> Photo:
    """The image of ``raster`` as the model with this config.json needs it, window by window.

    Args:
        config: Says how the model was trained.
        raster: The opened image.
        path: Its file, whose tags are evidence.
        encoding: As for :func:`hsrzoo.io.photo.to_linear`. ``auto``: untagged photographs of 8 bits are
            sRGB, unless the weights name no camera and learned from photographs that were taken as linear.
        value_range: Of the stored values.
        bit_depth: Of the stored values.
        camera: What linear values are the RGB of, see :meth:`hsrzoo.camera.Camera.named`; or the file of a
            calibration (:mod:`hsrzoo.colour.calibration`), for any photograph decoded as its chart's was.
            Default: for raw photographs the camera by EXIF, else that of the training pairs.
        white: A white or grey area to be made neutral (:mod:`hsrzoo.io.white`): x, y, width and height, or
            R, G and B as the file stores them.

    Raises:
        InputError: See :func:`hsrzoo.io.photo.to_linear`; or ``camera`` is given where it means nothing, or
            its calibration is of photographs that are decoded otherwise.
        FormatError: The calibration is damaged.
        UnknownNameError: There is no such camera.
    """
    photo = _mapped_photo(config, raster, path, encoding, value_range, bit_depth, camera)
    if white is None:
        return photo
    shown = raster if len(white) == 4 else one_pixel(raster, white)
    stored = to_linear(shown, path, "linear", value_range, bit_depth)
    seen = _mapped_photo(config, shown, path, encoding, value_range, bit_depth, camera)
    return neutral(photo, area_of(seen, stored, white))


def _mapped_photo(
    config: Mapping[str, Any], raster: Raster, path: Path, encoding: Encoding,
    value_range: tuple[float, float] | None, bit_depth: int | None, camera: str | None,
) -> Photo:  # fmt: skip
    trained = Camera.of_training(config)
    learned = ((config.get("training") or {}).get("dataset_info") or {}).get("encoding")
    untagged: Literal["linear", "srgb"] = "linear" if trained is None and learned == "linear" else "srgb"
    photo = to_linear(raster, path, encoding, value_range, bit_depth, untagged)
    if raster.raw and camera is None:
        camera = camera_by_exif(path)
    if camera is not None and Calibration.is_file(camera):
        return _calibrated(photo, Calibration.read(Path(camera)), trained)
    if camera is not None:
        return _from_camera(photo, Camera.named(camera), trained)
    if photo.encoding == "linear" or trained is None:
        return photo
    return _mapped(photo, camera_from_srgb(trained), "linear sRGB", trained)


def _calibrated(photo: Photo, calibration: Calibration, trained: Camera | None) -> Photo:
    """``photo``, of the camera and settings of ``calibration``, as RGB of the camera ``trained``."""
    calibration.require_decoding(photo.about)
    trained = _require_trained(trained, calibration.name)
    fitted = f"fitted to the chart {calibration.chart.name}"
    matrix = calibration.matrix(trained)
    kind = "3 x 3 matrix" if matrix.shape[1] == 3 else "root-polynomial of degree 2"
    about = {
        "input_map": f"{kind} to the camera {trained.name}, {fitted}",
        "cube_values": calibration.cube_values,
    }
    return _mapped(photo, matrix, calibration.name, trained, about)


def _require_trained(trained: Camera | None, name: str) -> Camera:
    if trained is None:
        raise InputError(
            f"Values of {name} cannot be mapped: the weights do not name the camera they learned with",
            fix="Leave the camera out",
        )
    return trained


def _from_camera(photo: Photo, seen: Camera, trained: Camera | None) -> Photo:
    """``photo``, RGB of the camera ``seen``, as RGB of the camera ``trained``."""
    if photo.encoding != "linear":
        raise InputError(
            "A camera can only be named for linear values",
            expected="raw or linear values",
            got=photo.statement,
            fix="Leave the camera out, or give --linear if the values are the camera's own",
        )
    trained = _require_trained(trained, seen.name)
    if seen.name == trained.name:
        return photo
    return _mapped(photo, camera_from_camera(trained, seen), seen.name, trained)


def _mapped(
    photo: Photo, matrix: np.ndarray, source: str, trained: Camera, other: Mapping[str, str] | None = None
) -> Photo:
    """``other``: what its metadata say instead of the usual."""
    text = f"mapped from {source} to the camera {trained.name}"
    about = {
        "input_camera": source,
        "input_map": f"3 x 3 matrix to the camera {trained.name}, white kept",
        "cube_values": "reflectance relative to the white of the photograph",
        **(other or {}),
    }
    return photo.transformed(matrix, text, about={**photo.about, **about})


def read_photo(
    path: str | Path,
    model: HasConfig | None = None,
    *,
    encoding: Encoding = "auto",
    bit_depth: int | None = None,
    camera: str | None = None,
    white: White | None = None,
) -> np.ndarray:
    """Read a photograph with linear values, as ``hsrzoo predict`` does: ``model(read_photo(path, model))``.

    Args:
        path: A photograph, a TIFF, an ENVI header of three bands, or a .npy file.
        model: A loaded model. The photograph is then in the RGB of the camera that it was trained for;
            without it, in linear sRGB, or as stored where the values are linear.
        encoding: ``linear``: take the values as they are; ``srgb``: decode them from sRGB; ``auto``: decode
            them if a profile or a tag of the file says how they are encoded (sRGB, Adobe RGB, a gamma), or
            if it is an untagged photograph of 8 bits.
        bit_depth: Bits of the stored values, if they are fewer than the file's: 12 for values up to 4095.
        camera: What linear values are the RGB of: a name of ``hsrzoo cameras``, the file of a response,
            or that of a calibration.
        white: A white or grey area to be made neutral, see :func:`photo_for`; needs ``model``.

    Returns:
        (H, W, 3), upright: float32 in [0, 1] where it was decoded or mapped, or ``bit_depth`` is given;
        else in the stored dtype and range.

    Raises:
        InputError: There is no such image, its profile cannot be used, or it has not ``bit_depth`` bits.
        FormatError: The file is damaged.
    """
    if isinstance(model, str):
        raise InputError("read_photo takes a model", got=repr(model), fix=f"Use encoding={model!r}")
    raster, path = open_raster(path), Path(path)
    if model is None:
        photo = to_linear(raster, path, encoding, bit_depth=bit_depth, untagged="srgb")
    else:
        photo = photo_for(
            model.config, raster, path, encoding, bit_depth=bit_depth, camera=camera, white=white
        )
    return photo.pixels.read(0, 0, *photo.pixels.shape) if bit_depth is None else photo.unit()


__all__ = ["HasConfig", "photo_for", "read_photo"]
