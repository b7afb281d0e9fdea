"""What the brightness curves do to features (figure 4b of the MCGA paper)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hsrzoo_mcga.codebook.lookup import Codebook
from hsrzoo_mcga.stage2.attention import apply_affine


def brightness_features(module: nn.Module, rgb: Tensor) -> dict[str, Tensor]:
    """Channel means of the finest scale's first GA feed-forward, before and after gamma and log and fused.

    ``module``: a GANet; ``rgb`` (1, 3, H, W) as it sees it. Each map is (H/2, W/2) float32, not scaled.
    Without a curve (an ablation) its maps are absent.
    """
    block: Any = module.blocks[0][0]  # type: ignore[index]
    seen: list[tuple[Tensor, Codebook]] = []
    # a clone, as without gradients the block overwrites its input
    hook = block.register_forward_pre_hook(lambda _, args: seen.append((args[0].clone(), args[1])))
    try:
        with torch.no_grad():
            module(rgb)
            return _block_features(block, *seen[0])
    finally:
        hook.remove()


def _block_features(block: Any, x: Tensor, codebook: Codebook) -> dict[str, Tensor]:
    """The block's own steps, on the whole image at once."""
    if block.attention is not None:
        affine = block.attention.affine(x, codebook, before=block.norm_attention)
        x = x + apply_affine(block.norm_attention(x), *affine)
    feed = block.feed
    features = feed.features(block.norm_feed(x))
    curves = feed.curves(features)
    found = {}
    for (curve, own), taken in zip(feed.halves(), curves, strict=True):
        if curve is not None:
            found[f"before {curve.kind}"] = features[:, own]
            found[f"after {curve.kind}"] = curve.apply_curve(features[:, own], *taken)
    found["fused"] = feed.combine(features, curves)
    return {name: feature[0].mean(0) for name, feature in found.items()}
