"""``hsrzoo calibrate``: a camera by the photograph of a colour chart, prediction intervals of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hsrzoo.cli import intervals, options
from hsrzoo.cli.names import CHART, RESPONSE
from hsrzoo.cli.output import print_table, say

if TYPE_CHECKING:
    from hsrzoo.camera import Camera
    from hsrzoo.colour.calibration import Calibration
    from hsrzoo.io.photo import Encoding


class Point(click.ParamType):
    """``x,y``: a place in an image, in pixels."""

    name = "point"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        found = options.numbers_of(value)
        if len(found) != 2 or not sum(map(abs, found)) < float("inf"):
            self.fail(f"{value!r} is not a point: write x,y in pixels, as 120,85", param, ctx)
        return found


@click.group("calibrate")
def command() -> None:
    """Calibrate your camera, or the prediction intervals of a model, for `predict`."""


command.add_command(intervals.command)


@command.command("chart")
@click.argument("photo", type=options.PATH)
@click.option("--chart", type=CHART, required=True, help="colorchecker24, sg140 or ngt130.")
@click.option(
    "--corners", type=Point(), nargs=4, default=None, metavar="X,Y X,Y X,Y X,Y",
    help="Centres of the four corner patches in pixels: top left, top right, bottom right, bottom left of "
    "the chart as it is printed [searched for: colorchecker24, extra chart].",
)  # fmt: skip
@click.option("-o", "--out", type=options.PATH, required=True, help="File for `predict --camera`: .json.")
@click.option(
    "--for", "camera", type=RESPONSE, default="nikon-d5100", show_default=True, metavar="CAMERA",
    help="Camera of the training pairs, for the table; the file serves for all.",
)  # fmt: skip
@click.option(
    "--light", metavar="LIGHT",
    help="D65, A or a CSV file of wavelength in nm and power: cubes are light times reflectance "
    "[reflectance].",
)  # fmt: skip
@click.option("--linear", is_flag=True, help="Values are proportional to light.")
@click.option("--srgb", is_flag=True, help="Values are sRGB [decided as by `predict`].")
@click.option("--bit-depth", type=click.IntRange(1, 32), metavar="N", help="As for `predict`.")
@options.as_json
def chart_command(
    photo: Path, chart: str, corners: tuple[tuple[float, float], ...] | None, out: Path, camera: str,
    light: str | None, linear: bool, srgb: bool, bit_depth: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Calibrate by the photograph PHOTO of a colour chart.

    The file holds for photographs with the same exposure, white balance, light and file format, and maps
    them to the camera of a network's training pairs. A picture beside it, with the suffix .png, shows where
    the patches were read, and the colours measured beside those expected. The table lists the differences
    that the map leaves, patch by patch.
    """
    from hsrzoo.camera import Camera
    from hsrzoo.colour.lights import Light
    from hsrzoo.prediction.calibrate import calibrate_chart

    options.forbid(linear and srgb, "--linear and --srgb exclude each other")
    options.forbid(out.suffix.lower() != ".json", "--out must end in .json")
    encoding: Encoding = "linear" if linear else "srgb" if srgb else "auto"
    target = Camera.named(camera)
    calibration = calibrate_chart(
        photo, chart, corners, out, camera=target, light=None if light is None else Light.named(light),
        encoding=encoding, bit_depth=bit_depth, say=say,
    )  # fmt: skip
    _report(calibration, target, as_json)
    say(f"Calibration: {out}")


def _report(calibration: Calibration, camera: Camera, as_json: bool) -> None:
    """The table of residuals, and a line that sums them up."""
    import numpy as np

    found = calibration.residuals(camera)
    usable = calibration.usable
    rows = [
        {
            "patch": name,
            "de2000": float(found.de2000[i]) if usable[i] else None,
            "rmse": float(found.rmse[i]) if usable[i] else None,
            **dict(zip("rgb", calibration.rgb[i].tolist() if usable[i] else [None] * 3, strict=True)),
            "note": "" if usable[i] else "at full scale, left out",
        }
        for i, name in enumerate(calibration.chart.patches)
    ]
    columns = {
        "patch": "patch", "de2000": "dE2000", "rmse": "RMSE", "r": "R", "g": "G", "b": "B", "note": "",
    }  # fmt: skip
    print_table(rows, columns, as_json=as_json)
    say(
        f"{int(usable.sum())} of {len(usable)} patches, for {camera.name}: mean {found.mean:.2f} dE2000, "
        f"largest {np.nanmax(found.de2000):.2f}; RMSE {found.mean_rmse:.4f}"
    )
