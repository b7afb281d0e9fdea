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
from hsrzoo.camera import Camera, camera_names
from hsrzoo.errors import InputError, unknown_name
from hsrzoo.layers.whole_image import Region
from hsrzoo.models.camera_estimate import estimate_camera
from hsrzoo.models.consistency import ERROR, NOISE, Consistency, Correction
from hsrzoo.models.spectra import spectra_for
from hsrzoo.models.steps.base import ImageStep, Layers, LoadedModel, Needs, View

ESTIMATE = "estimate"
"""Instead of a camera's name: the camera is estimated from each image."""
_SAMPLE = 1 << 18
"""Pixels, about, that an estimate looks at."""


class CameraStep(ImageStep):
    """``camera``: a built-in camera's name, or "estimate". ``trained``: that of the training pairs; None
    where config.json does not name it: images are not translated then. ``exports``: whether exported graphs
    are corrected, too.

    Raises UnknownNameError, BandsError where there is no covariance for ``bands``, InputError for an
    estimate without ``trained``.
    """

    name = "camera consistency"

    def __init__(
        self, camera: str, bands: BandSet, trained: str | None, model: str, *, exports: bool = False
    ) -> None:
        if camera not in (ESTIMATE, *camera_names()):
            raise unknown_name("camera response", camera, [ESTIMATE, *camera_names()])
        self.spectra = spectra_for(bands, model)
        self.trained = trained if trained in camera_names() else None
        if camera == ESTIMATE and self.trained is None:
            raise InputError(
                f"The camera of an image cannot be estimated for {model}",
                expected="weights whose config.json names the built-in camera of their training pairs",
                got=trained,
                fix=f"Name the camera: {', '.join(camera_names())}",
            )
        self.camera, self.bands, self.exports = camera, bands, exports
        self._correction = cache(self._new_correction)

    @classmethod
    def of(cls, model: LoadedModel) -> CameraStep | None:
        """As asked for on loading, or as the network was trained; only the latter is part of an export."""
        own = model.own_consistency
        camera = model.execution.consistency or own
        if camera is None:
            return None
        return cls(camera, model.bands, model.trained_camera, model.name, exports=camera == own)

    @property
    def needs(self) -> Needs:
        return Needs(exports=self.exports)

    def identity(self) -> Mapping[str, Any]:
        return {"consistency": self.camera, "consistency_error": ERROR}

    def look(self, image: View) -> str:
        """The camera that took the image, estimated where none is named."""
        if self.camera != ESTIMATE or self.trained is None:
            return self.camera
        height, width = image.size
        step = max(1, round((height * width / _SAMPLE) ** 0.5))
        rows = [image.window(Region(y, 0, 1, width))[0, :, :, ::step] for y in range(0, height, step)]
        sample = torch.cat(rows, dim=1).cpu().numpy()
        return estimate_camera(sample, self.spectra.colours, self.trained)

    def before(self, rgb: Tensor, seen: str) -> Tensor:
        """The image as the camera of the training pairs is expected to see it, in [0, 1]."""
        if self.trained in (None, seen):
            return rgb
        own = Camera.named(str(self.trained)).matrix(self.bands)
        response, moment = Camera.named(seen).matrix(self.bands), self.spectra.second_moment
        variance = response @ moment @ response.T + NOISE**2 * np.eye(3)
        matrix = own @ moment @ response.T @ np.linalg.inv(variance)
        return torch.einsum("ij,bjhw->bihw", torch.from_numpy(matrix).to(rgb), rgb).clamp(0, 1)

    def after(self, cube: Tensor, rgb: Tensor, seen: str) -> Tensor:
        return self._correction(seen)(cube, rgb)

    def layers(self) -> Layers:
        return _CameraLayers(self._correction(self.camera))

    def _new_correction(self, camera: str) -> Consistency:
        return Consistency(Camera.named(camera).matrix(self.bands), self.spectra.covariance, self.bands)


class _CameraLayers(Layers):
    def __init__(self, consistency: Consistency) -> None:
        super().__init__()
        self.correction = Correction(consistency)

    def after(self, cube: Tensor, rgb: Tensor) -> Tensor:
        return self.correction(cube, rgb).clamp(min=0)
