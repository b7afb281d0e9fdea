"""CUDA's engine: one fused Triton kernel that keeps a tile of distances in registers.

Each program takes BLOCK_M features and walks over all codes in tiles of BLOCK_N with a running
minimum. Imported only where Triton is; under ``TRITON_INTERPRET=1`` it runs on the CPU.
"""

from __future__ import annotations

import contextlib

import torch
import triton
import triton.language as tl
from torch import Tensor

from hsrzoo_mcga.codebook.search.table import centre_of, half_norms

WARPS = 4
_LEAST_WIDTH = 16
"""``tl.dot`` refuses inner sizes below 16, though the interpreter takes them."""


@triton.jit
def nearest_kernel(
    features,  # (M, D) fp32 by strides
    codes,  # (N, D) fp32 about the centre, contiguous
    norms,  # (N,) fp32: |c|^2 / 2
    centre,  # (D,) fp32
    out,  # (M,) int64
    m,
    n,
    stride_m,
    stride_d,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    rows = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    cell = (rows < m)[:, None] & (dims < D)[None, :]
    x = tl.load(features + rows[:, None] * stride_m + dims[None, :] * stride_d, mask=cell, other=0.0)
    x = x - tl.load(centre + dims, mask=dims < D, other=0.0)[None, :]
    finite = tl.sum(x * x, axis=1) < float("inf")
    least = tl.full((BLOCK_M,), float("inf"), tl.float32)
    index = tl.zeros((BLOCK_M,), tl.int32)
    for first in range(0, n, BLOCK_N):
        places = first + tl.arange(0, BLOCK_N)
        c = tl.load(
            codes + places[None, :] * D + dims[:, None],
            mask=(dims < D)[:, None] & (places < n)[None, :],
            other=0.0,
        )
        norm = tl.load(norms + places, mask=places < n, other=float("inf"))
        scores = norm[None, :] - tl.dot(x, c, input_precision="ieee")
        value = tl.min(scores, axis=1)
        place = tl.min(tl.where(scores == value[:, None], places[None, :], n), axis=1)
        closer = value < least  # strictly: of equals the earlier tile's stays
        index = tl.where(closer, place, index)
        least = tl.where(closer, value, least)
    tl.store(out + rows, tl.where(finite, index, 0).to(tl.int64), mask=rows < m)


def tile(d: int) -> dict[str, int]:
    """The kernel's constants for codes of width D: the largest tiles whose registers do not spill on sm_90.

    (128 x 64 at D = 64 spills 11 kB a thread; 64 x 32 nothing.)
    """
    padded = max(_LEAST_WIDTH, triton.next_power_of_2(d))
    block_n = min(64, max(16, 2048 // padded))
    return {"D": d, "BLOCK_D": padded, "BLOCK_M": 64, "BLOCK_N": block_n}


def search(features: Tensor, codes: Tensor) -> Tensor:
    """Indices (M,) int64 of the nearest of ``codes`` (N, D) for ``features`` (M, D), fp32 on CUDA."""
    centre = centre_of(codes)
    codes = (codes - centre).contiguous()
    out = torch.empty(len(features), dtype=torch.int64, device=features.device)
    (m, d), n = features.shape, len(codes)
    constants = tile(d)
    grid = (triton.cdiv(m, constants["BLOCK_M"]),)
    tensors = features, codes, half_norms(codes), centre, out
    on_device = torch.cuda.device(features.device) if features.is_cuda else contextlib.nullcontext()
    with on_device:  # Triton launches on the current device
        nearest_kernel[grid](*tensors, m, n, *features.stride(), **constants, num_warps=WARPS)
    return out
