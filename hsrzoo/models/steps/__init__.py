"""The steps around a network: one file a step, listed in :data:`STEPS` in the order in which they run.

A new step is a subclass of :class:`.base.ImageStep` in a file of its own and one entry of the list. What it
declares (:class:`.base.Needs`, its identity and its layers) is read by tiles, export, contract and rows.
"""

from __future__ import annotations

from collections.abc import Callable

from hsrzoo.models.steps.base import ImageStep, LoadedModel
from hsrzoo.models.steps.camera import CameraStep
from hsrzoo.models.steps.normalise import Normalise

STEPS: list[Callable[[LoadedModel], ImageStep | None]] = [CameraStep.of, Normalise.of]
"""Each makes a step for a model, or None where the model does without it."""


def steps_of(model: LoadedModel) -> tuple[ImageStep, ...]:
    """The steps of a model, outermost first."""
    return tuple(step for make in STEPS if (step := make(model)) is not None)
