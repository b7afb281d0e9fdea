"""Camera consistency: the cube of any model, corrected to agree with the image that it was made from.

A camera with the response R (3 x C) sees R y of a spectrum y. Where the network's y does not explain the
pixel, the most likely spectrum, given the covariance E (C x C) of the network's errors, is

    y + E R^T (R E R^T + s^2 I)^-1 (rgb - R y)

with the standard deviation s of the pixel's noise (a Wiener filter of the residual). Errors are like the
spectra themselves, of covariance S, and grow with the light: E = e^2 (m^2 / v) S with the mean m of the
pixel's three values or of R y, whichever is larger, and the variance v of that mean by S. So the darker a
pixel, the more of the residual is attributed to rounding, and the less the spectrum moves. e = 0.15 was
chosen on held-out training scenes, among values from 0.04 to 0.4, and so was the dependence on the light.

Where the image comes from another camera than the network's training pairs, the image is first translated
by the same means: rgb' = R' M R^T (R M R^T + s^2 I)^-1 rgb, with the second moment M of spectra, is what
the camera R' of the training pairs is expected to see.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.camera import CLIPPED, Camera
from hsrzoo.colour.spectra import ERROR, spectra_for
from hsrzoo.datasets.base import Dataset
from hsrzoo.errors import InputError

NOISE = 1 / 255 / 12**0.5
"""Standard deviation of what rounding to 8 bits adds."""
_AT_ONCE = 1 << 15
"""Pixels corrected at once: their spectra then stay in the cache."""


class Consistency:
    """Correction of cubes towards their images, for one camera.

    A clipped channel is only a lower bound of the light: it corrects nothing, the other channels of its
    pixel do. Negative values of the result are set to 0, which moves no cube away from a spectrum that
    exists.

    Args:
        response: R, (3, C), as :meth:`hsrzoo.camera.Camera.matrix` returns it.
        covariance: S, (C, C), of training spectra on the same bands.
        bands: The C bands of the cubes.
        noise: s, standard deviation of a pixel's values in [0, 1].
        error: e, the errors of a network as a share of the spread of spectra in equal light.

    Raises:
        InputError: Arrays that do not fit the bands, or a noise or an error of 0 or less.
    """

    def __init__(
        self,
        response: np.ndarray,
        covariance: np.ndarray,
        bands: BandSet,
        *,
        noise: float = NOISE,
        error: float = ERROR,
    ) -> None:
        count = len(bands)
        if response.shape != (3, count) or covariance.shape != (count, count) or min(noise, error) <= 0:
            raise InputError(
                "Response and covariance do not fit the bands",
                expected=f"(3, {count}), ({count}, {count}), a noise and an error above 0",
                got=f"{response.shape}, {covariance.shape}, {noise} and {error}",
            )
        seen = response @ covariance @ response.T
        self.response = _float32(response)
        self.floor = float(seen.mean() * (noise / error) ** 2)
        """v s^2 / e^2: what noise adds to the variances below, in equal light."""
        parts = [_modes(response, covariance, clipped) for clipped in range(8)]
        modes, variances, gains = (_float32(np.stack(part)) for part in zip(*parts, strict=True))
        self.modes, self.variances, self.gains = modes, variances, gains
        """(8, 3, 3), (8, 3), (8, C, 3): for every set of clipped channels, R + 2 G + 4 B, the principal
        axes of R S R^T as rows, the variances along them, and S R^T along each."""

    def __call__(self, cube: Tensor, rgb: Tensor) -> Tensor:
        """Correct a cube towards its image.

        Args:
            cube: (..., C, H, W), any floating-point dtype.
            rgb: (..., 3, H, W) in [0, 1].

        Returns:
            The corrected cube, (..., C, H, W) float32, in new memory.
        """
        out = torch.empty_like(cube, dtype=torch.float32, memory_format=torch.contiguous_format)
        rows = max(1, _AT_ONCE // cube.shape[-1])
        for i in np.ndindex(*cube.shape[:-3]):
            for top in range(0, cube.shape[-2], rows):
                strip = (slice(None), slice(top, top + rows))
                out[i][strip] = self._corrected(cube[i][strip].float(), rgb[i][strip].to(cube.device))
        return out

    def _corrected(self, cube: Tensor, rgb: Tensor) -> Tensor:
        """(C, h, w) of (C, h, w) and (3, h, w)."""
        flat, seen = cube.reshape(len(cube), -1), rgb.reshape(3, -1)
        modes, variances, gains = (t.to(cube.device) for t in (self.modes, self.variances, self.gains))
        rendered = self.response.to(cube.device) @ flat
        residual, light = seen - rendered, _light(seen, rendered, 0)

        def step(code: int, residual: Tensor, light: Tensor) -> Tensor:
            share = light / (variances[code, :, None] * light + self.floor)
            return gains[code] @ (share * (modes[code] @ residual))

        clipped = seen >= CLIPPED
        result = flat + step(0, residual, light)
        if clipped.any():
            which = clipped[0] + 2 * clipped[1] + 4 * clipped[2]
            for code in which.unique().tolist():
                if code:
                    pixels = (which == code).nonzero()[:, 0]
                    result[:, pixels] = flat[:, pixels] + step(code, residual[:, pixels], light[:, pixels])
        return result.clamp_(min=0).reshape(cube.shape)


class Correction(nn.Module):
    """The same correction as layers, for training and for exported graphs: gradients flow through it, and
    negative values stay."""

    response: Tensor
    modes: Tensor
    variances: Tensor
    gains: Tensor
    codes: Tensor
    places: Tensor

    def __init__(self, consistency: Consistency) -> None:
        super().__init__()
        self.floor = consistency.floor
        self.register_buffer("response", consistency.response)
        self.register_buffer("modes", torch.block_diag(*consistency.modes))  # (8 * 3, 8 * 3)
        self.register_buffer("variances", consistency.variances.view(1, 24, 1, 1))
        self.register_buffer("gains", consistency.gains.permute(1, 0, 2).flatten(1))  # (C, 8 * 3)
        self.register_buffer("codes", torch.arange(8.0)[:, None, None])
        self.register_buffer("places", torch.tensor([1.0, 2.0, 4.0])[:, None, None])

    def forward(self, cube: Tensor, rgb: Tensor) -> Tensor:
        """The corrected cube, (B, C, H, W) float32, of (B, C, H, W) and ``rgb`` (B, 3, H, W) in [0, 1]."""
        with torch.autocast(cube.device.type, enabled=False):  # a residual is smaller than bf16's steps
            cube, rgb = cube.float(), rgb.float()
            rendered = torch.einsum("kc,bchw->bkhw", self.response, cube)
            residual, light = rgb - rendered, _light(rgb, rendered.detach(), 1)
            clipped = ((rgb >= CLIPPED).float() * self.places).sum(1, keepdim=True)
            chosen = torch.eq(clipped, self.codes).float()  # (B, 8, H, W), one 1 each
            parts = (chosen[:, :, None] * residual[:, None]).flatten(1, 2)  # (B, 8 * 3, H, W)
            share = light / (self.variances * light + self.floor)
            parts = share * torch.einsum("ck,bkhw->bchw", self.modes, parts)
            return cube + torch.einsum("ck,bkhw->bchw", self.gains, parts)


def correction_for(dataset: Dataset, model: str) -> Correction:
    """The correction by the camera that rendered the RGB of ``dataset``. InputError where none did,
    BandsError where there is no covariance for its bands."""
    camera = Camera.recorded(dataset.info)
    if camera is None:
        raise InputError(
            f"The images of {dataset.name} were not rendered by a known camera: {model} cannot be "
            "trained to agree with them",
            got=dict(dataset.info).get("response"),
            fix="Leave consistency out of the recipe",
        )
    covariance = spectra_for(dataset.bands, model).covariance
    return Correction(Consistency(camera.matrix(dataset.bands), covariance, dataset.bands))


def _light(seen: Tensor, rendered: Tensor, channels: int) -> Tensor:
    """m^2 of every pixel, with one entry in place of the ``channels``."""
    return torch.maximum(seen.mean(channels, keepdim=True), rendered.mean(channels, keepdim=True)).square()


def _float32(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _modes(
    response: np.ndarray, covariance: np.ndarray, clipped: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Axes (3, 3) and variances (3,) of R S R^T for the channels that are not clipped, 0 and 1 in place of
    the others, and S R^T along the axes, (C, 3)."""
    kept = [channel for channel in range(3) if not clipped >> channel & 1]
    n, part = len(kept), response[kept]
    modes, variances, gains = np.zeros((3, 3)), np.ones(3), np.zeros((response.shape[1], 3))
    variances[:n], axes = np.linalg.eigh(part @ covariance @ part.T)
    modes[:n, kept] = axes.T
    gains[:, :n] = covariance @ part.T @ axes
    return modes, variances, gains
