"""What a step is, what it declares, and how steps act on one image.

Steps enclose the network: the image goes through :meth:`ImageStep.before` of every step from the first to
the last, then through the network, and the cube through :meth:`ImageStep.after` from the last to the first.
Every step gets the image as the steps before it left it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.camera import Camera
from hsrzoo.layers.whole_image import Region
from hsrzoo.models.metadata import own_consistency
from hsrzoo.spec import Execution, ModelSpec


@dataclass(frozen=True)
class Needs:
    """What a step declares. Tiles read the first three fields, export and contract the last one."""

    halo: int | None = 0
    """Pixels around a pixel that the step looks at; None: unknown, so that exact tiles are impossible."""
    statistic: str | None = None
    """Name of a statistic of all pixels that :meth:`ImageStep.look` returns, a JSON value. It costs a pass
    over the image, so it is kept with an interrupted run."""
    whole_image: bool = False
    """True if the step cannot run on tiles at all."""
    exports: bool = True
    """Whether an exported graph can hold the step (see :meth:`ImageStep.layers`)."""


@dataclass(frozen=True)
class LoadedModel:
    """What steps are made from: a model as it was loaded."""

    name: str
    spec: ModelSpec
    bands: BandSet
    config: Mapping[str, Any]
    execution: Execution

    @property
    def trained_camera(self) -> Camera | None:
        """See :meth:`hsrzoo.camera.Camera.of_training`."""
        return Camera.of_training(self.config)

    @property
    def own_consistency(self) -> str | None:
        """The camera that cubes are corrected for because the network was trained so; None otherwise."""
        return own_consistency(self.config)


class Step:
    """A named part of the pipeline."""

    name: str
    """As messages show it."""

    @property
    def needs(self) -> Needs:
        """What the step declares."""
        return Needs()

    def identity(self) -> Mapping[str, Any]:
        """What the step adds to the identity of a model's rows: key -> JSON value."""
        return {}


AnyView = TypeVar("AnyView", bound="View")


class View(Protocol):
    """An image (1, 3, H, W) float32 that is read by windows."""

    @property
    def size(self) -> tuple[int, int]:
        """H, W."""

    def window(self, region: Region) -> Tensor:
        """(1, 3, h, w) of a region."""

    def converted(self: AnyView, convert: Callable[[Tensor], Tensor], halo: int = 0) -> AnyView:
        """The image with ``convert`` applied, which looks at ``halo`` pixels around each pixel."""


@dataclass(frozen=True)
class TensorView:
    """An image (1, 3, H, W) in memory."""

    rgb: Tensor

    @property
    def size(self) -> tuple[int, int]:
        return self.rgb.shape[-2], self.rgb.shape[-1]

    def window(self, region: Region) -> Tensor:
        top, left, height, width = region.top, region.left, region.height, region.width
        return self.rgb[..., top : top + height, left : left + width]

    def converted(self, convert: Callable[[Tensor], Tensor], halo: int = 0) -> TensorView:
        return TensorView(convert(self.rgb))


class Layers(nn.Module):
    """A step as part of an exported graph. This base class changes nothing."""

    def before(self, rgb: Tensor) -> Tensor:
        """(1, 3, H, W) -> (1, 3, H, W)."""
        return rgb

    def after(self, cube: Tensor, rgb: Tensor) -> Tensor:
        """(1, C, H, W) -> (1, C, H, W); ``rgb`` is what :meth:`before` got."""
        return cube


class ImageStep(Step):
    """A step that changes the image before the network, the cube after it, or both."""

    def look(self, image: View) -> Any:
        """What the step must know of the whole image, handed to :meth:`before` and :meth:`after`."""
        return None

    def before(self, rgb: Tensor, seen: Any) -> Tensor:
        """The image (1, 3, h, w) or a part of it, as the next step gets it."""
        return rgb

    def after(self, cube: Tensor, rgb: Tensor, seen: Any) -> Tensor:
        """The cube (1, C, h, w) or a part of it; ``rgb``: the same pixels as :meth:`before` got them."""
        return cube

    def layers(self) -> Layers:
        """The step in an exported graph; a step that looks at the image has layers of its own."""
        return _PixelLayers(self)

    @property
    def changes_cube(self) -> bool:
        """Whether the step has an :meth:`after` of its own."""
        return type(self).after is not ImageStep.after


class _PixelLayers(Layers):
    def __init__(self, step: ImageStep) -> None:
        super().__init__()
        self.step = step

    def before(self, rgb: Tensor) -> Tensor:
        return self.step.before(rgb, None)

    def after(self, cube: Tensor, rgb: Tensor) -> Tensor:
        return self.step.after(cube, rgb, None)


class BoundSteps(Generic[AnyView]):
    """Steps that have looked at one image. ``known``: statistics that an earlier run has found."""

    def __init__(
        self, steps: Sequence[ImageStep], image: AnyView, known: Mapping[str, Any] | None = None
    ) -> None:
        self.statistics: dict[str, Any] = {}
        """By the names that the steps declare."""
        self._stages: list[tuple[ImageStep, Any, AnyView]] = []
        for step in steps:
            statistic = step.needs.statistic
            seen = (known or {}).get(statistic) if statistic else None
            seen = step.look(image) if seen is None else seen
            if statistic:
                self.statistics[statistic] = seen
            self._stages.append((step, seen, image))
            image = image.converted(partial(step.before, seen=seen), step.needs.halo or 0)
        self.image = image
        """As the network gets it, without padding."""

    def finish(self, cube: Tensor, region: Region) -> Tensor:
        """The network's (1, C, h, w) of a region of the image, after all steps."""
        for step, seen, image in reversed(self._stages):
            if step.changes_cube:
                cube = step.after(cube, image.window(region), seen)
        return cube
