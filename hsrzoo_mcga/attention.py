"""GA-based quantized self-attention (GQA): a C x C attention from the K most used codes.

Q^ and K^ are codes instead of pixels, so the product costs C^2 K instead of C^2 H W.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hsrzoo_mcga.codebook import at_least_fp32, query, to_map, to_rows
from hsrzoo_mcga.grayscale import GrayscaleAware
from hsrzoo_mcga.search import nearest_code


def top_codes(indices: Tensor, n_codes: int, k: int) -> tuple[Tensor, Tensor]:
    """The min(k, N) most frequent codes of ``indices`` (P,): their numbers and counts, by rank.

    Ties go to the lower code number; a count of 0 marks an unused slot.
    """
    counts = torch.zeros(n_codes, dtype=torch.int64, device=indices.device)
    counts.scatter_add_(0, indices, torch.ones_like(indices))
    # one stable order for count (descending) then number (ascending)
    key = counts * n_codes + (n_codes - 1 - torch.arange(n_codes, device=indices.device))
    kept = key.topk(min(k, n_codes)).indices
    return kept, counts[kept]


def group_means(rows: Tensor, indices: Tensor, kept: Tensor, counts: Tensor, n_codes: int) -> Tensor:
    """Means (K, D) of the ``rows`` (P, D) assigned to each kept code; zero for unused ones."""
    slot = torch.full((n_codes,), len(kept), device=rows.device, dtype=torch.int64)
    slot[kept] = torch.arange(len(kept), device=rows.device)
    sums = rows.new_zeros(len(kept) + 1, rows.shape[1]).index_add(0, slot[indices], rows)
    return sums[:-1] / counts.clamp_min(1)[:, None].to(rows.dtype)


class QuantizedAttention(nn.Module):
    """GQA over C channels; codes have width D.

    ``topk``: "codes" keeps the K most frequent codes, each weighted by sqrt(count / total);
    "pixels" is the literal reading: pixels sorted by their code's frequency, the first K kept with
    repetition. ``pairing``: "joint" lets Q's assignment choose the groups and looks K's group means
    up; "rank" ranks Q and K separately, as printed. ``mode``: "quantized", or "full" (all pixels,
    no codes: the ablation). Kept codes are constants; Q and K get their gradient through the mean of
    the pixels assigned to each of them.
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
        **settings: object,
    ) -> None:
        super().__init__()
        self.k, self.topk, self.pairing = k, topk, pairing
        self.quantized = mode == "quantized"
        # a code is all that is used of Q and K, so they are projected straight to code width
        self.width = d if self.quantized else c
        self.query_key = nn.Conv2d(c, 2 * self.width, 1)
        if self.quantized:
            self.from_code = nn.ModuleList(nn.Linear(d, c, bias=False) for _ in range(2))
        self.curve = GrayscaleAware(c, "log" if ga else "none", **settings)  # type: ignore[arg-type]
        self.temperature = nn.Parameter(torch.ones(()))
        self.value = nn.Linear(c, c)
        self.out = nn.Linear(c, c)

    def forward(self, x: Tensor, codes: Tensor, sites: list | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), the residual branch alone; ``codes`` (N, D).

        ``sites`` collects (features, codes) of every look-up for test-time adaptation.
        """
        b, c, h, w = x.shape
        q, key = at_least_fp32(self.query_key(x)).split(self.width, 1)
        if self.quantized:
            q_hat, k_hat, weight = self._kept(q, key, codes, sites)  # B C K, B C K, B K
        else:
            q_hat, k_hat = q.flatten(2), key.flatten(2)  # B C HW
            weight = x.new_full((b, h * w), 1 / (h * w))
        a = self.matrix(q_hat, k_hat, weight)
        # out(A value(x)) is one C x C map per image: three products over pixels become one
        combined = self.out.weight @ a @ self.value.weight  # B C C
        bias = (self.out.weight @ a @ self.value.bias) + self.out.bias  # B C
        rows = torch.baddbmm(bias[:, None], to_rows(x).view(b, h * w, c), combined.transpose(1, 2))
        return to_map(rows.view(b * h * w, c), x)

    def matrix(self, q_hat: Tensor, k_hat: Tensor, weight: Tensor) -> Tensor:
        """A = softmax(GA_log(Q^) K^T / sqrt(C)), (B, C, C), rows over Q's channels.

        The product is a weighted mean over the slots times C, not a sum, so that its size depends
        neither on K nor on the image; a learned temperature sets the sharpness.
        """
        c = q_hat.shape[1]
        q_hat = self.curve(q_hat, weight) * weight[:, None]
        scores = q_hat @ k_hat.transpose(1, 2)
        return torch.softmax(self.temperature * math.sqrt(c) * scores, dim=-1)

    def _kept(
        self, q: Tensor, key: Tensor, codes: Tensor, sites: list | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Q^ and K^ (B, C, K) and their weights (B, K), which sum to 1 over the used slots."""
        asked = query(q, codes)
        key_indices = None
        if sites is not None:
            sites += [(q, codes), (key, codes)]
        if self.pairing == "rank":
            key_indices = nearest_code(to_rows(key), codes)
        n, out = len(codes), []
        per_image = asked.indices.view(len(q), -1)
        for i in range(len(q)):
            rows_q, rows_k = to_rows(q[i : i + 1]), to_rows(key[i : i + 1])
            own = per_image[i]
            kept, counts = top_codes(own, n, self.k)
            mean_q = group_means(rows_q, own, kept, counts, n)
            code_q = mean_q + (codes[kept] - mean_q).detach()
            if key_indices is None:
                mean_k = group_means(rows_k, own, kept, counts, n)
                nearest = codes[nearest_code(mean_k, codes)]
                counts_k = counts
            else:
                own_k = key_indices.view(len(q), -1)[i]
                kept_k, counts_k = top_codes(own_k, n, self.k)
                mean_k = group_means(rows_k, own_k, kept_k, counts_k, n)
                nearest = codes[kept_k]
            code_k = mean_k + (nearest - mean_k).detach()
            out.append(self._weighted(code_q, code_k, counts, counts_k, q.shape[-2] * q.shape[-1]))
        q_hat, k_hat, weight = (torch.stack(t) for t in zip(*out, strict=True))
        return (
            self.from_code[0](q_hat).transpose(1, 2),
            self.from_code[1](k_hat).transpose(1, 2),
            weight,
        )

    def _weighted(
        self, code_q: Tensor, code_k: Tensor, counts_q: Tensor, counts_k: Tensor, pixels: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Slots and weights: by count ("codes"), or one slot of weight 1/K per pixel ("pixels")."""
        if self.topk == "codes":
            weight = (counts_q * counts_k).to(code_q.dtype).sqrt()
            return code_q, code_k, weight / weight.sum().clamp_min(1)
        # the kept codes hold at least this many pixels: all of them, or one for each of the K codes
        take = min(self.k, pixels)
        slots = [
            torch.repeat_interleave(code, count, dim=0)[:take]
            for code, count in ((code_q, counts_q), (code_k, counts_k))
        ]
        return slots[0], slots[1], code_q.new_full((take,), 1 / take)
