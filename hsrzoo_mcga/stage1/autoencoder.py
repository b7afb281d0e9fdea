"""Stage 1: the multi-scale VQ-VAE that learns codebooks from cubes (MCGA algorithms 1 and 2).

Letters: C bands, M latent width after the lift (32 unless set), D_i = M / 2^i code width at scale i.
Clean-room implementation from the paper; what it leaves open is decided here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.layers.activations import gelu
from hsrzoo.layers.pixel_rows import on_pixels
from hsrzoo_mcga.codebook.lookup import CODES_PER_SOURCE, Codebook, Query


def kept_bands(c: int) -> int:
    """How many of ``c`` bands the mask keeps: 2^floor(log2(c / 2)), at least 1."""
    return max(1, 1 << ((c // 2).bit_length() - 1)) if c >= 2 else 1


def code_widths(latent: int, scales: int) -> tuple[int, ...]:
    """D_1 .. D_S = latent / 2^i."""
    return tuple(latent >> i for i in range(1, scales + 1))


def upsample(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear to the height and width of ``like``."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


class Reconstruction(nn.Module):
    """Algorithm 2: features and their codes at every scale -> cube.

    For i = S..1: R_i = Upsample(Concat(H_i, Rq_i)), f = Concat(f, conv3x3(R_i)); then a 3x3
    convolution to C bands. "Upsample" halves the width (2 D_i -> D_i) by a 1x1 convolution before
    the bilinear step, which commutes with it and costs less.
    """

    def __init__(self, widths: tuple[int, ...], bands: int) -> None:
        super().__init__()
        self.narrow = nn.ModuleList(nn.Conv2d(2 * d, d, 1) for d in widths)
        self.refine = nn.ModuleList(nn.Conv2d(d, d, 3, padding=1) for d in widths)
        self.head = nn.Conv2d(sum(widths), bands, 3, padding=1)

    def join(self, i: int, features: Tensor, codes: Tensor) -> Tensor:
        """Features and their codes at scale i + 1, (B, D, h, w) each -> (B, D, h, w)."""
        return on_pixels(self.narrow[i], torch.cat([features, codes], 1))

    def refine_all(self, joined: Sequence[Tensor], like: Tensor) -> Tensor:
        """All scales, finest first, at the size of ``like``: the input (B, sum D_i, H, W) of the head."""
        parts = [gelu(refine(upsample(x, like))) for x, refine in zip(joined, self.refine, strict=True)]
        return torch.cat(parts[::-1], 1)

    def forward(self, queries: list[Query], like: Tensor) -> Tensor:
        """``queries[i - 1]``: look-up at scale i; -> (B, C, H, W) with the size of ``like``."""
        joined = [self.join(i, q.features, q.straight_through()) for i, q in enumerate(queries)]
        return self.head(self.refine_all(joined, like))


class SpectralAutoencoder(nn.Module):
    """Stage 1 for one source of C bands: mask, lift, quantize at S scales, reconstruct.

    The lift is a 1x1 convolution whose weights belong to *bands*: a hidden band contributes zero,
    so a latent channel has the same meaning for every mask. ``mask="drop-ordered"`` is the literal
    reading of the paper: the kept bands are packed in order into the first channels.
    """

    def __init__(
        self,
        bands: int,
        scales: int = 2,
        latent: int = 32,
        n_codes: int = CODES_PER_SOURCE,
        mask: str = "by-band",
    ) -> None:
        super().__init__()
        self.bands, self.scales, self.mask = bands, scales, mask
        self.kept = kept_bands(bands)
        widths = self.widths = code_widths(latent, scales)
        # by band: the values of the visible bands, and which bands those are
        self.lift = nn.Conv2d(self.kept if mask == "drop-ordered" else 2 * bands, latent, 1)
        self.lift_out = nn.Conv2d(latent, latent, 1)
        sources = (latent, *widths[:-1])
        self.down = nn.ModuleList(
            nn.Conv2d(c, d, 2**i, stride=2**i)
            for i, (c, d) in enumerate(zip(sources, widths, strict=True), 1)
        )
        self.back = nn.ModuleList(nn.Conv2d(d, d, 3, padding=1) for d in widths[:-1])
        self.codes = nn.ParameterList(nn.Parameter(torch.randn(n_codes, d)) for d in widths)
        self.reconstruction = Reconstruction(widths, bands)

    def lift_bands(self, cube: Tensor, kept: Tensor) -> Tensor:
        """(B, C, H, W) with the kept bands (B, m) int64 -> (B, M, H, W)."""
        if self.mask == "drop-ordered":
            index = kept.sort(1).values[:, :, None, None].expand(-1, -1, *cube.shape[-2:])
            return self.lift_out(gelu(self.lift(cube.gather(1, index))))
        visible = torch.zeros(cube.shape[:2], device=cube.device, dtype=cube.dtype).scatter_(1, kept, 1.0)
        visible = visible[:, :, None, None].expand_as(cube)
        # scaled as dropout is, so that any number of visible bands gives sums of one size
        scale = self.bands / kept.shape[1]
        return self.lift_out(gelu(self.lift(torch.cat([cube * visible, visible], 1) * scale)))

    def encode(self, cube: Tensor, kept: Tensor) -> list[Query]:
        """Algorithm 1: the look-ups of all scales, finest first."""
        f = self.lift_bands(cube, kept)
        queries: list[Query] = []
        for i, down in enumerate(self.down):
            q = Codebook(self.codes[i]).query(down(f))
            queries.append(q)
            if i < len(self.back):
                f = self.back[i](upsample(q.straight_through(), cube))
        return queries

    def forward(self, cube: Tensor, kept: Tensor) -> tuple[Tensor, list[Query]]:
        """(B, C, H, W) and kept bands (B, m) -> reconstruction (B, C, H, W) and the look-ups.

        H and W must be multiples of 2^S.
        """
        queries = self.encode(cube, kept)
        return self.reconstruction(queries, cube), queries

    def draw_mask(self, batch: int, generator: torch.Generator) -> Tensor:
        """A random choice of m bands for each sample, (B, m) int64."""
        scores = torch.rand(batch, self.bands, generator=generator)
        return scores.argsort(1)[:, : self.kept]

    def even_mask(self, batch: int) -> Tensor:
        """m evenly spaced bands, (B, m) int64: the mask of the evaluation."""
        even = torch.linspace(0, self.bands - 1, self.kept).round().long()
        return even.expand(batch, -1)
