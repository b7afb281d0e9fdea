"""The photograph of a colour chart becomes a calibration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hsrzoo.camera import Camera
from hsrzoo.colour.calibration import Calibration, measure_chart
from hsrzoo.colour.chart import Corners
from hsrzoo.colour.chart_picture import chart_picture
from hsrzoo.colour.find_chart import find_chart
from hsrzoo.colour.lights import Light
from hsrzoo.errors import InputError
from hsrzoo.io.open_stream import require_folder
from hsrzoo.io.photo import Encoding, to_linear
from hsrzoo.io.raster import open_raster
from hsrzoo.prediction.pictures import png, require_replaceable
from hsrzoo.utils.files import write_atomically, write_json


def calibrate_chart(
    photo: str | Path,
    chart: str,
    corners: Corners | None,
    out: str | Path,
    *,
    camera: Camera,
    light: Light | None = None,
    encoding: Encoding = "auto",
    bit_depth: int | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> Calibration:
    """Calibrate a camera by the photograph of a chart.

    Writes ``out`` (JSON) and, beside it, a picture of the same name and the suffix .png, which shows where
    patches were read. If the chart does not fit, only the picture is written.

    Args:
        photo: A photograph, decoded as ``hsrzoo predict`` decodes photographs.
        chart: Name of :data:`hsrzoo.colour.chart.CHARTS`.
        corners: As for :func:`hsrzoo.colour.chart.read_patches`. None: the chart is searched for
            (:mod:`hsrzoo.colour.find_chart`).
        out: A .json file.
        camera: The camera of a network's training pairs, for which residuals are computed. The file serves
            for every other one, too.
        light: As for :func:`hsrzoo.colour.calibration.measure_chart`.
        encoding: As for :func:`hsrzoo.io.photo.to_linear`.
        bit_depth: Likewise.
        say: Called with messages for the user.

    Raises:
        InputError: The photograph cannot be read; the chart is outside, too small, turned, overexposed or
            another one.
        UnknownNameError: There is no such chart.
        StoreError: A file cannot be written.
    """
    photo, out = Path(photo), Path(out)
    picture = out.with_suffix(".png")
    raster = open_raster(photo)
    require_folder(out)
    if out.exists() and out.samefile(photo):
        raise InputError(f"{out.name} would overwrite the photograph", fix="Choose another --out")
    require_replaceable(picture, [photo])
    decoded = to_linear(raster, photo, encoding, bit_depth=bit_depth, untagged="srgb")
    say(decoded.note)
    pixels = decoded.unit()
    places = find_chart(pixels, chart) if corners is None else [corners]
    every = [measure_chart(pixels, chart, place, decoded.about, light) for place in places]
    measured = min(every, key=lambda one: one.calibration.residuals(camera).mean)
    if corners is None:
        say(f"Chart found: --corners {' '.join(f'{x:.0f},{y:.0f}' for x, y in measured.corners)}")
    measured.require_usable()
    write_atomically(picture, png(chart_picture(measured, camera)))
    say(f"Picture: {picture}")
    measured.require_fit(camera)
    write_json(out, measured.calibration.to_json(camera))
    return Calibration.read(out)
