"""A scene as training keeps it: in 16 bits where that loses nothing, and crops of it in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hsrzoo.io.values import FULL_SCALE, to_uint16
from hsrzoo.models.rgb import stretch

Pair = tuple[Tensor, Tensor]
"""rgb (3, H, W), normalised as the network expects it, and cube (C, H, W), both float32."""
_RGB = 3


def encode(rgb: np.ndarray, cube: np.ndarray) -> np.ndarray:
    """RGB (3, H, W) and cube (C, H, W), float32, in one array (3 + C, H, W).

    It is uint16, values times 65535, where all values of the scene can be computed from that bit for bit,
    as those of 8-bit and 16-bit files can. Otherwise it is float32.
    """
    stored = np.empty((_RGB + len(cube), *cube.shape[1:]), np.uint16)
    for plane, place in zip((*rgb, *cube), stored, strict=True):
        if np.isnan(plane).any():
            break
        place[:] = to_uint16(plane)
        if not np.array_equal(_bits(_decoded(torch.from_numpy(place)).numpy()), _bits(plane)):
            break
    else:
        return stored
    return np.concatenate([rgb, cube], dtype=np.float32)


def gaps_of(values: np.ndarray) -> np.ndarray | None:
    """(H, W) bool of an array of :func:`encode`, True at pixels without any data (NaN in all bands); None:
    there is none."""
    if values.dtype != np.float32:
        return None
    gaps: np.ndarray = np.isnan(values[_RGB:]).all(axis=0)
    return gaps if gaps.any() else None


@dataclass(frozen=True, eq=False)
class StoredScene:
    """RGB and cube of a scene, in memory or mapped from a file."""

    values: Tensor
    """Of :func:`encode`: (3 + C, H, W), uint16 or float32."""
    gaps: Tensor | None
    """(H, W) bool, True at pixels without any data; None: nowhere."""
    ends: tuple[Tensor, Tensor] | None = None
    """What RGB of crops is stretched by: smallest and largest value of the whole scene, as of the whole
    image when the network is used. None: RGB stays as it is."""

    @classmethod
    def of(cls, values: np.ndarray, gaps: np.ndarray | None) -> StoredScene:
        """The scene of an array of :func:`encode` and of :func:`gaps_of`."""
        return cls(torch.from_numpy(values), None if gaps is None else torch.from_numpy(gaps))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.values.shape[1], self.values.shape[2]

    def normalised(self) -> StoredScene:
        """With RGB stretched to [0, 1], as ``minmax-image`` does it."""
        rgb = _decoded(self.values[:_RGB])
        return replace(self, ends=(rgb.amin(), rgb.amax()))

    def padded(self, height: int, width: int) -> StoredScene:
        """Continued by mirroring at the bottom and on the right to this size, where it is smaller."""
        missing = [max(0, n - own) for n, own in zip((height, width), self.shape, strict=True)]
        if not any(missing):
            return self
        values = np.pad(self.values.numpy(), ((0, 0), *((0, n) for n in missing)), mode="symmetric")
        return replace(StoredScene.of(values, gaps_of(values)), ends=self.ends)

    def whole(self) -> Pair:
        """All of it."""
        return self.crop(slice(None), slice(None))

    def crop(self, rows: slice, columns: slice) -> Pair:
        """A window of it."""
        part = self.values[:, rows, columns]
        out = torch.empty(part.shape)
        pair = out[:_RGB], out[_RGB:]
        self.write(rows, columns, pair)
        return pair

    def write(
        self, rows: slice, columns: slice, out: Pair, flips: Sequence[int] = (), turns: int = 0
    ) -> None:
        """Write a window of it to ``out``, flipped along the axes ``flips`` (1, 2), then turned by
        ``turns`` quarter turns, 0 to 3, as ``torch.rot90`` does it."""
        turning: tuple[set[int], ...] = (set(), {2}, {1, 2}, {1})  # a quarter turn: a flip, then transposed
        axes = set(flips) ^ turning[turns]
        # There is no flip of uint16; a copy of flipped values is faster than reading them backwards.
        bits = self.values.view(torch.int16) if self.values.dtype == torch.uint16 else self.values
        part = bits[:, rows, columns]
        part = part.flip(tuple(axes)) if axes else part
        part = (part.mT if turns % 2 else part).view(self.values.dtype)
        for target, source in zip(out, (part[:_RGB], part[_RGB:]), strict=True):
            _decode(source, target)
        if self.ends is not None:
            out[0].copy_(stretch(out[0], *self.ends))


def _decoded(stored: Tensor) -> Tensor:
    out = torch.empty(stored.shape)
    _decode(stored, out)
    return out


def _decode(stored: Tensor, out: Tensor) -> None:
    out.copy_(stored)
    if stored.dtype == torch.uint16:
        out.div_(FULL_SCALE["uint16"])


def _bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32).view(np.int32)
