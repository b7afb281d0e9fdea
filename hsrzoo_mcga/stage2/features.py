"""What the brightness curves do to features (figure 4b of the MCGA paper)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hsrzoo_mcga.stage2.attention import apply_affine


def brightness_features(module: nn.Module, rgb: Tensor) -> dict[str, Tensor]:
    """Channel means of the finest scale's first GA feed-forward, before and after gamma and log and fused.

    ``module``: a GANet; ``rgb`` (1, 3, H, W) as it sees it. Each map is (H/2, W/2) float32, not scaled.
    Without a curve (an ablation) its maps are absent.
    """
    block: Any = module.blocks[0][0]  # type: ignore[index]
    seen: list[tuple[Tensor, Tensor]] = []
    # a clone, as without gradients the block overwrites what it gets
    hook = block.register_forward_pre_hook(lambda _, args: seen.append((args[0].clone(), args[1])))
    try:
        with torch.no_grad():
            module(rgb)
            return _of_block(block, *seen[0])
    finally:
        hook.remove()


def _of_block(block: Any, x: Tensor, codes: Tensor) -> dict[str, Tensor]:
    """The block's own steps, on the whole image at once."""
    if block.attention is not None:
        affine = block.attention.affine(x, codes, None, before=block.norm_attention)
        x = x + apply_affine(block.norm_attention(x), *affine)
    feed = block.feed
    features = feed.features(block.norm_feed(x))
    curves = feed.curves(features)
    found, left = {}, list(curves)
    parts = {"gamma": (feed.gamma, features[:, : feed.split]), "log": (feed.log, features[:, feed.split :])}
    for name, (curve, part) in parts.items():
        if curve.kind != "none":
            found[f"before {name}"] = part
            found[f"after {name}"] = curve.apply_curve(part, *left.pop(0))
    found["fused"] = feed.combine(features, curves)
    return {name: feature[0].mean(0) for name, feature in found.items()}
