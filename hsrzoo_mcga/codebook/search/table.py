"""Preparation of the codes for every engine: centring, norms, and equal codes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def centre_of(codes: Tensor) -> Tensor:
    """The point (D,) to subtract from features and codes before |c|^2 / 2 - x.c is compared.

    That form loses the bits by which |x| and |c| exceed the distances, so codes far from the origin are
    centred. The point is their mean rounded to a power of two about as large as their spread: then the
    subtraction loses no significant bits, and exact ties stay exact. It is zero, and nothing needs to be
    centred, if the mean is no further from the origin than the furthest code from the mean.
    """
    mean = codes.mean(0)
    # both are root mean squares over D, which compare as the norms do
    spread = (codes - mean).square().mean(1).amax(0).sqrt()
    far = mean.square().mean(0).sqrt() > spread
    info = torch.finfo(codes.dtype)
    # not finer than the mean's own last bit: codes that are all equal have no spread
    spread = torch.maximum(spread, mean.abs().amax(0) * info.eps).clamp_min(info.tiny)
    grid = 2.0 ** spread.log2().floor()  # exp2 has no ONNX form
    return torch.where(far, (mean / grid).round() * grid, torch.zeros_like(mean))


def half_norms(codes: Tensor) -> Tensor:
    """|c|^2 / 2 of each code, (N,), summed in float64 where the device has it.

    Vector kernels add the rows at a table's edge in another order; equal codes must not differ by that.
    """
    exact = codes if codes.device.type == "mps" else codes.double()
    return ((exact * exact).sum(1) / 2).to(codes.dtype)


def lowest_equal(codes: np.ndarray) -> np.ndarray | None:
    """For each of ``codes`` (N, D) the lowest index (N,) int64 of a code equal to it; None if all differ.

    A matrix product may round the columns at its edge differently, and would then prefer the higher of two
    equal codes.
    """
    column = np.sort(codes[:, 0])
    if (column[1:] != column[:-1]).all():
        return None  # the usual case, and cheap: equal rows have equal first numbers
    rows = np.ascontiguousarray(codes + 0.0)  # -0.0 becomes 0.0, so that equal means equal bytes
    as_bytes = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1])))
    _, first, inverse = np.unique(as_bytes, return_index=True, return_inverse=True)
    return first[inverse.reshape(-1)]
