"""A picture of a calibration: where patches were read, and the colours measured beside those expected."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from hsrzoo.camera import Camera
from hsrzoo.colour.calibration import Measured
from hsrzoo.colour.srgb import encode_srgb

_SIDE = 900
"""Largest side of the photograph in the picture, pixels."""
_CELL = 56
_LEAST_WIDTH = 560
_MARGIN = 24
_PAPER, _INK, _LOST = (255, 255, 255), (20, 20, 20), (230, 0, 60)


def chart_picture(measured: Measured, camera: Camera) -> Image.Image:
    """A picture: above, the photograph with the outlines of the areas read, red where a patch is at full
    scale; below, each patch as mapped (upper half) and as expected (lower half) with its CIEDE2000."""
    photo = _photograph(measured)
    patches = _patches(measured, camera)
    width = max(photo.width, patches.width, _LEAST_WIDTH) + 2 * _MARGIN
    page = Image.new("RGB", (width, photo.height + patches.height + 4 * _MARGIN), _PAPER)
    page.paste(photo, (_MARGIN, _MARGIN))
    page.paste(patches, (_MARGIN, photo.height + 3 * _MARGIN))
    draw = ImageDraw.Draw(page)
    of = measured.calibration.chart
    mean = measured.calibration.residuals(camera).mean
    text = f"{of.title}: above measured, below expected; mean difference {mean:.2f} dE2000"
    draw.text((_MARGIN, photo.height + 2 * _MARGIN), text, fill=_INK)
    return page


def _photograph(measured: Measured) -> Image.Image:
    step = max(1, -(-max(measured.pixels.shape[:2]) // _SIDE))
    pixels = measured.pixels[::step, ::step].astype(np.float64)
    values = measured.patches.rgb
    # As bright as the chart's brightest patch allows: raw values are often dark.
    top = np.nanmax(values) if np.isfinite(values).any() else 1.0
    scale = max(1, round(_SIDE / 2 / max(pixels.shape[:2])))  # small images are enlarged
    image = _image(pixels / max(top, 1e-6)).resize(
        (pixels.shape[1] * scale, pixels.shape[0] * scale), Image.Resampling.NEAREST
    )
    draw = ImageDraw.Draw(image)
    for outline, usable in zip(measured.patches.outlines, measured.patches.usable, strict=True):
        points = [tuple(map(float, (point + 0.5) / step * scale)) for point in outline]
        draw.polygon(points, outline=(0, 255, 120) if usable else _LOST)
    return image


def _patches(measured: Measured, camera: Camera) -> Image.Image:
    calibration = measured.calibration
    of, residuals = calibration.chart, calibration.residuals(camera)
    image = Image.new("RGB", (of.columns * _CELL, of.rows * _CELL), _PAPER)
    draw = ImageDraw.Draw(image)
    for i, (column, row) in enumerate(of.grid.astype(int)):
        left, top = column * _CELL, row * _CELL
        box = _CELL - 4
        for rgb, first in ((residuals.measured[i], 0), (residuals.expected[i], box // 2)):
            if np.isfinite(rgb).all():
                colour = tuple(int(v) for v in np.rint(encode_srgb(rgb.clip(0, 1)) * 255))
                draw.rectangle((left, top + first, left + box, top + first + box // 2), fill=colour)
        difference = residuals.de2000[i]
        text = f"{of.patches[i]} {difference:.1f}" if np.isfinite(difference) else f"{of.patches[i]} -"
        ink = _INK if residuals.expected[i].mean() > 0.18 else _PAPER
        draw.text((left + 2, top + box // 2), text, fill=ink)
    return image


def _image(linear: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(encode_srgb(linear.clip(0, 1)) * 255).astype(np.uint8))
