"""Looking features up in codebooks: queries, their losses and use, and the mixture of codebooks (MoC).

Letters: B batch, D code width, N codes, H W pixels. At scale i features have width D_i; a mixture of n
sources has N = 512 n codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hsrzoo.layers.pixel_rows import at_least_fp32, to_map, to_rows
from hsrzoo_mcga.codebook.search import nearest_code

CODES_PER_SOURCE = 512
Site = tuple[Tensor, Tensor]
"""Features (B, D, H, W) of a look-up and the codes (N, D) that they are looked up in."""


@dataclass
class Query:
    """One look-up: features and their nearest codes."""

    features: Tensor
    """(B, D, H, W), with gradient."""
    indices: Tensor
    """(B*H*W,) int64, row-major over B, H, W."""
    codes: Tensor
    """(N, D), the codebook."""

    def codes_map(self) -> Tensor:
        """The nearest codes as (B, D, H, W), with gradient to the codebook where it is trained."""
        return to_map(self.codes[self.indices], self.features)

    def straight_through(self) -> Tensor:
        """The nearest codes, with the gradient passed on to the features (van den Oord 2017)."""
        if not torch.is_grad_enabled():
            return self.codes_map()
        return self.features + (self.codes_map() - self.features).detach()


class Codebook:
    """The codes (N, D) of one scale during one run of a network. ``sites``, a list, collects what is looked
    up, for test-time adaptation."""

    def __init__(self, codes: Tensor, sites: list[Site] | None = None) -> None:
        self.codes, self.sites = codes, sites

    def find(self, rows: Tensor) -> Tensor:
        """Indices (M,) int64 of the nearest codes of ``rows`` (M, D)."""
        return nearest_code(rows, self.codes)

    def query(self, features: Tensor) -> Query:
        """Look up every pixel of ``features`` (B, D, H, W), in fp32 under autocast too."""
        features = at_least_fp32(features)
        self.record(features)
        return Query(features, self.find(to_rows(features)), self.codes)

    def record(self, features: Tensor) -> None:
        """Add ``features`` (B, D, H, W) to the sites, if these are collected."""
        if self.sites is not None:
            self.sites.append((features, self.codes))


class MixtureOfCodebooks(nn.Module):
    """Frozen codes per scale, as buffers ``codes_1`` .. ``codes_S`` of shape (N, D_i).

    They start as N(0, 1); learned ones, and random ones drawn like them, are copied in by ``Start.state``.
    """

    def __init__(self, n_codes: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        for i, d in enumerate(widths, 1):
            self.register_buffer(f"codes_{i}", torch.randn(n_codes, d))

    def at(self, scale: int) -> Tensor:
        """The codes of ``scale`` (1 = half resolution), (N, D)."""
        return self.get_buffer(f"codes_{scale}")

    def codebook(self, scale: int, sites: list[Site] | None = None) -> Codebook:
        """The codebook of ``scale`` for one run."""
        return Codebook(self.at(scale), sites)


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


def squared_distances(features: Tensor, codes: Tensor) -> Tensor:
    """Squared L2 distances (M, N) between ``features`` (M, D) and ``codes`` (N, D); differentiable."""
    cross = features @ codes.t()
    return ((features * features).sum(1, keepdim=True) - 2 * cross + (codes * codes).sum(1)).clamp_min(0)


def query_entropy(features: Tensor, codes: Tensor, temperature: float, max_pixels: int) -> Tensor:
    """Mean entropy in nats of P = softmax(-d / temperature) over the codes, a scalar.

    d: squared L2 distances. At most ``max_pixels`` pixels on an even stride are used, since all
    distances would take pixels x codes numbers.
    """
    rows = to_rows(features)
    rows = rows[:: -(-len(rows) // max_pixels)]
    log_p = torch.log_softmax(-squared_distances(rows, codes) / temperature, dim=1)
    return -(log_p.exp() * log_p).sum(1).mean()
