"""Test-time adaptation: in place of the network, the network adapted to the image."""

from __future__ import annotations

from functools import cached_property
from inspect import signature

import torch
from torch import Tensor

from hsrzoo.errors import InputError
from hsrzoo.models.steps.base import Needs, Step
from hsrzoo.models.steps.network import Network
from hsrzoo.spec import resolve


class Adaptation(Step):
    """``ModelSpec.adapt`` of a network, which leaves it as it was. InputError for one that has none."""

    name = "test-time adaptation"

    def __init__(self, network: Network) -> None:
        model = network.model
        if model.spec.adapt is None:
            raise InputError(f"{model.name} has no test-time adaptation", fix="Leave tta out")
        self.network, self.adapt = network, resolve(model.spec.adapt)

    @property
    def needs(self) -> Needs:
        return Needs(whole_image=True, exports=False)

    def run(self, padded: Tensor) -> Tensor:
        """The cube (1, C, H, W) of one padded image (1, 3, H, W)."""
        return self.adapt(self.network.module, padded, **self.extra_inputs).detach()

    @cached_property
    def extra_inputs(self) -> dict[str, Tensor | None]:
        """What ``adapt`` asks for by the names of its parameters.

        ``response``: (3, C) of the camera that the network was trained with; None where it is not known, or
        where the network does not see the image as the camera gave it.
        """
        if "response" not in signature(self.adapt).parameters:
            return {}
        model = self.network.model
        camera = model.trained_camera
        if camera is None or model.spec.input.normalise != "none":
            return {"response": None}
        matrix = camera.matrix(model.bands)
        return {"response": torch.from_numpy(matrix).float().to(self.network.device)}
