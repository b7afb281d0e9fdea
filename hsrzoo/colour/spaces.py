"""Colour spaces of stored values, and the way from them to linear sRGB."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hsrzoo.colour.srgb import decode_srgb

_SRGB_XY = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_WHITE_XY = (0.3127, 0.3290)


@dataclass(frozen=True)
class ColourSpace:
    """How stored values in [0, 1] become linear sRGB; the white is D65."""

    name: str
    gamma: float | None = None
    """Linear values are stored ones to this power; None: by the curve of sRGB."""
    primaries: tuple[tuple[float, float], ...] = _SRGB_XY
    """Chromaticities (x, y) of red, green, blue."""

    @property
    def how(self) -> str:
        """What is done, for people."""
        curve = "decoded by IEC 61966-2-1"
        if self.gamma is not None:
            curve = f"decoded by the power {self.gamma:.4g}"
        return curve if self.primaries == _SRGB_XY else f"{curve} and converted to sRGB's primaries"

    @cached_property
    def _matrix(self) -> np.ndarray:
        """(3, 3) float64: linear values to linear sRGB."""
        return np.linalg.inv(_to_xyz(_SRGB_XY)) @ _to_xyz(self.primaries)

    def decode(self, unit: np.ndarray) -> np.ndarray:
        """(..., 3) float64 in [0, 1] as linear sRGB; what lies outside of its gamut is clipped."""
        linear = decode_srgb(unit) if self.gamma is None else np.power(unit, self.gamma)
        if self.primaries == _SRGB_XY:
            return linear
        return (linear @ self._matrix.T).clip(0, 1)


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
    """(3, 3): linear RGB to XYZ, white at D65 with Y = 1."""
    columns = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in primaries]).T
    x, y = _WHITE_XY
    return columns * np.linalg.solve(columns, [x / y, 1.0, (1 - x - y) / y])


SRGB = ColourSpace("sRGB")
LINEAR = ColourSpace("linear", 1.0)
ADOBE_RGB = ColourSpace("Adobe RGB (1998)", 563 / 256, ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)))
# Codes of ITU-T H.273, in the chunk cICP of PNG and the box nclx of HEIF and AVIF.
_PRIMARIES = {
    9: ("BT.2020", ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))),
    12: ("P3", ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))),
}
_GAMMAS = {1: None, 4: 2.2, 5: 2.8, 6: None, 8: 1.0, 13: None, 14: None, 15: None}
"""Transfer characteristics -> gamma; those of television are taken as sRGB's."""
_HDR = {16: "PQ", 18: "HLG"}


def space_of_codes(primaries: int, transfer: int) -> tuple[ColourSpace | None, str | None]:
    """The space of two codes of H.273, or the name of what makes it HDR; None for unknown codes."""
    if transfer in _HDR or transfer not in _GAMMAS:
        return None, _HDR.get(transfer)
    gamma = _GAMMAS[transfer]
    if primaries in _PRIMARIES:
        name, corners = _PRIMARIES[primaries]
        return ColourSpace(name if gamma is None else f"{name} of gamma {gamma}", gamma, corners), None
    if gamma is None:
        return SRGB, None
    return LINEAR if gamma == 1 else ColourSpace(f"gamma {gamma}", gamma), None
