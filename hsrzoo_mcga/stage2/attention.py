"""GA-based quantized self-attention (GQA): a C x C attention from the K most used codes.

Q^ and K^ are codes instead of pixels, so the product costs C^2 K instead of C^2 H W.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hsrzoo.layers.pixel_rows import at_least_fp32, on_pixels, to_map, to_rows
from hsrzoo.layers.pointwise import pointwise
from hsrzoo.layers.whole_image import whole_image
from hsrzoo_mcga.codebook.lookup import found_code, query
from hsrzoo_mcga.stage2.grayscale import GrayscaleAware


def top_codes(counts: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The min(k, N) most frequent codes by ``counts`` (N,) int64: their numbers and counts, by rank.

    Ties go to the lower code number; a count of 0 marks an unused slot.
    """
    n = len(counts)
    # one stable order for count (descending) then number (ascending)
    key = counts * n + (n - 1 - torch.arange(n, device=counts.device))
    kept = key.topk(min(k, n)).indices
    return kept, counts[kept]


def group_sums(indices: Tensor, n: int, *rows: Tensor) -> tuple[Tensor, ...]:
    """Per image how many of the ``indices`` (B, P) name each of ``n`` codes, (B, n) int64, and for each
    of ``rows`` (B, P, D) its sums over the pixels of each code, (B, n, D)."""
    b = len(indices)
    flat = (indices + n * torch.arange(b, device=indices.device)[:, None]).reshape(-1)
    counts = indices.new_zeros(b * n).scatter_add(0, flat, torch.ones_like(flat))
    sums = [r.new_zeros(b * n, r.shape[2]).index_add(0, flat, r.flatten(0, 1)) for r in rows]
    return counts.view(b, n), *(t.view(b, n, -1) for t in sums)


class QuantizedAttention(nn.Module):
    """GQA over C channels; codes have width D.

    ``topk``: "codes" keeps the K most frequent codes, each weighted by sqrt(count / total);
    "pixels" is the literal reading: pixels sorted by their code's frequency, the first K kept with
    repetition. ``pairing``: "joint" lets Q's assignment choose the groups and looks K's group means
    up; "rank" ranks Q and K separately, as printed. Kept codes are constants; Q and K get their gradient
    through the mean of the pixels assigned to each of them. ``stride``: count every stride-th row and
    column only. ``permuted``: see :func:`~hsrzoo_mcga.codebook.found_code`.

    ``mode``: "quantized"; "full" (all pixels at width C, no codes: the ablation); or "bypass", which has
    the layers of "quantized" but lets every pixel stand for itself: what "codes" and "joint" become
    where each pixel has a code of its own.
    """

    def __init__(
        self,
        c: int,
        d: int,
        k: int = 256,
        topk: str = "codes",
        pairing: str = "joint",
        mode: str = "quantized",
        ga: bool = True,
        stride: int = 1,
        permuted: bool = False,
        **settings: object,
    ) -> None:
        super().__init__()
        self.k, self.topk, self.pairing, self.stride = k, topk, pairing, stride
        self.quantized, self.permuted = mode == "quantized", permuted
        narrow = mode != "full"
        # a code is all that is used of Q and K, so they are projected straight to code width
        self.width = d if narrow else c
        self.query_key = nn.Conv2d(c, 2 * self.width, 1)
        self.from_code = nn.ModuleList(nn.Linear(d, c, bias=False) for _ in range(2 if narrow else 0))
        self.curve = GrayscaleAware(c, "log" if ga else "none", **settings)  # type: ignore[arg-type]
        self.temperature = nn.Parameter(torch.ones(()))
        self.value = nn.Linear(c, c)
        self.out = nn.Linear(c, c)

    def forward(self, x: Tensor, codes: Tensor, sites: list | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), the residual branch alone; ``codes`` (N, D).

        ``sites`` collects (features, codes) of every look-up for test-time adaptation.
        """
        return apply_affine(x, *self.affine(x, codes, sites))

    def affine(
        self, x: Tensor, codes: Tensor, sites: list | None = None, before: nn.Module | None = None
    ) -> tuple[Tensor, Tensor]:
        """What the branch does to each pixel: a matrix (B, C, C) and a bias (B, C) for each image.

        out(A value(x)) is one C x C map: three products over pixels become one. ``before``: a layer of
        single pixels that ``x`` goes through first, without being kept.
        """
        first: Callable[[Tensor], Tensor] = before if before is not None else nn.Identity()
        if self.quantized:
            a = self.matrix(*self._kept(first, x, codes, sites))
        else:
            a = self._full_matrix(first, x)
        combined = self.out.weight @ a @ self.value.weight  # B C C
        return combined, (self.out.weight @ a @ self.value.bias) + self.out.bias

    def matrix(self, q_hat: Tensor, k_hat: Tensor, weight: Tensor) -> Tensor:
        """A = softmax(GA_log(Q^) K^T / sqrt(C)), (B, C, C), rows over Q's channels.

        The product is a weighted mean over the slots times C, not a sum, so that its size depends
        neither on K nor on the image; a learned temperature sets the sharpness.
        """
        q_hat = self.curve.on_slots(q_hat, weight) * weight[:, None]
        return self._softmax(q_hat @ k_hat.transpose(1, 2))

    def _softmax(self, scores: Tensor) -> Tensor:
        return torch.softmax(self.temperature * math.sqrt(scores.shape[1]) * scores, dim=-1)

    def _project(self, x: Tensor) -> tuple[Tensor, ...]:
        """Q and K of normalised features, (B, D, H, W) each, in fp32."""
        return at_least_fp32(on_pixels(self.query_key, x)).split(self.width, 1)

    def _widened(self, x: Tensor) -> tuple[Tensor, ...]:
        """Q and K of normalised features at width C, (B, C, H, W) each, without any code."""
        parts = self._project(x)
        if not self.from_code:
            return parts
        return tuple(on_pixels(layer, part) for layer, part in zip(self.from_code, parts, strict=True))

    def _full_matrix(self, first: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """A over all pixels instead of codes (the ablation)."""
        curved, low, high = self.curve.kind != "none", None, None
        if curved and self.curve.normalise == "minmax":

            def extremes(part: Tensor) -> tuple[Tensor, ...]:
                q = self._widened(first(part))[0]
                return q.amin((2, 3)), q.amax((2, 3))

            low, high = whole_image(extremes, x, reduce=("min", "max"))

        def sums(part: Tensor) -> tuple[Tensor, ...]:
            q = self._widened(first(part))[0]
            return q.sum((2, 3)), q.new_tensor(float(q.shape[2] * q.shape[3]))

        total, pixels = whole_image(sums, x)

        def products(part: Tensor) -> tuple[Tensor, ...]:
            q, key = self._widened(first(part))
            if curved:
                q = self.curve.apply_curve(q, a, low, high)
            return (q.flatten(2) @ key.flatten(2).transpose(1, 2),)

        a = self.curve.curve(total / pixels) if curved else total
        return self._softmax(whole_image(products, x)[0] / pixels)

    def _kept(
        self, first: Callable[[Tensor], Tensor], x: Tensor, codes: Tensor, sites: list | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Q^ and K^ (B, C, K) and their weights (B, K), which sum to 1 over the used slots."""
        n, stride = len(codes), self.stride

        def sums(part: Tensor) -> tuple[Tensor, ...]:
            q, key = self._project(first(part[..., ::stride, ::stride]))
            if sites is not None:
                sites.extend([(q, codes), (key, codes)])
            b, d = q.shape[:2]
            rows_q, rows_k = (to_rows(t).view(b, -1, d) for t in (q, key))
            own = query(q, codes, self.permuted).indices.view(b, -1)
            if self.pairing == "joint":
                return group_sums(own, n, rows_q, rows_k)
            return *group_sums(own, n, rows_q), *group_sums(
                query(key, codes, self.permuted).indices.view(b, -1), n, rows_k
            )

        totals = whole_image(sums, x)
        images = [self._slots([t[i] for t in totals], codes) for i in range(len(x))]
        q_hat, k_hat, weight = (torch.stack(t) for t in zip(*images, strict=True))
        return self.from_code[0](q_hat).transpose(1, 2), self.from_code[1](k_hat).transpose(1, 2), weight

    def _slots(self, totals: list[Tensor], codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Kept codes of Q and K (K, D) and the weights of their slots (K,), for one image."""
        counts, sum_q, *of_key = totals
        kept, counts_q = top_codes(counts, self.k)
        mean_q = group_means(sum_q[kept], counts_q)
        code_q = mean_q + (codes[kept] - mean_q).detach()
        if self.pairing == "joint":
            mean_k, counts_k = group_means(of_key[0][kept], counts_q), counts_q
            nearest = codes[found_code(mean_k, codes, self.permuted)]
        else:
            kept_k, counts_k = top_codes(of_key[0], self.k)
            mean_k, nearest = group_means(of_key[1][kept_k], counts_k), codes[kept_k]
        code_k = mean_k + (nearest - mean_k).detach()
        return self._weighted(code_q, code_k, counts_q, counts_k, counts.sum())

    def _weighted(
        self, code_q: Tensor, code_k: Tensor, counts_q: Tensor, counts_k: Tensor, pixels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Slots and weights: by count ("codes"), or one slot of weight 1/K per pixel ("pixels")."""
        if self.topk == "codes":
            weight = (counts_q * counts_k).to(code_q.dtype).sqrt()
            return code_q, code_k, weight / weight.sum().clamp_min(1)
        # the kept codes hold at least this many pixels: all of them, or one for each of the K codes
        take = min(self.k, int(pixels))
        slots = [
            torch.repeat_interleave(code, count, dim=0)[:take]
            for code, count in ((code_q, counts_q), (code_k, counts_k))
        ]
        return slots[0], slots[1], code_q.new_full((take,), 1 / take)


def group_means(sums: Tensor, counts: Tensor) -> Tensor:
    """Means (K, D) from sums (K, D) over groups of ``counts`` (K,) pixels; zero for empty ones."""
    return sums / counts.clamp_min(1)[:, None].to(sums.dtype)


def apply_affine(x: Tensor, matrix: Tensor, bias: Tensor) -> Tensor:
    """(B, C, H, W) -> matrix (B, C, C) times each pixel, plus bias (B, C), channels-last."""
    b, c, h, w = x.shape
    if b == 1:
        return to_map(pointwise(to_rows(x), matrix[0], bias[0]), x)
    rows = torch.baddbmm(bias[:, None], to_rows(x).view(b, h * w, c), matrix.transpose(1, 2))
    return to_map(rows.view(b * h * w, c), x)
