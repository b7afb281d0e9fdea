"""A cube as a picture: sRGB under daylight, for looking at it and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import BandsError
from hsrzoo.metrics.colour import xyz_matrix
from hsrzoo.srgb import XYZ_OF_SRGB, encode_srgb

_PRIMARIES_NM = (640.0, 550.0, 460.0)
"""Red, green and blue of the picture where single bands stand for them."""
_NEAR_NM = 25.0
"""How far such a band may lie from its colour before the picture has false colours."""


@dataclass(frozen=True, eq=False)
class Rendering:
    """How a set of bands becomes colours: linear sRGB is ``matrix @ spectrum``; ``how`` in words."""

    matrix: np.ndarray
    """(3, C) float32."""
    how: str


@lru_cache(maxsize=16)
def rendering(bands: BandSet) -> Rendering:
    """Colorimetric where the bands cover the visible range: D65, CIE 1931 observer, as dE2000 is computed,
    with a spectrum of ones as white. Else three bands stand for red, green and blue."""
    xyz = xyz_matrix(bands)
    if xyz is not None:
        # The observer's tables are cut to 400-700 nm: scaled so that ones are exactly white.
        xyz = xyz * (XYZ_OF_SRGB.sum(axis=1) / xyz.sum(axis=1))[:, None]
        matrix = np.linalg.solve(XYZ_OF_SRGB, xyz)
        return Rendering(matrix.astype(np.float32), "sRGB under D65, CIE 1931 2 degree observer")
    chosen = display_bands(bands)
    matrix = np.zeros((3, len(bands)), np.float32)
    matrix[range(3), chosen] = 1
    named = ", ".join(f"{bands.centres_nm[i]:g}" for i in chosen)
    return Rendering(matrix, f"the bands do not cover the visible range: red, green, blue are {named} nm")


def display_bands(bands: BandSet) -> tuple[int, int, int]:
    """Which bands stand for red, green and blue: those nearest to 640, 550 and 460 nm, if each is within
    25 nm; else three spread over the range, the longest red."""
    centres = np.asarray(bands.centres_nm)
    near = [int(np.abs(centres - nm).argmin()) for nm in _PRIMARIES_NM]
    off = [abs(centres[i] - nm) for i, nm in zip(near, _PRIMARIES_NM, strict=True)]
    if len(set(near)) < 3 or max(off) > _NEAR_NM:
        order = np.argsort(centres, kind="stable")
        near = [int(order[round((len(order) - 1) * share)]) for share in (5 / 6, 1 / 2, 1 / 6)]
    red, green, blue = near
    return red, green, blue


def srgb_of(cube: np.ndarray, bands: BandSet) -> np.ndarray:
    """``cube`` (H, W, C) in [0, 1] as a picture (H, W, 3) uint8, encoded as sRGB.

    Colours outside sRGB are clipped; pixels that lack a band that counts (NaN) are black. How the bands
    become colours: :func:`rendering`.
    """
    cube = np.asarray(cube)
    if cube.ndim != 3 or cube.shape[2] != len(bands):
        raise BandsError(
            "The cube does not have these bands",
            expected=f"(H, W, {len(bands)}) for {bands}",
            got=f"shape {cube.shape}",
        )
    matrix = rendering(bands).matrix
    used = np.flatnonzero(matrix.any(axis=0))  # a band without data that does not count blackens nothing
    linear = cube[..., used].astype(np.float32, copy=False) @ matrix[:, used].T
    linear = np.nan_to_num(linear, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
    return np.rint(encode_srgb(linear) * 255).astype(np.uint8)


__all__ = ["Rendering", "display_bands", "rendering", "srgb_of"]
