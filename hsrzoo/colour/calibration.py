"""The map from a camera, as it was set, to another one: fitted to the patches of a photographed chart.

A patch with the reflectance r has the value L in the photograph, and C in the RGB of the camera that
rendered a network's training pairs. The map from L to C, by least squares over the patches
(:func:`hsrzoo.colour.matrix.fit_map`), holds for the exposure, the white balance and the light of the
photograph. Without a stated light C is the RGB of r, and the cube is reflectance; with a light e it is that
of e r, and the cube is light times reflectance.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.bands import VISIBLE_31
from hsrzoo.camera import Camera
from hsrzoo.colour.chart import Chart, Corners, Patches, chart, orientations, read_patches
from hsrzoo.colour.difference import ciede2000, xyz_to_lab
from hsrzoo.colour.lights import Light
from hsrzoo.colour.matrix import camera_from_srgb, fit_map, map_colours
from hsrzoo.colour.responses import CALIBRATION
from hsrzoo.colour.srgb import XYZ_OF_SRGB
from hsrzoo.errors import FormatError, InputError

WORST = 5.0
"""Largest mean CIEDE2000 of the patches of a chart that is taken for the stated one."""
_SCHEMA = 1
_LEAST_USABLE = 0.75
"""Share of the patches that must be usable."""
_DECODING = ("input_values", "input_bit_depth", "input_raw")
"""What of the decoding of two photographs must agree."""
_BETTER = 0.5
"""Residuals of the chart in another orientation, relative to those as stated, that show a mistake."""
_DARK = 2e-3
"""The chart's brightest patch must exceed this share of full scale."""


@dataclass(frozen=True, eq=False)
class Residuals:
    """What a calibration leaves of the differences between measured and expected colours."""

    de2000: np.ndarray
    """(N,) CIEDE2000 of each patch; NaN where it was not usable."""
    rmse: np.ndarray
    """(N,) root mean square difference of RGB."""
    measured: np.ndarray
    """(N, 3) the patches of the photograph, mapped; as linear sRGB."""
    expected: np.ndarray
    """(N, 3) as linear sRGB."""

    @property
    def mean(self) -> float:
        """Mean CIEDE2000."""
        return float(np.nanmean(self.de2000))

    @property
    def mean_rmse(self) -> float:
        """Root mean square difference of RGB over all patches."""
        return float(np.sqrt(np.nanmean(self.rmse**2)))


@dataclass(frozen=True, eq=False)
class Calibration:
    """The patches of a chart in a photograph, and how it was decoded."""

    name: str
    chart: Chart
    rgb: np.ndarray
    """(N, 3) float64: linear values of the photograph; NaN for patches that are not usable."""
    decoding: Mapping[str, str]
    """How the photograph was decoded, as the metadata of cubes state it."""
    light: Light | None = None

    @property
    def usable(self) -> np.ndarray:
        """(N,) bool."""
        return np.isfinite(self.rgb).all(axis=1)

    @property
    def white(self) -> np.ndarray:
        """(31,) float64: the spectrum that the cube has where the photograph shows a perfect white."""
        return np.ones(len(VISIBLE_31)) if self.light is None else self.light.power

    @property
    def cube_values(self) -> str:
        """What cubes of mapped photographs hold."""
        if self.light is None:
            return "reflectance relative to a perfect white in the light of the calibration"
        return f"light times reflectance, relative to the maximum of the light {self.light.name}"

    def expected(self, camera: Camera) -> np.ndarray:
        """(N, 3) float64: RGB of the patches for ``camera``, 400-700 nm."""
        return (self.chart.reflectance * self.white) @ camera.matrix(VISIBLE_31).T

    def matrix(self, camera: Camera) -> np.ndarray:
        """(3, 3) or (3, 6) float64: linear values of the photograph to RGB of ``camera``, as
        :func:`hsrzoo.colour.matrix.map_colours` takes it."""
        seen = self.usable
        return fit_map(self.rgb[seen], self.expected(camera)[seen])

    def residuals(self, camera: Camera, matrix: np.ndarray | None = None) -> Residuals:
        """The patches mapped to ``camera`` by ``matrix`` (default: its own) beside what it would see.

        For colours, RGB divided by that of a perfect white is taken to linear sRGB by the inverse of
        :func:`hsrzoo.colour.matrix.camera_from_srgb`.
        """
        matrix = self.matrix(camera) if matrix is None else matrix
        found, expected = map_colours(self.rgb, matrix), self.expected(camera)
        white = camera.matrix(VISIBLE_31) @ self.white
        to_srgb = np.linalg.inv(camera_from_srgb(camera))
        found_srgb, expected_srgb = (rgb / white @ to_srgb.T for rgb in (found, expected))
        reference = XYZ_OF_SRGB.sum(axis=1)
        labs = [xyz_to_lab(XYZ_OF_SRGB @ rgb.T, reference) for rgb in (found_srgb, expected_srgb)]
        rmse = np.sqrt(np.mean((found - expected) ** 2, axis=1))
        return Residuals(ciede2000(*labs), rmse, found_srgb, expected_srgb)

    def require_decoding(self, about: Mapping[str, str]) -> None:
        """InputError unless a photograph with this metadata was decoded as that of the chart was."""
        for key in _DECODING:
            own, other = self.decoding.get(key, "none"), about.get(key, "none")
            if own != other:
                raise InputError(
                    "The photograph is not decoded as that of the calibration was",
                    expected=f"{key.replace('_', ' ')}: {own}",
                    got=other,
                    fix="Take both with the same settings, or calibrate again; --linear, --srgb and "
                    "--bit-depth decide how values are decoded",
                )

    def to_json(self, camera: Camera) -> dict[str, Any]:
        """What :meth:`read` reads; matrix and residuals are those for ``camera``."""
        residuals = self.residuals(camera)
        patches = {
            name: [float(f"{value:.7g}") for value in rgb] if np.isfinite(rgb).all() else None
            for name, rgb in zip(self.chart.patches, self.rgb, strict=True)
        }
        return {
            "schema": _SCHEMA,
            "kind": CALIBRATION,
            "chart": self.chart.name,
            "light": None if self.light is None else self.light.to_json(),
            "decoding": dict(self.decoding),
            "patches": patches,
            "camera": camera.name,
            "matrix": self.matrix(camera).round(7).tolist(),
            "residuals": {
                "de2000": round(residuals.mean, 4),
                "rmse": round(residuals.mean_rmse, 6),
            },
        }

    @staticmethod
    def is_file(name: str) -> bool:
        """Whether ``name`` is that of a calibration and not of a camera or its response."""
        path = Path(name)
        if path.suffix.lower() != ".json" or not path.is_file():
            return False
        try:
            content = json.loads(path.read_text())
        except (ValueError, OSError):
            return False
        return isinstance(content, dict) and content.get("kind") == CALIBRATION

    @staticmethod
    def read(path: Path) -> Calibration:
        """The calibration in a file that :meth:`to_json` filled.

        Raises:
            FormatError: It is damaged, holds impossible values, or is of a newer version.
        """
        try:
            data = path.read_bytes()
            content = json.loads(data)
            if content["schema"] != _SCHEMA:
                expected = f"schema {_SCHEMA}"
                raise FormatError(
                    f"{path} is of another version", expected=expected, got=f"schema {content['schema']}",
                    fix="Upgrade hsrzoo",
                )  # fmt: skip
            of, light = chart(content["chart"]), content["light"]
            patches = content["patches"]
            rgb = np.array([patches[name] or [np.nan] * 3 for name in of.patches], dtype=np.float64)
            if light is not None:
                light = Light(light["name"], np.array(light["power"], dtype=np.float64))
            decoding = {str(key): str(value) for key, value in content["decoding"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            got = f"none of the name {error}" if isinstance(error, KeyError) else str(error)
            expected = "all fields and patches that `hsrzoo calibrate` writes"
            raise FormatError(f"{path} is not a calibration", expected=expected, got=got) from error
        # The digest: partial cubes of another calibration under the same name are not continued.
        name = f"{path.stem}-{hashlib.sha256(data).hexdigest()[:8]}"
        found = Calibration(name, of, rgb, decoding, light)
        found._require_possible(path)
        return found

    def _require_possible(self, path: Path) -> None:
        """FormatError unless these can be values of a chart: least squares fits a map to any."""
        seen, white, count = self.rgb[self.usable], self.white, len(self.chart.patches)
        patches_fit = (
            self.rgb.shape == (count, 3) and len(seen) >= _LEAST_USABLE * count
            and seen.min() >= 0 and _DARK <= seen.max() <= 1
        )  # fmt: skip
        light_fits = (
            white.shape == (len(VISIBLE_31),) and np.isfinite(white).all()
            and white.min() >= 0 and white.max() > 0
        )  # fmt: skip
        if not (patches_fit and light_fits):
            raise FormatError(
                f"The values in {path} are not those of a calibration",
                expected=f"R, G and B in [0, 1] of {int(np.ceil(_LEAST_USABLE * count))} or more patches"
                if not patches_fit
                else f"{len(VISIBLE_31)} powers of the light, 0 or more",
                fix="Calibrate again",
            )


@dataclass(frozen=True, eq=False)
class Measured:
    """A chart in a photograph: where its patches are, and the calibration that they give."""

    pixels: np.ndarray
    corners: Corners
    patches: Patches
    calibration: Calibration

    def require_usable(self) -> None:
        """InputError if the chart is overexposed or nearly black."""
        of, usable = self.calibration.chart, self.patches.usable
        if usable.mean() < _LEAST_USABLE:
            lost = [name for name, good in zip(of.patches, usable, strict=True) if not good]
            raise InputError(
                f"Patches of the chart are at full scale: {', '.join(lost)}",
                expected=f"at least {int(np.ceil(_LEAST_USABLE * len(usable)))} usable patches",
                got=f"{int(usable.sum())} of {len(usable)}",
                fix="Expose less, so that the white patch stays below full scale",
            )
        brightest = float(np.nanmax(self.patches.rgb))
        if brightest < _DARK:
            got = f"{brightest:.2g} of full scale"
            fix = "Expose more; if the values have fewer bits than the file, give --bit-depth"
            raise InputError("The chart is black in the picture", got=got, fix=fix)

    def require_fit(self, camera: Camera) -> None:
        """InputError if another orientation fits much better, or none fits."""
        own = self.calibration.residuals(camera).mean
        found = {}
        for way, corners in orientations(self.corners).items():
            patches = read_patches(self.pixels, self.calibration.chart, corners)
            if patches.usable.mean() >= _LEAST_USABLE:
                other = Calibration("", self.calibration.chart, patches.rgb, {}, self.calibration.light)
                found[way] = other.residuals(camera).mean, corners
        way = min(found, key=lambda key: found[key][0]) if found else ""
        if found and found[way][0] < _BETTER * own and found[way][0] <= WORST:
            right = " ".join(f"{x:g},{y:g}" for x, y in found[way][1])
            raise InputError(
                f"The chart is {way} relative to the corners given",
                expected="the corner patches in the order top left, top right, bottom right, bottom left",
                got=f"a mean difference of {own:.1f} dE2000, and {found[way][0]:.1f} when turned",
                fix=f"Give --corners {right}",
            )
        if not own <= WORST:
            raise InputError(
                f"The patches do not look like those of {self.calibration.chart.title}",
                expected=f"a mean difference of at most {WORST:g} dE2000 after the fit",
                got=f"{own:.1f}",
                fix="Check --chart and --corners, that the photograph is not retouched, and that its "
                "values are decoded rightly (--linear, --srgb)",
            )


def measure_chart(
    pixels: np.ndarray,
    name: str,
    corners: Corners,
    decoding: Mapping[str, str],
    light: Light | None = None,
) -> Measured:
    """The chart ``name`` in a photograph.

    Args:
        pixels: (H, W, 3) linear values in [0, 1].
        name: Of :data:`hsrzoo.colour.chart.CHARTS`.
        corners: As for :func:`hsrzoo.colour.chart.read_patches`.
        decoding: The metadata of the decoded photograph.
        light: Of the photograph, if cubes are to be light times reflectance.

    Raises:
        InputError: The corners are not usable.
        UnknownNameError: There is no such chart.
    """
    of = chart(name)
    patches = read_patches(pixels, of, corners)
    kept = {key: decoding[key] for key in _DECODING if key in decoding}
    return Measured(pixels, corners, patches, Calibration("", of, patches.rgb, kept, light))
