"""Stage 1 as a training task: random masks, the loss of the paper, revival of dead codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hsrzoo.errors import InputError, TrainingError
from hsrzoo.layers.pixel_rows import to_rows
from hsrzoo.spec import Recipe
from hsrzoo.training.losses import charbonnier
from hsrzoo.training.recipe import split_holdout
from hsrzoo.training.task import Task
from hsrzoo_mcga.codebook.lookup import Query, usage, vq_losses
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder
from hsrzoo_mcga.stage1.evaluation import evaluate, load_cubes

if TYPE_CHECKING:
    from hsrzoo.datasets.base import Dataset

BETA = 0.25
"""Weight of both quantization terms, and of commitment inside each (paper)."""
RECIPE = Recipe(steps=3000, batch=8, patch=32, loss="own", ema=0.99)
REVIVE_EVERY = 50
"""Steps without use after which a code is dead, and between two revivals."""
_REVIVE_UNTIL = 0.8
"""Share of the steps after which no code is revived, so that all converge."""


class CodebookTask(Task):
    """Trains a :class:`SpectralAutoencoder` on the cubes of one data set's split."""

    def __init__(
        self,
        module: SpectralAutoencoder,
        dataset: Dataset,
        recipe: Recipe,
        source: str | None = None,
        split: str = "train",
        options: Mapping[str, Any] | None = None,
        beta: float = BETA,
        figures_split: str | None = None,
        init: Mapping[str, Any] | None = None,
    ) -> None:
        """``figures_split``: a split that is not trained on, for :meth:`final_figures` alone. ``init``: the
        record of the weights that ``module`` holds."""
        self.module: SpectralAutoencoder = module
        self.dataset, self.recipe, self.split, self.beta = dataset, recipe, split, beta
        self.source = source or dataset.name
        self.options, self.init = dict(options or {}), dict(init or {})
        names = dataset.scenes(split)
        self.train_scenes, self.held_out = split_holdout(names, recipe, f"{dataset.name}/{split}")
        if figures_split == split:
            raise InputError(
                "Figures must be measured on unseen pixels, not on the training split",
                expected=f"a split other than {split}",
                got=figures_split,
            )
        self.figures_split = figures_split
        self.figures_scenes = [] if figures_split is None else dataset.scenes(figures_split)
        self.cubes: list[Tensor] = []
        self._starts: list[Tensor | None] = []
        self._side = 0
        self.dead_after = self.revive_every = REVIVE_EVERY
        n_codes = len(module.codes[0])
        self.since_use = [torch.zeros(n_codes, dtype=torch.int64) for _ in module.codes]

    def prepare(self) -> None:
        """Load all cubes, cropped to a multiple of 2^S, and fix the side of the crops.

        TrainingError names a scene in which no crop of that side has data (no NaN) everywhere.
        """
        self.cubes = load_cubes(self.dataset, self.split, self.train_scenes, self.module.scales)
        side = min([self.recipe.patch, *(min(c.shape[1:]) for c in self.cubes)])
        self._side = side - side % (1 << self.module.scales)
        self._starts = [_crop_starts(cube, self._side) for cube in self.cubes]
        for name, cube, starts in zip(self.train_scenes, self.cubes, self._starts, strict=True):
            if starts is not None and not starts.any():
                raise self._no_crop(name, cube)

    def _no_crop(self, scene: str, cube: Tensor) -> TrainingError:
        without = cube.isnan().all(2).all(1)
        first = f", first at {self.dataset.bands.centres_nm[int(without.int().argmax())]:g} nm"
        return TrainingError(
            f"No crop of {self.dataset.name}/{self.split} {scene} has data everywhere",
            expected=f"{self._side} x {self._side} pixels with data in all {len(cube)} bands",
            got=f"{int(without.sum())} bands without any data{first if without.any() else ''}",
            fix="Choose bands that have data (--data-option bands=...), or lower --patch",
        )

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Crops (B, C, P, P) float32, with data everywhere, and kept bands (B, m) int64."""
        crops = [self._crop(generator) for _ in range(self.recipe.batch)]
        return torch.stack(crops), self.module.draw_mask(len(crops), generator)

    def _crop(self, generator: torch.Generator) -> Tensor:
        side = self._side
        while True:
            pick = int(torch.randint(len(self.cubes), (1,), generator=generator))
            cube, starts = self.cubes[pick], self._starts[pick]
            y, x = (int(torch.randint(n - side + 1, (1,), generator=generator)) for n in cube.shape[1:])
            if starts is None or starts[y, x]:
                return cube[:, y : y + side, x : x + side]

    def loss(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Charbonnier + beta (L1 + L2); L2 equals L1 term for term, so it is counted twice."""
        cube, kept = batch
        restored, queries = self.module(cube, kept)
        error = charbonnier(restored, cube)
        quantization = torch.stack([vq_losses(q, self.beta) for q in queries]).sum()
        self._queries = queries
        logs = {"charbonnier": float(error.detach()), "quantization": float(quantization.detach())}
        for i, q in enumerate(queries, 1):
            logs.update({f"{k}_{i}": v for k, v in usage(self.gather(q.indices), len(q.codes)).items()})
        return error + 2 * self.beta * quantization, logs

    def after_step(self, step: int, generator: torch.Generator) -> dict[str, float]:
        """Count steps since each code was used; move dead codes onto features of this batch."""
        for since, q in zip(self.since_use, self._queries, strict=True):
            since += 1
            used = torch.zeros(1, len(q.codes), dtype=torch.int64, device=q.indices.device)
            used[0, q.indices] = 1
            since[self.gather(used).amax(0).bool().cpu()] = 0  # used by any process
        if step % self.revive_every or step > _REVIVE_UNTIL * self.steps:
            return {}
        return {
            f"revived_{i}": float(self._revive(i - 1, q, generator)) for i, q in enumerate(self._queries, 1)
        }

    def _revive(self, scale: int, q: Query, generator: torch.Generator) -> int:
        dead = (self.since_use[scale] >= self.dead_after).nonzero()[:, 0]
        if not len(dead):  # equal in all processes, as the counters are
            return 0
        rows = self.gather(to_rows(q.features.detach()))
        pick = torch.randint(len(rows), (len(dead),), generator=generator).to(rows.device)
        noise = torch.randn(len(dead), rows.shape[1], generator=generator).to(rows.device)
        self.module.codes[scale].data[dead.to(rows.device)] = rows[pick] + 0.05 * rows.std(0) * noise
        self.since_use[scale][dead] = 0
        return len(dead)

    def validate(self, module: torch.nn.Module) -> dict[str, float]:
        """RMSE on the held-out scenes, with m even bands visible and with all of them."""
        return self.figures(module, self.split, self.held_out) if self.held_out else {}

    def figures(self, module: torch.nn.Module, split: str, scenes: list[str]) -> dict[str, float]:
        """:func:`evaluate` on scenes of a split."""
        cubes = load_cubes(self.dataset, split, scenes, self.module.scales)
        return evaluate(module, cubes, self.dataset.bands)

    def final_figures(self, module: torch.nn.Module) -> dict[str, Any]:
        """For the record: ``figures``, ``figures_on`` and ``figures_scenes``. They are measured on
        ``figures_split``, else on the held-out scenes, else on the training scenes."""
        split, scenes, measured_on = self.split, self.train_scenes, "training scenes"
        if self.held_out:
            scenes, measured_on = self.held_out, "held-out training scenes"
        if self.figures_split is not None:
            split, scenes, measured_on = self.figures_split, self.figures_scenes, self.figures_split
        with torch.inference_mode():
            figures = self.figures(module, split, scenes)
        return {"figures": figures, "figures_on": measured_on, "figures_scenes": list(scenes)}

    def by_source(self, module: torch.nn.Module) -> list[tuple[CodebookTask, torch.nn.Module]]:
        """The only source of this run, with its autoencoder."""
        return [(self, module)]

    def state(self) -> dict[str, Any]:
        return {"since_use": self.since_use}

    def load_state(self, state: dict[str, Any]) -> None:
        self.since_use = list(state["since_use"])

    def record(self) -> dict[str, Any]:
        return {
            "task": "codebook",
            "source": self.source,
            "dataset": self.dataset.name,
            "options": self.options,
            "dataset_info": dict(self.dataset.info),
            "split": self.split,
            "scenes": self.train_scenes,
            "held_out": self.held_out,
            "fingerprint": self.dataset.fingerprint(),
            "bands": self.dataset.bands.to_json(),
            "scales": self.module.scales,
            "codes": len(self.module.codes[0]),
            "mask": self.module.mask,
            "kept_bands": self.module.kept,
            "beta": self.beta,
            **({"init": self.init} if self.init else {}),
        }


def _crop_starts(cube: Tensor, side: int) -> Tensor | None:
    """(H - side + 1, W - side + 1) bool: the first pixels of crops that have data (no NaN) everywhere.
    None: all."""
    missing = cube.isnan().any(0)
    if not missing.any():
        return None
    return F.max_pool2d(missing[None].float(), side, stride=1)[0] == 0


def split_state(module: torch.nn.Module) -> tuple[list[Tensor], dict[str, Tensor]]:
    """A :class:`SpectralAutoencoder`'s codes of every scale, and all its other weights."""
    state = module.state_dict()
    codes = [v for k, v in state.items() if k.startswith("codes.")]
    return codes, {k: v for k, v in state.items() if not k.startswith("codes.")}
