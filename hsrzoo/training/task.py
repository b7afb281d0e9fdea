"""What the training loop trains: a module, its batches and its loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hsrzoo.errors import TrainingError


class Task(ABC):
    """One training task.

    The loop calls, once, ``prepare``; then for every step ``draw``, ``share``, ``loss`` and
    ``after_step``. All randomness must come from the generator it hands over (or from torch's global
    one, which it seeds likewise): both are functions of the recipe's seed and the step alone, and that
    is why a resumed run draws what an uninterrupted one would have drawn.

    In a group of processes all draw the same batch, and each computes the loss of its share of it.
    Losses that are means over samples then train as in one process; what a layer takes from all
    samples of a batch (batch normalisation) it takes from the share.
    """

    module: nn.Module
    """What is optimised and averaged. The loop moves it to its device; parameters with
    ``requires_grad=False`` and buffers are never touched by the optimiser."""

    frozen: Sequence[nn.Module] = ()
    """Parts of the module that stay in eval mode, because none of their parameters is trained."""

    steps: int = 0
    """Total number of steps of the run; set by the loop before the first one, because with a budget
    of minutes the recipe does not determine it."""

    gather: Callable[[Tensor], Tensor] = staticmethod(lambda tensor: tensor)
    """The tensors of all processes joined along dim 0, samples in the order in which they were drawn;
    for figures and changes that need the whole batch. Set by the loop, and to be called by all
    processes alike; of one process it is the tensor itself."""

    def prepare(self) -> None:
        """Expensive loading, done after the configuration has been written; nothing by default."""
        return None

    @abstractmethod
    def draw(self, generator: torch.Generator) -> Any:
        """A whole batch, the same in all processes: tensors on the CPU, or tuples, lists and dicts
        of them."""

    def empty_batch(self) -> Any:
        """Memory for one batch: dense tensors on the CPU, or tuples, lists and dicts of them. Only of
        tasks that may be drawn ahead, in other processes: whose batches depend on the generator and on
        what :meth:`prepare` has read, and not on steps. None (the default) for others."""
        return None

    def fill(self, batch: Any, generator: torch.Generator) -> None:
        """Write what :meth:`draw` gives into memory that :meth:`empty_batch` gave."""
        raise NotImplementedError(f"{type(self).__name__} has empty_batch, which needs fill")

    def share(self, batch: Any, process: int, processes: int) -> Any:
        """The part of a drawn batch that process number ``process`` takes: an equal slice along dim 0
        of every tensor in it. Override it where samples are along another dimension."""
        from accelerate.utils import recursively_apply  # slow to import, and only training needs it

        def slice_of(tensor: Tensor) -> Tensor:
            if tensor.ndim == 0:
                return tensor
            require_equal_shares(len(tensor), processes)
            return tensor.chunk(processes)[process]

        return batch if processes == 1 else recursively_apply(slice_of, batch)

    @abstractmethod
    def loss(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        """Scalar loss of ``batch`` (on the module's device) and figures for the log."""

    def after_step(self, step: int, generator: torch.Generator) -> dict[str, float]:
        """Called after step number ``step`` (1 is the first) has changed the weights, under
        ``no_grad``; may change the module (reviving dead codes), in all processes alike. Returns
        figures for the log; in runs of several processes the main one's weights are passed on to all
        if it is not empty."""
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


def require_equal_shares(batch: int, processes: int) -> None:
    """TrainingError unless a batch of so many samples can be divided equally."""
    if batch % processes:
        raise TrainingError(
            f"A batch of {batch} cannot be shared equally by {processes} processes",
            expected=f"a multiple of {processes}: the batch is that of all processes together",
            got=batch,
            fix=f"Use --batch {-(-batch // processes) * processes}, or another number of processes",
        )
