"""The search in every mode of torch: run directly, compiled (as one custom op), exported or traced."""

from __future__ import annotations

import torch
from torch import Tensor

from hsrzoo_mcga.codebook.search import blocked, engines


def nearest_code(features: Tensor, codes: Tensor) -> Tensor:
    """Index of the nearest code of each feature by squared L2 distance.

    Under ``torch.compile`` this is one custom op; ``torch.export``, ONNX and tracing get the blocked torch
    engine, written out with a fixed number of steps.

    Args:
        features: (M, D), any floating dtype. Half precision is compared as float32.
        codes: (N, D), N >= 1.

    Returns:
        (M,) int64, without gradient. Ties go to the lowest index; a feature whose squared norm is not
        finite gets index 0.

    Raises:
        InputError: If the shapes do not fit, or a forced engine cannot search these features.
        PluginError: If a forced engine is not installed.
    """
    features, codes = features.detach(), codes.detach()
    if torch.compiler.is_exporting() or torch.jit.is_tracing():
        return blocked.search_traced(*engines.to_common_dtype(features, codes))
    if torch.compiler.is_compiling():
        if engines.forced_engine() == "torch":
            return blocked.search_traced(*engines.to_common_dtype(features, codes))
        return nearest_code_op(features, codes)
    return engines.search(features, codes)


@torch.library.custom_op(
    "hsrzoo_mcga::nearest_code", mutates_args=(), schema="(Tensor features, Tensor codes) -> Tensor"
)
def nearest_code_op(features: Tensor, codes: Tensor) -> Tensor:
    """The search as one step of a compiled graph; both arguments are detached."""
    return engines.search(features, codes)


@nearest_code_op.register_fake
def _(features: Tensor, codes: Tensor) -> Tensor:
    return features.new_empty(features.shape[0], dtype=torch.int64)
