"""What the colour alone allows: the range of each band over all spectra that a pixel could have.

A spectrum counts as possible for a pixel if

* the camera of the training pairs renders it to the pixel's RGB, within half a step of 8 bits;
* it lies in [0, 1]: nothing reflects less than no light, or more than the white;
* it is a combination of the first :data:`COMPONENTS` principal components of measured spectra, give or take
  the residual of these spectra: band by band its root mean square, in proportion to brightness.

The ends of the range are the solutions of two linear programmes a band. They are solved for a grid over
chromaticity and the brightest channel, and interpolated linearly between its nodes. A colour that no such
spectrum has gets the range of the smallest tolerance for which there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from hsrzoo.bands import BandSet
from hsrzoo.colour.chromaticity import DARK

COMPONENTS = 8
TOLERANCE = 0.5 / 255
"""Half a step of 8 bits, in linear RGB."""
STEPS = 15
"""Of the grid along each of two chromaticities; a multiple of 3, so that grey, a frequent colour at which
ranges are widest, is a node."""
LEVELS = (
    0, 0.002, 0.004, 0.008, 0.012, 0.016, 0.022, 0.03, 0.045, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7,
    0.8, 0.9, 1,
)  # fmt: skip
"""Of the brightest channel: dense where the tolerance decides, and up to the white."""
_SLACK = 1e-5
"""Added to the smallest tolerance for which a programme has a solution: solvers round."""
_TINY = 1e-6
"""Added to each channel, so that black has a chromaticity: that of grey."""


@dataclass(frozen=True, eq=False)
class Programmes:
    """The linear programmes of one camera.

    Attributes:
        response: (3, C), as :meth:`hsrzoo.camera.Camera.matrix` returns it.
        components: (C, K) orthonormal.
        residual: (C,) of spectra of brightness 1.
    """

    response: np.ndarray
    components: np.ndarray
    residual: np.ndarray

    @classmethod
    def of_spectra(cls, response: np.ndarray, second_moment: np.ndarray) -> Programmes:
        """Of spectra with a second moment (C, C), the mean of y y^T: their components pass through black,
        so that what is possible for a colour is possible for the same colour in half the light."""
        _, vectors = np.linalg.eigh(second_moment)
        components = vectors[:, ::-1][:, :COMPONENTS]
        left = np.eye(len(second_moment)) - components @ components.T
        squares = np.diag(left @ second_moment @ left).clip(min=0)
        total = response.sum(axis=0)
        return cls(response, components, np.sqrt(squares / (total @ second_moment @ total)))

    def smallest_tolerance(self, rgb: np.ndarray) -> float:
        """The smallest distance between ``rgb`` (3,) and the colour of a possible spectrum, in the channel
        where it is largest."""
        bands, count = self.components.shape
        spectrum, seen = self._rows
        zero, one = np.zeros((bands, 1)), np.ones((3, 1))
        rows = np.block([[spectrum, zero], [seen, one], [seen, -one]])
        low = np.concatenate([np.zeros(bands), rgb, np.full(3, -np.inf)])
        high = np.concatenate([np.ones(bands), np.full(3, np.inf), rgb])
        bounds = np.append(np.full(count, np.inf), [*(self._residual(rgb)), np.inf])
        cost = np.append(np.zeros(count + bands), 1.0)
        least = np.append(-bounds[:-1], 0.0)
        return float(_solve(cost, rows, (low, high), (least, bounds))[-1])

    def ends(self, rgb: np.ndarray, tolerance: float) -> np.ndarray:
        """(2, C): the smallest and the largest value of every band over the possible spectra of ``rgb``
        (3,). One call of the solver for all of them, as independent blocks."""
        from scipy.sparse import csc_matrix, identity, kron

        bands, count = self.components.shape
        spectrum, seen = self._rows
        blocks = 2 * bands
        rows = kron(identity(blocks), csc_matrix(np.vstack([spectrum, seen])), format="csc")
        low = np.tile(np.concatenate([np.zeros(bands), rgb - tolerance]), blocks)
        high = np.tile(np.concatenate([np.ones(bands), rgb + tolerance]), blocks)
        most = np.tile(np.append(np.full(count, np.inf), self._residual(rgb)), blocks)
        cost = np.concatenate([spectrum, -spectrum]).ravel()
        found = _solve(cost, rows, (low, high), (-most, most)).reshape(2, bands, -1)
        return np.einsum("ebv,bv->eb", found, spectrum).clip(0, 1)

    @cached_property
    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Spectrum (C, K + C) and RGB (3, K + C) of the variables: shares of components, and residual."""
        spectrum = np.hstack([self.components, np.eye(len(self.components))])
        return spectrum, self.response @ spectrum

    def _residual(self, rgb: np.ndarray) -> np.ndarray:
        return self.residual * (rgb.sum() + DARK)


def _solve(
    cost: np.ndarray, rows: object, limits: tuple[np.ndarray, np.ndarray],
    bounds: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:  # fmt: skip
    """The variables of least cost. Without integers ``milp`` solves linear programmes, whose rows have two
    limits each, which ``linprog`` would double."""
    from scipy.optimize import Bounds, LinearConstraint, milp  # slow to import

    found = milp(cost, constraints=LinearConstraint(rows, *limits), bounds=Bounds(*bounds))
    if found.x is None:
        raise RuntimeError(f"HiGHS found no solution: {found.message}")
    return found.x


@dataclass(frozen=True, eq=False)
class MetamerTable:
    """The solutions for a grid of colours.

    Attributes:
        ends: (nodes * levels, 2 C) float32: lower ends, then upper ends.
        gap: (nodes * levels,) float32: :meth:`Programmes.smallest_tolerance`.
        bands: The C bands.
        camera: Its name.
    """

    ends: Tensor
    gap: Tensor
    bands: BandSet
    camera: str

    @classmethod
    def solve(
        cls, programmes: Programmes, bands: BandSet, camera: str, advance: Callable[[int], object]
    ) -> MetamerTable:
        """Solve all programmes; ``advance`` is called with how many of :func:`count_of_nodes` are done."""
        ends, gap = [], []
        for done, (i, j) in enumerate(_nodes(STEPS), start=1):
            ratios = np.array([i, j, STEPS - i - j]) / STEPS
            for level in LEVELS:
                rgb = level * ratios / ratios.max()
                gap.append(programmes.smallest_tolerance(rgb))
                ends.append(programmes.ends(rgb, max(TOLERANCE, gap[-1] + _SLACK)).ravel())
            advance(done)
        found = torch.from_numpy(np.array(ends, np.float32))
        return cls(found, torch.from_numpy(np.array(gap, np.float32)), bands, camera)

    def select(self, kept: list[int]) -> MetamerTable:
        """Of some of the bands, by their indices."""
        both = [*kept, *(len(self.bands) + i for i in kept)]
        return replace(self, ends=self.ends[:, both], bands=self.bands.select(kept))

    @torch.inference_mode()
    def at(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """The range of each band.

        Args:
            rgb: (..., 3) in [0, 1], linear, of the camera.

        Returns:
            Lower and upper ends, (..., C) float32, on the device of ``rgb``.
        """
        found = self._interpolate(self.ends, rgb)
        lower, upper = found.split(len(self.bands), dim=-1)
        return lower, upper

    @torch.inference_mode()
    def impossible_at(self, rgb: Tensor) -> Tensor:
        """Which pixels (...) bool have a colour that no possible spectrum has."""
        return self._interpolate(self.gap[:, None], rgb)[..., 0] > TOLERANCE

    def _interpolate(self, values: Tensor, rgb: Tensor) -> Tensor:
        """(..., D) of values (nodes * levels, D)."""
        pixels = rgb.reshape(-1, 3).float()
        index, weight = _places(pixels)
        found = torch.nn.functional.embedding_bag(
            index, values.to(rgb.device), per_sample_weights=weight, mode="sum"
        )
        return found.reshape(*rgb.shape[:-1], values.shape[1])


def count_of_nodes() -> int:
    """How many colours :meth:`MetamerTable.solve` solves for, each at all levels."""
    return len(_nodes(STEPS))


def _nodes(steps: int) -> list[tuple[int, int]]:
    """Chromaticities, in units of a step: a triangle."""
    return [(i, j) for i in range(steps + 1) for j in range(steps + 1 - i)]


def _places(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Indices (N, 6) of the nodes around pixels (N, 3), three corners of a triangle at two levels, and
    their weights, of sum 1."""
    pixels = pixels.clamp(0, 1)
    shifted = pixels + _TINY
    ratio = shifted[:, :2] / shifted.sum(1, keepdim=True) * STEPS
    cell = ratio.long().clamp(0, STEPS - 1)
    # The two ratios have a sum of STEPS at most: no pixel lies in the upper triangle of an outer cell.
    cell[:, 1] = torch.minimum(cell[:, 1], STEPS - 1 - cell[:, 0])
    part = (ratio - cell).clamp(0, 1)
    upper = (part.sum(1) > 1) & (cell.sum(1) < STEPS - 1)
    a, b = part[:, 0], part[:, 1]
    corner = torch.where(upper[:, None], torch.stack([a + b - 1, 1 - b, 1 - a], 1),
                         torch.stack([1 - a - b, a, b], 1)).clamp(min=0)  # fmt: skip
    corner = corner / corner.sum(1, keepdim=True)
    near = upper.long()
    x = torch.stack([cell[:, 0] + near, cell[:, 0] + 1, cell[:, 0]], 1)
    y = torch.stack([cell[:, 1] + near, cell[:, 1], cell[:, 1] + 1], 1)
    node = x * (STEPS + 1) - x * (x - 1) // 2 + y  # rows of STEPS + 1, STEPS, ... nodes before row x
    levels = torch.tensor(LEVELS, dtype=torch.float32, device=pixels.device)
    bright = pixels.amax(1).contiguous()
    level = (torch.searchsorted(levels, bright, right=True) - 1).clamp(0, len(LEVELS) - 2)
    share = ((bright - levels[level]) / (levels[level + 1] - levels[level]))[:, None]
    index = node * len(LEVELS) + level[:, None]
    return torch.cat([index, index + 1], 1), torch.cat([corner * (1 - share), corner * share], 1)


__all__ = ["COMPONENTS", "MetamerTable", "Programmes", "count_of_nodes"]
