"""A small multilayer perceptron from the colour of a pixel to its spectrum.

For a pixel x (R, G, B) let q = sum(x) + 0.003. A perceptron sees the chromaticity x / q and the brightness
log(q) / 4; its output is scaled by q, and a linear map of x is added: y = q mlp(x / q, log(q) / 4) + W x.
Like ``linear`` and ``poly`` it uses nothing of a pixel's neighbourhood, so it shows what of a network's
accuracy comes from colour alone.

``hsrzoo fit`` trains it in seconds, on single pixels; ``hsrzoo train`` trains it on crops, like a network.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.datasets.base import Dataset
from hsrzoo.errors import InputError
from hsrzoo.layers.activations import gelu
from hsrzoo.layers.pixel_rows import to_map, to_rows
from hsrzoo.layers.pointwise import pointwise
from hsrzoo.layers.whole_image import in_strips
from hsrzoo.spec import ModelSpec, Recipe
from hsrzoo.training.augment import EXPOSURE
from hsrzoo.training.losses import loss_function
from hsrzoo.training.schedule import learning_rate
from hsrzoo_baselines.floors import require_data

DARK = 0.003
"""Added to the sum of a pixel: below about one grey level of 8 bits the chromaticity is noise."""
AT_ONCE = 1 << 13
"""Pixels of a strip on a CPU: the features of a layer stay in its cache."""
SAMPLE = 400_000
"""Pixels of all scenes together that are drawn for a fit, the same number from each scene."""
FIT = Recipe(steps=2000, batch=1024, lr=1e-2, ema=0.0, clip=0.0, augment=("exposure",), augment_share=1.0)
"""Of :func:`fit`; a batch is of pixels, and each of them has an exposure of its own."""


class PixelMLP(nn.Module):
    """RGB (B, 3, H, W) in [0, 1] -> cube (B, C, H, W): every pixel for itself."""

    halo = 0
    """Input pixels around its own that an output pixel depends on."""
    pixelwise = True
    """A spectrum depends on its pixel alone, not even on a statistic of the image."""

    def __init__(self, bands: int, width: int = 64, hidden: int = 2) -> None:
        super().__init__()
        widths = [4, *[width] * hidden, bands]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.linear = nn.Linear(3, bands, bias=False)

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W), channels-last; negative values count as 0."""
        rows = max(1, AT_ONCE // rgb.shape[-1]) if rgb.device.type == "cpu" else None
        return in_strips(self._strip, rgb, rows=rows)

    def _strip(self, rgb: Tensor) -> Tensor:
        pixels = rgb.clamp(min=0)
        q = pixels.sum(1, keepdim=True) + DARK
        x = seen = to_rows(torch.cat([pixels / q, q.log() / 4], dim=1)).contiguous()
        *hidden, last = (layer for layer in self.layers if isinstance(layer, nn.Linear))
        for layer in hidden:
            x = gelu(pointwise(x, layer.weight, layer.bias))
        # W x is q times W (x / q)
        y = pointwise(x, last.weight, last.bias).to(q.dtype)  # of fp32 also in mixed precision
        y.addmm_(seen[:, :3], self.linear.weight.t())
        return to_map(y.mul_(to_rows(q)), rgb)


def build(bands: BandSet, width: int = 64, hidden: int = 2) -> PixelMLP:
    """The perceptron for these bands with ``hidden`` layers of ``width`` features."""
    if width < 1 or hidden < 1:
        expected, got = "width and hidden of 1 or more", f"width {width}, hidden {hidden}"
        raise InputError("The perceptron is impossible", expected=expected, got=got)
    return PixelMLP(len(bands), width, hidden)


def fit(module: PixelMLP, dataset: Dataset, split: str, recipe: Recipe = FIT) -> dict[str, Any]:
    """Train ``module`` on pixels of ``split``, from first weights that ``recipe.seed`` decides.

    Args:
        module: Its weights are replaced.
        dataset: Pixels without data in any band are left out, as are single values without data.
        split: Every scene counts alike, whatever its size.
        recipe: Steps, pixels in a batch, learning rate, loss and seed; averages, clipping and everything on
            crops are ignored. With the augmentation ``exposure``, the share ``augment_share`` of a batch is
            scaled, RGB and spectrum alike.

    Returns:
        What goes into the record of the weights: recipe and time.

    Raises:
        DatasetError: A band has no data in any of the pixels drawn.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    rgb, spectra = _sample(dataset, split, recipe.seed)
    compute = loss_function(recipe)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        for layer in (*module.layers, module.linear):
            layer.reset_parameters()  # type: ignore[operator]  # all are Linear
        optimiser = torch.optim.AdamW(
            module.parameters(), betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True
        )
        for step in range(recipe.steps):
            optimiser.param_groups[0]["lr"] = learning_rate(recipe, step, recipe.steps)
            chosen = torch.randint(len(rgb), (recipe.batch,))
            gain = _exposures(recipe)
            optimiser.zero_grad()
            cube = module((rgb[chosen] * gain)[:, :, None, None])  # every pixel an image
            compute(cube, (spectra[chosen] * gain)[:, :, None, None]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return {
        "method": f"gradient descent on {len(rgb)} pixels",
        "recipe": asdict(recipe),
        "steps": recipe.steps,
        "seed": recipe.seed,
        "threads": torch.get_num_threads(),
        "wall_seconds": round(time.perf_counter() - wall, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
    }


def _exposures(recipe: Recipe) -> Tensor:
    """Factors (batch, 1) of the pixels of a step, log-uniform; 1 for those that stay as they are."""
    if "exposure" not in recipe.augment:
        return torch.ones(recipe.batch, 1)
    low, high = map(math.log, EXPOSURE)
    gain = torch.exp(low + (high - low) * torch.rand(recipe.batch, 1))
    return torch.where(torch.rand(recipe.batch, 1) < recipe.augment_share, gain, 1.0)


def _sample(dataset: Dataset, split: str, seed: int) -> tuple[Tensor, Tensor]:
    """Pixels (P, 3) and their spectra (P, C), the same number from every scene that has as many."""
    generator, names = np.random.default_rng(seed), sorted(dataset.scenes(split))
    rgbs, cubes = [], []
    for name in names:
        scene = dataset.load(split, name)
        rgb, cube = scene.rgb.reshape(3, -1), scene.cube.reshape(len(scene.cube), -1)
        known = np.flatnonzero(~np.isnan(cube).all(axis=0))
        count = min(len(known), max(SAMPLE // len(names), 1))
        chosen = np.sort(generator.choice(known, count, replace=False))
        rgbs.append(rgb[:, chosen].T)
        cubes.append(cube[:, chosen].T)
    spectra = np.concatenate(cubes)
    require_data(dataset, split, (~np.isnan(spectra)).any(axis=0))
    return torch.from_numpy(np.concatenate(rgbs)), torch.from_numpy(spectra)


SPEC = ModelSpec(
    name="pixel-mlp",
    build=build,
    summary="Multilayer perceptron from the colour of a pixel to its spectrum, 6.6 thousand parameters",
    use="small and fast",
    source="hsrzoo",
    licence="MIT",
    # small crops: neighbours are much alike, and one step should see many colours
    recipe=Recipe(batch=64, patch=8, lr=1e-2),
    default_tag="cave",
    tags=("floor",),
    fit=fit,
    notes="Fitted on single pixels in seconds by `hsrzoo fit`; `hsrzoo train` trains it on crops.",
)
