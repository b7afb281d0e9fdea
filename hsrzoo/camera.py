"""Cameras and observers, and the rendering of cubes to RGB."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.bands import BandSet, combine
from hsrzoo.colour.responses import is_file, response, response_names
from hsrzoo.errors import BandsError, InputError

DEFAULT_CAMERA = "nikon-d5100"
"""The response that renders RGB where a data set has no camera image."""
NOTICEABLE = 1e-3
"""Share of a channel that a band without data must have to leave a pixel black: a quarter of a grey level
of 8 bits. Bands at the foot of a response count as 0 there."""

CLIPPED = 1 - 0.5 / 255
"""A channel at or above this is saturated: in 8 bits only the value 255 is."""
_TABLE = ("wavelengths_nm", "sensitivities")


@dataclass(frozen=True, eq=False)
class Camera:
    """Three spectral responses and the linear operator that they define.

    Attributes:
        name: For messages and records.
        wavelengths_nm: (N,) float64, ascending.
        sensitivities: (N, 3) float64, columns R, G, B (x, y, z for the CIE observers). Zero outside
            the table.
    """

    name: str
    wavelengths_nm: np.ndarray = field(repr=False)
    sensitivities: np.ndarray = field(repr=False)

    @staticmethod
    @cache
    def named(name: str) -> Camera:
        """A built-in camera, or that of a file.

        Args:
            name: One of :func:`hsrzoo.colour.responses.response_names`, or the path of a .csv or .json file
                (see :func:`hsrzoo.colour.responses.read_response`).

        Raises:
            UnknownNameError: There is no such camera.
            InputError, FormatError: The file holds no response.
        """
        table = response(name)
        return Camera(_name_of_file(Path(name), table) if is_file(name) else name, *table)

    @staticmethod
    def recorded(info: Mapping[str, Any]) -> Camera | None:
        """The camera that :meth:`record` has put into ``info``; None where it names none that is known."""
        name, table = info.get("response"), info.get("response_table")
        if table is not None:
            arrays = (np.asarray(table[key], dtype=np.float64) for key in _TABLE)
            return Camera(str(name), *arrays)
        return Camera.named(name) if name in response_names() else None

    @staticmethod
    def of_training(config: Mapping[str, Any]) -> Camera | None:
        """The camera that rendered the RGB of the training pairs of a model with this config.json; None
        where it names none, as for photographs."""
        return Camera.recorded((config.get("training") or {}).get("dataset_info") or {})

    def record(self) -> dict[str, Any]:
        """What a file must hold so that :meth:`recorded` finds this camera: JSON values."""
        if self.name in response_names():
            return {"response": self.name}
        table = zip(_TABLE, self.table, strict=True)
        return {"response": self.name, "response_table": {key: values.tolist() for key, values in table}}

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """Wavelengths in nm (N,) and sensitivities (N, 3), float64, read-only."""
        return self.wavelengths_nm, self.sensitivities

    def matrix(self, bands: BandSet) -> np.ndarray:
        """The rendering operator: ``rgb = matrix @ spectrum``.

        Equal-energy light; every channel is divided by its own sum, so each row sums to 1 and a spectrum of
        ones gives R = G = B = 1: one fixed gain per response, never one per image. The response is read at
        the band centres by linear interpolation. Each band is weighted by the range of wavelengths that is
        nearest to it (so overlapping detectors are not counted twice); on a regular grid all weights are
        equal. Bands outside the table have no weight.

        Args:
            bands: The C bands of the spectra.

        Returns:
            (3, C) float64.

        Raises:
            BandsError: A channel is sensitive to none of the bands.
        """
        centres = np.asarray(bands.centres_nm)
        covered = (centres >= self.wavelengths_nm[0]) & (centres <= self.wavelengths_nm[-1])
        rows = np.zeros((3, len(centres)))
        if covered.any():
            seen = centres[covered]
            responses = [np.interp(seen, self.wavelengths_nm, curve) for curve in self.sensitivities.T]
            rows[:, covered] = np.stack(responses) * _stretches(seen)
        sums = rows.sum(axis=1, keepdims=True)
        if not np.all(sums > 0):
            raise BandsError(
                f"The response {self.name} cannot render these bands",
                expected=f"bands within {self.wavelengths_nm[0]:g}-{self.wavelengths_nm[-1]:g} nm "
                "that R, G and B are sensitive to",
                got=bands,
                fix="Give bands in the visible range, or RGB images of your own",
            )
        return rows / sums

    def sees(self, bands: BandSet) -> np.ndarray:
        """(C,) bool: bands whose weight is above :data:`NOTICEABLE`; without one, nothing is rendered."""
        return np.asarray((np.abs(self.matrix(bands)) > NOTICEABLE).any(axis=0))

    def render(
        self,
        cube: np.ndarray,
        bands: BandSet,
        *,
        bits: int | None = 8,
        exposure: float = 1.0,
        full_well: float | None = None,
        read_noise: float | None = None,
        jpeg: int | None = None,
        generator: np.random.Generator | None = None,
    ) -> np.ndarray:
        """Render a cube to RGB.

        Linear RGB = :meth:`matrix` @ cube x ``exposure``; then sensor noise, clipping, rounding and JPEG.

        Args:
            cube: (C, H, W). NaN is a value without data: pixels that lack a band that counts (see
                :data:`NOTICEABLE`) are black.
            bands: The C bands.
            bits: Bits that RGB is rounded to; None: not rounded.
            exposure: Factor of linear RGB.
            full_well: Electrons at the value 1, for Poisson noise; needs ``generator``.
            read_noise: Standard deviation of the added Gaussian noise, in electrons; needs ``generator``.
            jpeg: Quality of a JPEG round trip, 1 to 100; needs ``bits=8``.
            generator: Source of the noise, so that no result depends on hidden state.

        Returns:
            (3, H, W) float32 in [0, 1].

        Raises:
            InputError: ``cube`` does not have these bands, or options contradict each other.
            BandsError: See :meth:`matrix`.
        """
        if cube.ndim != 3 or cube.shape[0] != len(bands):
            raise InputError(
                "The cube does not have these bands",
                expected=f"shape ({len(bands)}, H, W) for {bands}",
                got=f"shape {cube.shape}",
            )
        if jpeg is not None and bits != 8:
            raise InputError("JPEG holds 8 bits", expected="bits=8 with jpeg", got=f"bits={bits}")
        matrix = self.matrix(bands) * exposure
        flat = np.ascontiguousarray(cube.reshape(len(bands), -1), dtype=np.float64)
        rgb = combine(matrix, flat, NOTICEABLE * exposure).reshape(3, *cube.shape[1:])
        missing = np.isnan(rgb).any(axis=0)
        rgb[:, missing] = 0
        rgb = _expose(rgb, full_well, read_noise, generator)
        rgb = quantise(rgb, bits)
        if jpeg is not None:
            rgb = jpeg_round_trip(rgb, jpeg)
        rgb[:, missing] = 0  # noise and JPEG may have changed it
        return rgb.astype(np.float32)


def quantise(rgb: np.ndarray, bits: int | None) -> np.ndarray:
    """RGB (float64) clipped to [0, 1] and rounded to ``bits`` bits; None: not rounded."""
    rgb = np.clip(rgb, 0.0, 1.0)
    if bits is None:
        return rgb
    levels = 2**bits - 1
    return np.rint(rgb * levels) / levels


def jpeg_encode(rgb: np.ndarray, quality: int) -> bytes:
    """(3, H, W) in [0, 1] as a baseline JPEG file of 8 bits and 4:2:0, as cameras write it."""
    from PIL import Image

    if not 1 <= quality <= 100:
        raise InputError("No such JPEG quality", expected="1 to 100", got=quality)
    pixels = np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG", quality=quality, subsampling=2)
    return buffer.getvalue()


def jpeg_decode(data: bytes) -> np.ndarray:
    """The image (3, H, W) in [0, 1], float64, of a JPEG file with three channels."""
    from PIL import Image

    decoded = np.asarray(Image.open(io.BytesIO(data)), dtype=np.float64)
    return decoded.transpose(2, 0, 1) / 255


def jpeg_round_trip(rgb: np.ndarray, quality: int) -> np.ndarray:
    """(3, H, W) in [0, 1] encoded by :func:`jpeg_encode` and decoded again: float64."""
    return jpeg_decode(jpeg_encode(rgb, quality))


def _expose(
    rgb: np.ndarray,
    full_well: float | None,
    read_noise: float | None,
    generator: np.random.Generator | None,
) -> np.ndarray:
    """Poisson-Gaussian noise on linear values, in electrons; unchanged without ``full_well``."""
    if full_well is None and read_noise is None:
        return rgb
    if full_well is None or full_well <= 0 or (read_noise or 0) < 0 or generator is None:
        raise InputError(
            "Sensor noise is not fully described",
            expected="full_well above 0 electrons, read_noise of 0 or more and a numpy Generator",
            got=f"full_well={full_well}, read_noise={read_noise}, generator={generator}",
        )
    electrons = generator.poisson(np.maximum(rgb, 0) * full_well).astype(np.float64)
    if read_noise:
        electrons += generator.normal(0.0, read_noise, rgb.shape)
    return electrons / full_well


def _stretches(centres: np.ndarray) -> np.ndarray:
    """Length in nm of the spectrum nearest to each centre (any order); equal centres share it."""
    unique, where, counts = np.unique(centres, return_inverse=True, return_counts=True)
    if len(unique) == 1:
        return np.full(len(centres), 1.0 / len(centres))
    middles = (unique[1:] + unique[:-1]) / 2
    edges = np.concatenate([[2 * unique[0] - middles[0]], middles, [2 * unique[-1] - middles[-1]]])
    return (np.diff(edges) / counts)[where]


def _name_of_file(path: Path, table: tuple[np.ndarray, np.ndarray]) -> str:
    """The file's name with a digest of its numbers: another response has another name."""
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(values).tobytes() for values in table))
    return f"{path.stem}-{digest.hexdigest()[:8]}"
