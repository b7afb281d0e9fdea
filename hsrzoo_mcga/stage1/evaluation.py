"""What stage 1 has learnt, in figures: errors of reconstructed cubes, and how the codes were used."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.training.losses import ignore_missing
from hsrzoo_mcga.codebook.lookup import usage
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder


def evaluate(
    module: torch.nn.Module, cubes: list[Tensor], bands: BandSet | None = None
) -> dict[str, float]:
    """Mean RMSE over ``cubes`` (C, H, W): ``rmse_masked`` with the even mask, ``rmse_all`` with every band
    visible; then the share of used codes and their perplexity at every scale.

    ``bands``: those of the cubes; where they are not the grid of the zoo (400-700 nm at 10 nm) but cover
    part of it, ``visible_bands`` says how many of its 31 and ``rmse_*_visible`` is the error on these,
    after resampling both cubes. Values without data (NaN) are given to the network as 0 and count in no
    RMSE. ``drop-ordered`` lifts have no channels for all bands, so those have no ``rmse_all``.
    """
    if not isinstance(module, SpectralAutoencoder):
        raise TypeError(f"stage 1 evaluates a SpectralAutoencoder, not {type(module).__name__}")
    device = module.codes[0].device
    masks = {"rmse_masked": module.even_mask(1).to(device)}
    if module.mask == "by-band":
        masks["rmse_all"] = torch.arange(module.bands, device=device)[None]
    covered = 0 if bands is None or bands.same_as(VISIBLE_31) else _visible(bands)
    figures: dict[str, list[float]] = {name: [] for name in masks}
    indices: list[list[Tensor]] = [[] for _ in module.codes]
    mean_square = ignore_missing(lambda restored, truth: (restored - truth).square().mean())
    for cube in cubes:
        truth = cube[None].to(device)
        for name, kept in masks.items():
            restored, queries = module(truth.nan_to_num(0.0), kept)
            figures[name].append(float(mean_square(restored, truth).sqrt()))
            if bands is not None and covered:
                figures.setdefault(f"{name}_visible", []).append(_visible_rmse(restored[0], cube, bands))
        for found, q in zip(indices, queries, strict=True):
            found.append(q.indices)
    out = {k: sum(v) / len(v) for k, v in figures.items()}
    if covered:
        out["visible_bands"] = float(covered)
    for i, (found, codes) in enumerate(zip(indices, module.codes, strict=True), 1):
        out.update({f"{k}_{i}": v for k, v in usage(torch.cat(found), len(codes)).items()})
    return out


def _visible(bands: BandSet) -> int:
    """How many of the zoo's 31 bands ``bands`` cover."""
    return int(bands.resample_matrix(VISIBLE_31)[1].sum())


def _visible_rmse(restored: Tensor, truth: Tensor, bands: BandSet) -> float:
    """RMSE of two cubes (C, H, W) on the zoo's 31 bands, as far as ``bands`` cover them; the truth's gaps
    (NaN) are left out."""
    ours, covered = bands.resample(restored.detach().cpu().numpy(), VISIBLE_31)
    theirs, _ = bands.resample(truth.cpu().numpy(), VISIBLE_31)
    square = (ours[covered].astype(np.float64) - theirs[covered]) ** 2
    return float(np.sqrt(np.nanmean(square)))
