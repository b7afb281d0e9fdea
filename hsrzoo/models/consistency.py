"""Camera consistency: what any model reconstructs, made to agree with the image it was made from.

A camera with the response R (3 x C) sees R y of a spectrum y. Where the network's y does not explain the
pixel, the most likely spectrum, given the covariance E (C x C) of the network's errors, is

    y + E R^T (R E R^T + s^2 I)^-1 (rgb - R y)

with the standard deviation s of the pixel's noise (a Wiener filter of the residual). Errors are like the
spectra themselves, of covariance S, and grow with the light: E = e^2 (m^2 / v) S with the mean m of the
pixel's three values or of R y, whichever is larger, and the variance v of that mean by S. So the darker a
pixel, the more of the residual is put down to rounding, and the less the spectrum moves. e = 0.15 was
chosen on training scenes held out, among values from 0.04 to 0.4, and so was the dependence on the light.

Where the image comes from another camera than the network's training pairs, the image is first translated
by the same means: rgb' = R' M R^T (R M R^T + s^2 I)^-1 rgb, with the second moment M of spectra, is what
the camera R' of the training pairs is expected to see.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.camera import CLIPPED, Camera, camera_names
from hsrzoo.datasets.base import Dataset
from hsrzoo.errors import DatasetError, InputError, unknown_name
from hsrzoo.layers.whole_image import Region
from hsrzoo.models.camera_estimate import colours_of, estimate_camera
from hsrzoo.models.tiling import PaddedImage
from hsrzoo.models.tiling.passes import Sink

ESTIMATE = "estimate"
"""Instead of a camera's name: the camera is estimated from each image."""
NOISE = 1 / 255 / 12**0.5
"""Standard deviation of what rounding to 8 bits adds."""
ERROR = 0.15
"""e: the errors of a network, as a share of the spread of spectra in equal light."""
_AT_ONCE = 1 << 15
"""Pixels corrected at once: their spectra then stay in the cache."""
_SAMPLE = 1 << 18
"""Pixels, about, that an estimate looks at."""
_FILE = Path(__file__).parents[1] / "data" / "spectra-cave.json"


@dataclass(frozen=True, eq=False)
class Spectra:
    """What is known of the spectra of natural scenes, measured on training scenes alone."""

    bands: BandSet
    mean: np.ndarray
    """(C,) float64."""
    covariance: np.ndarray
    """(C, C) float64."""
    colours: Mapping[str, np.ndarray]
    """Camera -> in how many scenes each colour occurs, as :mod:`.camera_estimate` counts them."""
    origin: Mapping[str, Any]
    """Data set, split, scenes, fingerprint and number of pixels."""

    @property
    def second_moment(self) -> np.ndarray:
        """(C, C) float64: mean of y y^T."""
        return self.covariance + np.outer(self.mean, self.mean)

    def to_json(self) -> dict[str, Any]:
        """Plain lists, for a file."""
        return {
            "origin": dict(self.origin),
            "bands": self.bands.to_json(),
            "mean": self.mean.tolist(),
            "covariance": self.covariance.tolist(),
            "colours": {name: table.tolist() for name, table in self.colours.items()},
        }


@cache
def bundled_spectra() -> Spectra:
    """Those of cave/train, 31 bands (``scripts/export_training_spectra.py``)."""
    stored = json.loads(_FILE.read_text())
    return Spectra(
        BandSet.from_json(stored["bands"]),
        np.array(stored["mean"]),
        np.array(stored["covariance"]),
        {name: np.array(table) for name, table in stored["colours"].items()},
        stored["origin"],
    )


def spectral_covariance(dataset: Dataset, split: str, scenes: Sequence[str] | None = None) -> Spectra:
    """Mean, covariance and colours of the spectra of ``scenes`` (None: all of the split).

    Every pixel with data in all bands counts once. Colours are those that each built-in camera sees, in
    8 bits. Raises DatasetError where there are fewer pixels than bands.
    """
    names = dataset.scenes(split) if scenes is None else list(scenes)
    count, total = 0, np.zeros(len(dataset.bands))
    products = np.zeros((len(dataset.bands),) * 2)
    cameras = {name: Camera.named(name) for name in camera_names()}
    seen: dict[str, Any] = dict.fromkeys(cameras, 0)
    for name in names:
        cube = dataset.load(split, name).cube
        spectra = cube.reshape(len(cube), -1).astype(np.float64)
        spectra = spectra[:, ~np.isnan(spectra).any(axis=0)]
        count, total = count + spectra.shape[1], total + spectra.sum(axis=1)
        products += spectra @ spectra.T
        for camera in cameras.values():
            colours = colours_of(camera.render(cube, dataset.bands))
            seen[camera.name] = seen[camera.name] + colours.astype(int)
    if count <= len(dataset.bands):
        raise DatasetError(
            f"{dataset.name}/{split} has too few spectra for a covariance",
            expected=f"more than {len(dataset.bands)} pixels with data in all bands",
            got=count,
        )
    mean = total / count
    covariance = (products - count * np.outer(mean, mean)) / (count - 1)
    origin = {
        "dataset": dataset.name, "split": split, "scenes": names, "pixels": count,
        "fingerprint": dataset.fingerprint(),
    }  # fmt: skip
    return Spectra(dataset.bands, mean, covariance, seen, origin)


class Consistency:
    """Cubes corrected towards their images, for one camera.

    ``response``: (3, C), as :meth:`hsrzoo.camera.Camera.matrix` gives it; ``covariance``: S, (C, C), of
    training spectra on the same ``bands``; ``noise``: s, standard deviation of a pixel's values;
    ``error``: e.

    A clipped channel tells only that the light was at least so strong: it corrects nothing, the other
    channels of its pixel do. Negative values of the result are cut to 0, which brings no cube further
    from a spectrum that exists.
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
        """The corrected cube, (..., C, H, W) float32, new; ``rgb``: (..., 3, H, W) in [0, 1]."""
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
    camera = dict(dataset.info).get("response")
    if camera not in camera_names():
        raise InputError(
            f"The images of {dataset.name} were not rendered by a built-in camera: {model} cannot be "
            "trained to agree with them",
            expected=f"one of {', '.join(camera_names())}",
            got=camera,
            fix="Leave consistency out of the recipe",
        )
    return Correction(CameraStep(camera, dataset.bands, camera, model).correction)


def _strided(rgb: Tensor, step: int) -> Tensor:
    return rgb[:, ::step, ::step]


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


class CameraStep:
    """What :attr:`hsrzoo.spec.Execution.consistency` does to a model: its images translated to the camera
    that it was trained with, its cubes corrected towards the images.

    ``camera``: a built-in camera's name, or "estimate". ``trained``: that of the training pairs; None where
    the record of the weights does not tell it: nothing is translated then. Raises UnknownNameError,
    BandsError where there is no covariance for ``bands``, InputError for an estimate without ``trained``.
    """

    def __init__(self, camera: str, bands: BandSet, trained: str | None, model: str) -> None:
        if camera not in (ESTIMATE, *camera_names()):
            raise unknown_name("camera response", camera, [ESTIMATE, *camera_names()])
        self.spectra = bundled_spectra()
        self.spectra.bands.require_same(
            bands, "the covariance of spectra that camera consistency needs", f"the model {model}",
            fix="Leave it out, or use hsrzoo.models.consistency.Consistency with a covariance of your own",
        )  # fmt: skip
        self.trained = trained if trained in camera_names() else None
        if camera == ESTIMATE and self.trained is None:
            raise InputError(
                f"The camera of an image cannot be estimated for {model}",
                expected="weights whose record names the built-in camera of their training pairs",
                got=trained,
                fix=f"Name the camera: {', '.join(camera_names())}",
            )
        self.camera, self.bands = camera, bands
        self._corrections: dict[str, Consistency] = {}

    @property
    def correction(self) -> Consistency:
        """That of the camera, which is no estimate here."""
        return self._correction(self.camera)

    def run(self, batch: Tensor, network: Callable[[Tensor], Tensor]) -> Tensor:
        """``network`` on (B, 3, H, W) in [0, 1], image by image: each may be of another camera."""
        cubes = []
        for rgb in batch.split(1):
            camera = self._camera_of(partial(_strided, rgb[0]), rgb.shape[-2:])
            cubes.append(self._correction(camera)(network(self._translated(rgb, camera)), rgb))
        return cubes[0] if len(cubes) == 1 else torch.cat(cubes)

    def in_tiles(self, image: PaddedImage, sink: Sink) -> tuple[PaddedImage, Sink]:
        """What the network is to see instead of ``image``, and a sink that corrects what it gives."""

        def sampled(step: int) -> Tensor:
            height, width = image.size
            rows = [image.window(Region(y, 0, 1, width))[0, :, :, ::step] for y in range(0, height, step)]
            return torch.cat(rows, dim=1)

        camera = self._camera_of(sampled, image.size)
        correct = self._correction(camera)

        def corrected(top: int, left: int, part: Tensor) -> None:
            rgb = image.window(Region(top, left, *part.shape[1:]))[0]
            sink(top, left, correct(part, rgb))

        return replace(image, convert=lambda rgb: self._translated(rgb, camera)), corrected

    def _camera_of(self, sample: Callable[[int], Tensor], size: Sequence[int]) -> str:
        """The camera of an image of ``size`` H, W; ``sample(step)``: (3, h, w), every ``step``-th pixel."""
        if self.camera != ESTIMATE:
            return self.camera
        step = max(1, round((size[0] * size[1] / _SAMPLE) ** 0.5))
        assert self.trained is not None  # checked in __init__
        return estimate_camera(sample(step).cpu().numpy(), self.spectra.colours, self.trained)

    def _correction(self, camera: str) -> Consistency:
        if camera not in self._corrections:
            response = Camera.named(camera).matrix(self.bands)
            self._corrections[camera] = Consistency(response, self.spectra.covariance, self.bands)
        return self._corrections[camera]

    def _translated(self, rgb: Tensor, camera: str) -> Tensor:
        """(B, 3, H, W) in [0, 1] as the camera of the training pairs is expected to see it."""
        if self.trained in (None, camera):
            return rgb
        own = Camera.named(str(self.trained)).matrix(self.bands)
        response, moment = Camera.named(camera).matrix(self.bands), self.spectra.second_moment
        seen = response @ moment @ response.T + NOISE**2 * np.eye(3)
        matrix = own @ moment @ response.T @ np.linalg.inv(seen)
        return torch.einsum("ij,bjhw->bihw", torch.from_numpy(matrix).to(rgb), rgb).clamp(0, 1)
