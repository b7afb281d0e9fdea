"""The search as a custom op, so that ``torch.compile`` takes it as one step of its graph."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.library.custom_op(
    "hsrzoo_mcga::nearest_code", mutates_args=(), schema="(Tensor features, Tensor codes) -> Tensor"
)
def nearest_code_op(features: Tensor, codes: Tensor) -> Tensor:
    """Indices (M,) int64 of the nearest of ``codes`` (N, D) for ``features`` (M, D), both detached."""
    from hsrzoo_mcga.codebook.search import look_up  # the package imports this module

    return look_up(features, codes)


@nearest_code_op.register_fake
def _(features: Tensor, codes: Tensor) -> Tensor:
    return features.new_empty(features.shape[0], dtype=torch.int64)
