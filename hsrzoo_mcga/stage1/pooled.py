"""One codebook for several sources: stage 1 on the pooled cubes, instead of a mixture of separate runs.

Every source has its own lift and head, since its bands are its own; all other weights and the codes are
one and the same. The paper leaves a unified codebook for later: this is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hsrzoo.errors import TrainingError
from hsrzoo.spec import Recipe
from hsrzoo.training.task import Task
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder
from hsrzoo_mcga.stage1.task import REVIVE_EVERY, CodebookTask

Batch = tuple[Tensor, Tensor]
"""Crops (B, C, P, P) of one source and its kept bands (B, m)."""


class PooledAutoencoder(nn.Module):
    """``sources``: one autoencoder for each, whose inner layers and codes are the first one's."""

    def __init__(self, sources: Sequence[SpectralAutoencoder]) -> None:
        super().__init__()
        self.sources = nn.ModuleList(sources)
        first = sources[0]
        for other in sources[1:]:
            other.codes, other.down, other.back = first.codes, first.down, first.back
            other.reconstruction.narrow = first.reconstruction.narrow
            other.reconstruction.refine = first.reconstruction.refine


class PooledTask(Task):
    """Trains one :class:`PooledAutoencoder`; its sources take turns, one batch each.

    ``parts``: the task of each source, in order. They share the count of steps since each code was used.
    A code has as many batches of every source to be used in as in a run of one source, and revivals
    fall to the sources in turn.
    """

    def __init__(self, parts: Sequence[CodebookTask], recipe: Recipe) -> None:
        names, n = [part.source for part in parts], len(parts)
        if len(set(names)) < n:
            raise TrainingError(
                "A source can stand in a pool only once",
                got=", ".join(names),
                fix="Give each a name of its own: --source NAME:name=OTHER",
            )
        self.parts, self.recipe, self.turn = list(parts), recipe, 0
        self.module: PooledAutoencoder = PooledAutoencoder([part.module for part in parts])
        # n k + 1 steps lie between two revivals, so that each falls to the source after the last one's
        period = n * -(-REVIVE_EVERY // n) + 1
        for part in parts:
            part.since_use = parts[0].since_use
            part.dead_after, part.revive_every = n * REVIVE_EVERY, period

    def prepare(self) -> None:
        """Load the cubes of all sources."""
        for part in self.parts:
            part.prepare()

    def draw(self, generator: torch.Generator) -> Batch:
        """A batch of the source whose turn it is."""
        return self.parts[self.turn].draw(generator)

    def share(self, batch: Any, process: int, processes: int) -> Any:
        """The batch; TrainingError in a group of processes, where layers that a batch leaves out would be
        trained otherwise than in one."""
        if processes > 1:
            raise TrainingError(
                "A pooled codebook is trained in one process", expected="1", got=f"{processes} processes"
            )
        return batch

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """That of the source's own task; the log says which ``source`` it was, by its place."""
        loss, logs = self.parts[self.turn].loss(batch)
        return loss, {"source": float(self.turn), **logs}

    def after_step(self, step: int, generator: torch.Generator) -> dict[str, float]:
        """Revive codes as the source's own task does, and pass the turn on."""
        part = self.parts[self.turn]
        part.steps = self.steps
        self.turn = step % len(self.parts)
        return part.after_step(step, generator)

    def validate(self, module: nn.Module) -> dict[str, float]:
        """Figures of all sources with held-out scenes, named SOURCE/FIGURE."""
        return {
            f"{part.source}/{name}": value
            for part, own in self.by_source(module)
            for name, value in part.validate(own).items()
        }

    def by_source(self, module: nn.Module) -> list[tuple[CodebookTask, nn.Module]]:
        """Each source's own task and its autoencoder in ``module``, a pooled one."""
        return list(zip(self.parts, module.get_submodule("sources").children(), strict=True))

    def state(self) -> dict[str, Any]:
        return {"since_use": self.parts[0].since_use, "turn": self.turn}

    def load_state(self, state: dict[str, Any]) -> None:
        since_use = list(state["since_use"])
        for part in self.parts:
            part.since_use = since_use
        self.turn = int(state["turn"])

    def record(self) -> dict[str, Any]:
        return {"task": "pooled codebook", "sources": [part.record() for part in self.parts]}
