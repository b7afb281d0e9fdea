"""Camera consistency as a step: images translated to the camera that the network was trained with, cubes
corrected towards the images (:mod:`hsrzoo.models.consistency`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hsrzoo.bands import BandSet
from hsrzoo.camera import Camera
from hsrzoo.colour.spectra import spectra_for
from hsrzoo.errors import InputError
from hsrzoo.layers.whole_image import Region
from hsrzoo.models.camera_estimate import estimate_camera
from hsrzoo.models.consistency import NOISE, Consistency, Correction
from hsrzoo.models.metadata import ESTIMATE, camera_identity
from hsrzoo.models.steps.base import ImageStep, Layers, LoadedModel, Needs, View

_SAMPLE = 1 << 18
"""Pixels, about, that an estimate looks at."""


class CameraStep(ImageStep):
    """``camera``: that of the images; None: estimated from each image. ``trained``: that of the training
    pairs; None where config.json does not name it: images are not translated then. ``exports``: whether
    exported graphs are corrected, too.

    Raises BandsError where there is no covariance for ``bands``, InputError for an estimate without
    ``trained``.
    """

    name = "camera consistency"

    def __init__(
        self,
        camera: Camera | None,
        bands: BandSet,
        trained: Camera | None,
        model: str,
        *,
        exports: bool = False,
    ) -> None:
        self.spectra = spectra_for(bands, model)
        if camera is None and (trained is None or trained.name not in self.spectra.colours):
            raise InputError(
                f"The camera of an image cannot be estimated for {model}",
                expected="weights trained on RGB of one of " + ", ".join(sorted(self.spectra.colours)),
                got=trained.name if trained else "weights whose config.json names no camera",
                fix="Name the camera: hsrzoo cameras lists them",
            )
        self.camera, self.trained, self.bands, self.exports = camera, trained, bands, exports
        self._correction = cache(self._new_correction)

    @classmethod
    def of(cls, model: LoadedModel) -> CameraStep | None:
        """As asked for on loading, or as the network was trained; only the latter is part of an export."""
        asked, own = model.execution.consistency, model.own_consistency
        if asked is None and own is None:
            return None
        if asked == ESTIMATE:
            camera = None
        else:
            camera = model.trained_camera if asked in (None, own) else Camera.named(str(asked))
        return cls(camera, model.bands, model.trained_camera, model.name, exports=asked in (None, own))

    @property
    def needs(self) -> Needs:
        return Needs(exports=self.exports)

    def identity(self) -> Mapping[str, Any]:
        return camera_identity(self.camera.name if self.camera else ESTIMATE)

    def look(self, image: View) -> Camera:
        """The camera that took the image, estimated where none is named."""
        if self.camera is not None:
            return self.camera
        assert self.trained is not None  # required of an estimate
        height, width = image.size
        step = max(1, round((height * width / _SAMPLE) ** 0.5))
        rows = [image.window(Region(y, 0, 1, width))[0, :, :, ::step] for y in range(0, height, step)]
        sample = torch.cat(rows, dim=1).cpu().numpy()
        return Camera.named(estimate_camera(sample, self.spectra.colours, self.trained.name))

    def before(self, rgb: Tensor, seen: Camera) -> Tensor:
        """The image as the camera of the training pairs is expected to see it, in [0, 1]."""
        if self.trained is None or self.trained.name == seen.name:
            return rgb
        own = self.trained.matrix(self.bands)
        response, moment = seen.matrix(self.bands), self.spectra.second_moment
        variance = response @ moment @ response.T + NOISE**2 * np.eye(3)
        matrix = own @ moment @ response.T @ np.linalg.inv(variance)
        return torch.einsum("ij,bjhw->bihw", torch.from_numpy(matrix).to(rgb), rgb).clamp(0, 1)

    def after(self, cube: Tensor, rgb: Tensor, seen: Camera) -> Tensor:
        return self._correction(seen)(cube, rgb)

    def layers(self) -> Layers:
        return _CameraLayers(self._correction(self.camera))

    def _new_correction(self, camera: Camera) -> Consistency:
        return Consistency(camera.matrix(self.bands), self.spectra.covariance, self.bands)


class _CameraLayers(Layers):
    def __init__(self, consistency: Consistency) -> None:
        super().__init__()
        self.correction = Correction(consistency)

    def after(self, cube: Tensor, rgb: Tensor) -> Tensor:
        return self.correction(cube, rgb).clamp(min=0)
