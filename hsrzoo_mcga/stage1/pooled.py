"""One codebook for several sources: stage 1 on the pooled cubes, instead of a mixture of separate runs.

Every source has its own lift and head, since bands differ; all other weights and the codes are shared. The
paper leaves a unified codebook to future work: this is ours.
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
    """One autoencoder for each source; all share the inner layers and the codes of the first."""

    def __init__(self, sources: Sequence[SpectralAutoencoder]) -> None:
        super().__init__()
        self.sources = nn.ModuleList(sources)
        first = sources[0]
        for other in sources[1:]:
            other.codes, other.down, other.back = first.codes, first.down, first.back
            other.reconstruction.narrow = first.reconstruction.narrow
            other.reconstruction.refine = first.reconstruction.refine


class PooledTask(Task):
    """Trains a :class:`PooledAutoencoder`; its sources take turns, one batch each.

    ``parts``: the task of each source, in order. They share the count of steps since each code was last
    used. A code is dead after as many unused batches of every source as in a run of one source, and the
    sources take turns at reviving, too.
    """

    def __init__(self, parts: Sequence[CodebookTask], recipe: Recipe) -> None:
        names, n = [part.source for part in parts], len(parts)
        if len(set(names)) < n:
            raise TrainingError(
                "A pooled codebook can have a source only once",
                got=", ".join(names),
                fix="Give them different names: --source NAME:name=OTHER",
            )
        self.parts, self.recipe, self.turn = list(parts), recipe, 0
        self.module: PooledAutoencoder = PooledAutoencoder([part.module for part in parts])
        # n k + 1 steps between two revivals, so that each is of the next source
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
        """The batch. TrainingError with several processes, which would train the layers that a batch does
        not use differently."""
        if processes > 1:
            raise TrainingError(
                "A pooled codebook is trained in one process", expected="1", got=f"{processes} processes"
            )
        return batch

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The loss of the source's own task; the log has the index of the ``source``."""
        loss, logs = self.parts[self.turn].loss(batch)
        return loss, {"source": float(self.turn), **logs}

    def after_step(self, step: int, generator: torch.Generator) -> dict[str, float]:
        """Revive codes as the source's own task does; the next source is next."""
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
