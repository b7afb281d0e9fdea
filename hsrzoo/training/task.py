"""What the training loop trains: a module, its batches and its loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn


class Task(ABC):
    """One thing to be learnt.

    The loop calls, once, ``prepare``; then for every step ``draw``, ``loss`` and ``after_step``.
    All randomness must come from the generator it hands over (or from torch's global one, which it
    seeds likewise): both are functions of the recipe's seed and the step alone, and that is why a
    resumed run draws what an uninterrupted one would have drawn.
    """

    module: nn.Module
    """What is optimised and averaged. The loop moves it to its device; parameters with
    ``requires_grad=False`` and buffers are never touched by the optimiser."""

    steps: int = 0
    """Total number of steps of the run; set by the loop before the first one, because with a budget
    of minutes the recipe does not know it."""

    def prepare(self) -> None:
        """Expensive loading, done after the configuration has been written; nothing by default."""
        return None

    @abstractmethod
    def draw(self, generator: torch.Generator) -> Any:
        """A batch: tensors on the CPU, or tuples, lists and dicts of them."""

    @abstractmethod
    def loss(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        """Scalar loss of ``batch`` (on the module's device) and figures for the log."""

    def after_step(self, step: int, generator: torch.Generator) -> dict[str, float]:
        """Called after step number ``step`` (1 is the first) has changed the weights, under
        ``no_grad``; may change the module (reviving dead codes). Returns figures for the log; in
        runs of several processes weights changed here are shared only if it is not empty."""
        return {}

    def validate(self, module: nn.Module) -> dict[str, float]:
        """Figures of ``module`` (the averaged weights, in eval mode) on held-out scenes; {} if none."""
        return {}

    def state(self) -> dict[str, Any]:
        """What a resumed run needs besides the module: tensors, numbers, strings, dicts and lists of
        them."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state` returned."""
        del state

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """What this task is, for config.json and the weights' record: model, arguments, data set,
        fingerprint, scenes. JSON values. Cheap: called before :meth:`prepare`. A checkpoint only
        continues under an equal record."""
