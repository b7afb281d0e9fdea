"""The mixture of codebooks (MoC): a frozen table of codes per scale, and what it is asked.

Sizes: at scale i features have width D_i and N_i codes; a mixture of n sources has N_i = 512 n.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hsrzoo.layers.pixel_rows import at_least_fp32, to_map, to_rows
from hsrzoo_mcga.codebook.search import nearest_code, squared_distances

CODES_PER_SOURCE = 512


@dataclass
class Query:
    """One look-up: features and their nearest codes."""

    features: Tensor
    """(B, D, H, W), with gradient."""
    indices: Tensor
    """(B*H*W,) int64, row-major over B, H, W."""
    codes: Tensor
    """(N, D), the table that was asked."""

    def codes_map(self) -> Tensor:
        """The nearest codes as (B, D, H, W), with gradient to the table where it is trained."""
        return to_map(self.codes[self.indices], self.features)

    def straight_through(self) -> Tensor:
        """The nearest codes, with the gradient passed on to the features (van den Oord 2017)."""
        if not torch.is_grad_enabled():
            return self.codes_map()
        return self.features + (self.codes_map() - self.features).detach()


def query(features: Tensor, codes: Tensor, permuted: bool = False) -> Query:
    """Look up every pixel of ``features`` (B, D, H, W) in ``codes`` (N, D), in fp32 under autocast too."""
    features = at_least_fp32(features)
    return Query(features, found_code(to_rows(features), codes, permuted), codes)


def found_code(features: Tensor, codes: Tensor, permuted: bool = False) -> Tensor:
    """Which of ``codes`` (N, D) is fetched for each of ``features`` (M, D): indices (M,) int64.

    The nearest one. ``permuted``, a control: the one that :func:`another_code` puts in its place, so that
    what is searched and what is fetched no longer belong together.
    """
    nearest = nearest_code(features, codes)
    return another_code(len(codes)).to(nearest.device)[nearest] if permuted else nearest


@functools.cache
def another_code(n: int) -> Tensor:
    """A fixed permutation (N,) int64 of ``n`` codes that leaves none in its place: one random cycle."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    return torch.empty_like(order).scatter_(0, order, order.roll(-1))


def codes_like(codes: Tensor, generator: torch.Generator) -> Tensor:
    """Random codes (N, D): normal, with the mean and the covariance of the rows of ``codes`` (N, D).

    Sums of all rows about their mean with normal weights are such draws, and need no factorisation.
    """
    rows = codes.double()
    mean, n = rows.mean(0), len(rows)
    weights = torch.randn(n, n, generator=generator, dtype=torch.float64) / max(n - 1, 1) ** 0.5
    return (mean + weights @ (rows - mean)).to(codes.dtype)


def vq_losses(q: Query, beta: float) -> Tensor:
    """Codebook term + beta x commitment term, both means over elements (mcga algorithm 1)."""
    codes = q.codes_map()
    codebook = (codes - q.features.detach()).square().mean()
    commitment = (codes.detach() - q.features).square().mean()
    return codebook + beta * commitment


def usage(indices: Tensor, n_codes: int) -> dict[str, float]:
    """Share of codes that were used and the perplexity of their use, exp(entropy) in codes."""
    counts = torch.bincount(indices, minlength=n_codes).double()
    p = counts / counts.sum().clamp_min(1)
    entropy = -(p * p.clamp_min(1e-300).log()).sum()
    return {"usage": float((counts > 0).double().mean()), "perplexity": float(entropy.exp())}


def query_entropy(features: Tensor, codes: Tensor, temperature: float, max_pixels: int) -> Tensor:
    """Mean entropy in nats of P = softmax(-d / temperature) over the codes, a scalar.

    d: squared L2 distances. At most ``max_pixels`` pixels on an even stride are used, since all
    distances would take pixels x codes numbers.
    """
    rows = to_rows(features)
    rows = rows[:: -(-len(rows) // max_pixels)]
    log_p = torch.log_softmax(-squared_distances(rows, codes) / temperature, dim=1)
    return -(log_p.exp() * log_p).sum(1).mean()


class MixtureOfCodebooks(nn.Module):
    """Frozen codes per scale, as buffers ``codes_1`` .. ``codes_S`` of shape (N, D_i).

    Fresh codes are N(0, 1); trained ones, and random ones drawn like them, are copied in by
    ``Start.state``.
    """

    def __init__(self, n_codes: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        for i, d in enumerate(widths, 1):
            self.register_buffer(f"codes_{i}", torch.randn(n_codes, d))

    def at(self, scale: int) -> Tensor:
        """The table of ``scale`` (1 = half resolution)."""
        return self.get_buffer(f"codes_{scale}")
