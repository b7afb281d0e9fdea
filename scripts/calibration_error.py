"""Print the table of docs/calibrate.md: cameras calibrated with one chart and scored on another."""

from __future__ import annotations

import numpy as np

from hsrzoo.bands import VISIBLE_31
from hsrzoo.camera import Camera
from hsrzoo.colour.calibration import Calibration
from hsrzoo.colour.chart import chart
from hsrzoo.colour.lights import Light
from hsrzoo.colour.responses import response_names

FULL_WELL, PIXELS = 20_000, 400
TRAINED = Camera.named("nikon-d5100")
NM = np.asarray(VISIBLE_31.centres_nm)
LED = 1.2 * np.exp(-(((NM - 450) / 12) ** 2)) + np.exp(-(((NM - 570) / 60) ** 2))
LIGHTS = {
    "equal energy": np.ones(31), "D65": Light.named("D65").power, "A": Light.named("A").power,
    "white LED": LED,
}  # fmt: skip


def photographed(camera: str, light: np.ndarray, name: str, seed: int) -> Calibration:
    """The patches of a chart; the noise is that of the mean of 400 pixels."""
    of, matrix = chart(name), Camera.named(camera).matrix(VISIBLE_31) * light
    rgb = of.reflectance @ (0.8 * matrix / matrix.sum(axis=1).max()).T
    noise = np.random.default_rng(seed).normal(size=rgb.shape) * np.sqrt(rgb / FULL_WELL / PIXELS)
    return Calibration(camera, of, rgb + noise, {})


def main() -> None:
    for light, power in LIGHTS.items():
        own, held_out = [], []
        for camera in response_names():
            if not camera.startswith("cie-"):
                fitted = photographed(camera, power, "colorchecker24", 0)
                other = photographed(camera, power, "sg140", 1)
                own.append(fitted.residuals(TRAINED).mean)
                held_out.append(other.residuals(TRAINED, fitted.matrix(TRAINED)).mean)
        print(
            f"{light}: median {np.median(held_out):.2f}, largest {np.max(held_out):.2f}; "
            f"on the calibrated chart {np.median(own):.2f}"
        )


if __name__ == "__main__":
    main()
