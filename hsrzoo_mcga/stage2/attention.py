"""GA-based quantized self-attention (GQA): a C x C attention from the K most used codes.

Q^ and K^ are codes instead of pixels, so the product costs C^2 K instead of C^2 H W.

Letters: B batch, C channels, D code width, N codes, K slots, P pixels, H W height and width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from hsrzoo.layers.pixel_rows import at_least_fp32, on_pixels, to_map, to_rows
from hsrzoo.layers.pointwise import pointwise
from hsrzoo.layers.whole_image import whole_image
from hsrzoo_mcga.codebook.lookup import Codebook
from hsrzoo_mcga.stage2.grayscale import GrayscaleAware

Slots = tuple[Tensor, Tensor, Tensor]
"""Codes of Q and of K (B, K, D), and the weights (B, K) of their slots, 1 together over the used ones."""


class QuantizedAttention(nn.Module):
    """GQA over C channels with codes of width D.

    A slot holds one of the K codes that are most frequent among Q, and the code nearest to the mean of K
    over the same pixels; it weighs as much as it has pixels. Codes are constants: Q and K get their
    gradient through the means of the pixels that are assigned to a code. Codes are counted on every
    ``stride``-th row and column.
    """

    def __init__(
        self,
        c: int,
        d: int,
        k: int = 256,
        stride: int = 1,
        curve: Callable[[int, str], GrayscaleAware] = GrayscaleAware,
    ) -> None:
        super().__init__()
        self.k, self.stride = k, stride
        self.add_projections(c, d)
        self.curve = curve(c, "log")
        self.temperature = nn.Parameter(torch.ones(()))
        self.value = nn.Linear(c, c)
        self.out = nn.Linear(c, c)

    def add_projections(self, c: int, d: int) -> None:
        # a code is all that is used of Q and K, so they are projected straight to code width
        self.query_key = nn.Conv2d(c, 2 * d, 1)
        self.from_code = nn.ModuleList(nn.Linear(d, c, bias=False) for _ in range(2))

    def forward(self, x: Tensor, codebook: Codebook) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), the residual branch alone."""
        return apply_affine(x, *self.affine(x, codebook))

    def affine(
        self, x: Tensor, codebook: Codebook, before: nn.Module | None = None
    ) -> tuple[Tensor, Tensor]:
        """What the branch does to each pixel: a matrix (B, C, C) and a bias (B, C) for each image.

        out(A value(x)) is one C x C map: three products over pixels become one. ``before``: a layer of
        single pixels that ``x`` goes through first, without being kept.
        """
        a = self.attend(before or nn.Identity(), x, codebook)  # B C C
        combined = self.out.weight @ a @ self.value.weight  # B C C
        return combined, (self.out.weight @ a @ self.value.bias) + self.out.bias

    def attend(self, before: nn.Module, x: Tensor, codebook: Codebook) -> Tensor:
        """A = softmax(GA_log(Q^) K^T / sqrt(C)), (B, C, C), rows over Q's channels."""

        def totals(part: Tensor) -> tuple[Tensor, ...]:
            q, key = self.project(before(part[..., :: self.stride, :: self.stride]))
            return self.group(q, key, codebook)

        sums = whole_image(totals, x)
        codes_q, codes_k, weight = self.slots(sums, codebook)  # B K D, B K D, B K
        q_hat = self.from_code[0](codes_q).transpose(1, 2)  # B C K
        k_hat = self.from_code[1](codes_k).transpose(1, 2)  # B C K
        # a weighted mean over the slots, not a sum: its size depends neither on K nor on the image
        q_tilde = self.curve.on_slots(q_hat, weight) * weight[:, None]
        return self.softmax(q_tilde @ k_hat.transpose(1, 2))

    def project(self, x: Tensor) -> tuple[Tensor, ...]:
        """Q and K of normalised features (B, C, H, W), (B, D, H, W) each, in fp32."""
        return at_least_fp32(on_pixels(self.query_key, x)).chunk(2, 1)

    def group(self, q: Tensor, key: Tensor, codebook: Codebook) -> tuple[Tensor, ...]:
        """How many pixels each code of Q has (B, N), and the sums of Q and K over them (B, N, D)."""
        assigned = codebook.query(q).indices
        codebook.record(key)
        return group_sums(assigned, len(codebook.codes), q, key)

    def slots(self, totals: Sequence[Tensor], codebook: Codebook) -> Slots:
        """The slots of all images, from what :meth:`group` found in them."""
        counts, *sums = totals
        kept, counts = top_codes(counts, self.k)  # B K
        mean_q, mean_k = (group_means(rows_at(kept, t), counts) for t in sums)  # B K D
        code_q = straight_through(codebook.codes[kept], mean_q)
        nearest = codebook.find(mean_k.flatten(0, 1)).view_as(kept)
        return self.weigh(code_q, straight_through(codebook.codes[nearest], mean_k), counts, counts)

    def weigh(self, code_q: Tensor, code_k: Tensor, counts_q: Tensor, counts_k: Tensor) -> Slots:
        """Kept codes (..., K, D), weighted by their counts (..., K) in Q and in K."""
        weight = (counts_q * counts_k).to(code_q.dtype).sqrt()
        return code_q, code_k, weight / weight.sum(-1, keepdim=True).clamp_min(1)

    def softmax(self, scores: Tensor) -> Tensor:
        """Softmax over the last channels of means over the pixels (B, C, C), whose 1 / sqrt(C) becomes
        sqrt(C); a learned temperature sets the sharpness."""
        return torch.softmax(self.temperature * math.sqrt(scores.shape[1]) * scores, dim=-1)

    def look_ups(self, pixels: int, n: int) -> int:
        """How many rows are looked up among ``n`` codes for a map of ``pixels``."""
        return pixels // self.stride**2 + min(self.k, n)


def top_codes(counts: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The min(k, N) most frequent codes by ``counts`` (..., N) int64: their numbers and counts, by rank.

    Ties go to the lower code number; a count of 0 marks an unused slot.
    """
    n = counts.shape[-1]
    # one stable order for count (descending) then number (ascending)
    key = counts * n + (n - 1 - torch.arange(n, device=counts.device))
    kept = key.topk(min(k, n)).indices
    return kept, counts.gather(-1, kept)


def rows_at(numbers: Tensor, rows: Tensor) -> Tensor:
    """The rows (..., K, D) of these ``numbers`` (..., K) among ``rows`` (..., N, D)."""
    return rows.gather(-2, numbers[..., None].expand(*numbers.shape, rows.shape[-1]))


def group_sums(indices: Tensor, n: int, *maps: Tensor) -> tuple[Tensor, ...]:
    """Per image how many of the ``indices`` (B*P,) name each of ``n`` codes, (B, N) int64, and for each of
    ``maps`` (B, D, H, W) its sums over the pixels of each code, (B, N, D)."""
    b = len(maps[0])
    image = torch.arange(b, device=indices.device)[:, None]
    flat = (indices.view(b, -1) + n * image).reshape(-1)  # B*P
    counts = indices.new_zeros(b * n).scatter_add(0, flat, torch.ones_like(flat))
    sums = [m.new_zeros(b * n, m.shape[1]).index_add(0, flat, to_rows(m)) for m in maps]
    return counts.view(b, n), *(t.view(b, n, -1) for t in sums)


def group_means(sums: Tensor, counts: Tensor) -> Tensor:
    """Means (..., K, D) from sums over groups of ``counts`` (..., K) pixels; zero for empty ones."""
    return sums / counts.clamp_min(1)[..., None].to(sums.dtype)


def straight_through(codes: Tensor, means: Tensor) -> Tensor:
    """``codes`` with the gradient of ``means``."""
    return means + (codes - means).detach()


def apply_affine(x: Tensor, matrix: Tensor, bias: Tensor) -> Tensor:
    """(B, C, H, W) -> matrix (B, C, C) times each pixel, plus bias (B, C), channels-last."""
    b, c, h, w = x.shape
    if b == 1:
        return to_map(pointwise(to_rows(x), matrix[0], bias[0]), x)
    rows = torch.baddbmm(bias[:, None], to_rows(x).view(b, h * w, c), matrix.transpose(1, 2))  # B HW C
    return to_map(rows.view(b * h * w, c), x)
