"""What a network may ask for besides RGB: the response of the camera, and segments of the image.

``ModelSpec.extras`` maps a keyword of the network's ``forward`` to one of the two classes here.
:func:`hsrzoo.spec.build_module` attaches what supplies it to the network, so that ``module(rgb)`` works
wherever a network is run: in the pipeline, in training, in tiles, in exports and in the contract. A value
that is handed over (``module(rgb, labels=...)``) is used as it is.

How an extra input was made belongs to the weights: a constructor argument with the same keyword, in
config.json and for ``--arg``, names the camera or overrides parameters of the segmentation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.camera import Camera
from hsrzoo.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class CameraResponse:
    """The (3, C) float32 response of the camera that renders the images, R, G, B by band; rows sum to 1."""

    camera: str = "nikon-d5100"
    """Where neither training data nor arguments name one."""

    def supplier(self, bands: BandSet, asked: Any) -> Callable[[Tensor], Tensor]:
        """``supply(rgb) -> (3, C)``. ``asked``: the constructor argument, a name or what
        :meth:`.Camera.record` wrote; None: :attr:`camera`."""
        return _Constant(self._camera(asked).matrix(bands).astype(np.float32))

    def settled(self, asked: Any, camera: Camera | None) -> Any:
        """The constructor argument for training on images of ``camera``."""
        if asked is not None or camera is None:
            return self._camera(asked).record()
        return camera.record()

    def _camera(self, asked: Any) -> Camera:
        if not isinstance(asked, Mapping):
            return Camera.named(str(asked or self.camera))
        camera = Camera.recorded(asked)
        if camera is None:
            raise InputError(
                "The camera whose response the network needs is unknown",
                expected="a name that `hsrzoo cameras` lists, or a table",
                got=repr(dict(asked)),
            )
        return camera


@dataclass(frozen=True)
class Segmentation:
    """Labels (B, K, H, W) int64 of the pixels of each image, K label maps made by a function.

    They are computed from the RGB that the network gets: from the whole image in use, from the crop in
    training. No exported graph can hold them.
    """

    function: Callable[..., np.ndarray] | str
    """``function(image: (H, W, 3) uint8, **parameters) -> (K, H, W)`` whole numbers, or its address."""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def supplier(self, function: Callable[..., np.ndarray], asked: Any) -> Callable[[Tensor], Tensor]:
        """``supply(rgb) -> (B, K, H, W)`` by ``function``; ``asked``: parameters that override others."""
        return _Labels(function, self.settled(asked))

    def settled(self, asked: Any) -> dict[str, Any]:
        """All parameters; InputError for one that does not exist, or is of another kind than ours. A list
        keeps its length, as the network may need that many label maps."""
        asked = {} if asked is None else asked
        if not isinstance(asked, Mapping):
            problem = "Parameters of a segmentation have names"
            raise InputError(problem, expected=f"some of {dict(self.parameters)}", got=repr(asked))
        unknown = sorted(asked.keys() - self.parameters.keys())
        if unknown:
            expected = ", ".join(self.parameters)
            raise InputError("The segmentation has no such parameter", expected=expected, got=unknown[0])
        for name, value in asked.items():
            ours = self.parameters[name]
            if _kind(value) != _kind(ours):
                problem = f"The parameter {name} of the segmentation is of another kind"
                raise InputError(problem, expected=f"a value like {ours!r}", got=repr(value))
        return {**self.parameters, **asked}


def _kind(value: Any) -> Any:
    """What two values of one parameter have in common: a type, or those of the items of a list."""
    if isinstance(value, list | tuple):
        return [_kind(item) for item in value]
    return float if type(value) is int else type(value)


@dataclass(frozen=True)
class _Constant:
    values: np.ndarray

    def __call__(self, rgb: Tensor) -> Tensor:
        import torch

        return torch.as_tensor(self.values, dtype=torch.float32, device=rgb.device)


@dataclass(frozen=True)
class _Labels:
    function: Callable[..., np.ndarray]
    parameters: Mapping[str, Any]

    def __call__(self, rgb: Tensor) -> Tensor:
        import torch

        images = (rgb.detach().float().clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        labels = np.stack([self.function(image, **self.parameters) for image in images])
        return torch.from_numpy(labels.astype(np.int64)).to(rgb.device)


@dataclass(frozen=True)
class _Hook:
    """Completes the keywords of a call of the network."""

    suppliers: Mapping[str, Callable[[Tensor], Tensor]]

    def __call__(
        self, module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        missing = {name: supply for name, supply in self.suppliers.items() if name not in kwargs}
        return args, {**kwargs, **{name: supply(args[0]) for name, supply in missing.items()}}


def attach(module: nn.Module, suppliers: Mapping[str, Callable[[Tensor], Tensor]]) -> None:
    """Let ``module(rgb)`` get the keywords of ``suppliers``; weights and their names stay as they are."""
    module.register_forward_pre_hook(_Hook(suppliers), with_kwargs=True)


Extra = CameraResponse | Segmentation

__all__ = ["CameraResponse", "Extra", "Segmentation", "attach"]
