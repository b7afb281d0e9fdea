"""Figures of stage 1: errors of reconstructed cubes, and how the codes are used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.training.losses import ignore_missing
from hsrzoo_mcga.codebook.lookup import usage
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder

if TYPE_CHECKING:
    from hsrzoo.datasets.base import Dataset


def load_cubes(data: Dataset, split: str, scenes: Iterable[str], scales: int) -> list[Tensor]:
    """Cubes (C, H, W) float32 of ``scenes``, cropped to sides that are multiples of 2^scales."""
    cubes = []
    for scene in scenes:
        cube = torch.from_numpy(data.load(split, scene).cube)
        height, width = (n >> scales << scales for n in cube.shape[1:])
        cubes.append(cube[:, :height, :width].contiguous())
    return cubes


def evaluate(
    module: torch.nn.Module, cubes: list[Tensor], bands: BandSet | None = None
) -> dict[str, float]:
    """Mean figures of an autoencoder over cubes.

    Args:
        module: A :class:`SpectralAutoencoder`.
        cubes: (C, H, W) each. Values without data (NaN) are given to the network as 0 and count in no
            RMSE.
        bands: Those of the cubes.

    Returns:
        ``rmse_masked`` with the even mask and ``rmse_all`` with every band visible (not for a
        ``drop-ordered`` mask, which has no channels for all bands); ``usage_i`` and ``perplexity_i``, the
        share of used codes and the perplexity of their use at scale i. Where ``bands`` are not the grid of
        the zoo (400-700 nm at 10 nm) but cover part of it, also ``visible_bands``, how many of its 31, and
        ``rmse_*_visible``, the error on these after resampling both cubes.
    """
    if not isinstance(module, SpectralAutoencoder):
        raise TypeError(f"stage 1 evaluates a SpectralAutoencoder, not {type(module).__name__}")
    device = module.codes[0].device
    masks = {"rmse_masked": module.even_mask(1).to(device)}
    if module.mask == "by-band":
        masks["rmse_all"] = torch.arange(module.bands, device=device)[None]
    visible = 0 if bands is None or bands.same_as(VISIBLE_31) else _count_visible(bands)
    figures: dict[str, list[float]] = {name: [] for name in masks}
    indices: list[list[Tensor]] = [[] for _ in module.codes]
    mean_square = ignore_missing(lambda restored, truth: (restored - truth).square().mean())
    for cube in cubes:
        truth = cube[None].to(device)
        for name, kept in masks.items():
            restored, queries = module(truth.nan_to_num(0.0), kept)
            figures[name].append(float(mean_square(restored, truth).sqrt()))
            if bands is not None and visible:
                figures.setdefault(f"{name}_visible", []).append(_visible_rmse(restored[0], cube, bands))
        for found, q in zip(indices, queries, strict=True):
            found.append(q.indices)
    out = {k: sum(v) / len(v) for k, v in figures.items()}
    if visible:
        out["visible_bands"] = float(visible)
    for i, (found, codes) in enumerate(zip(indices, module.codes, strict=True), 1):
        out.update({f"{k}_{i}": v for k, v in usage(torch.cat(found), len(codes)).items()})
    return out


def _count_visible(bands: BandSet) -> int:
    """How many of the zoo's 31 bands ``bands`` cover."""
    return int(bands.resample_matrix(VISIBLE_31)[1].sum())


def _visible_rmse(restored: Tensor, truth: Tensor, bands: BandSet) -> float:
    """RMSE of two cubes (C, H, W) on those of the zoo's 31 bands that ``bands`` cover; values without data
    in ``truth`` (NaN) do not count."""
    ours, covered = bands.resample(restored.detach().cpu().numpy(), VISIBLE_31)
    theirs, _ = bands.resample(truth.cpu().numpy(), VISIBLE_31)
    square = (ours[covered].astype(np.float64) - theirs[covered]) ** 2
    return float(np.sqrt(np.nanmean(square)))
