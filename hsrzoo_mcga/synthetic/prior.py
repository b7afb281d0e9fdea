"""A small prior over maps of code indices, from coarse to fine.

One causal network a scale. The probabilities of a code are conditioned on the codes above and to the left
of it (PixelCNN, van den Oord et al. 2016) and, below the coarsest scale, on the coarser map around it, so
maps of all scales are drawn one index at a time. The input of the networks are code *vectors*, in which
similar codes are close, not one-hot indices.

Layers do not pad: a map is padded once with zeros, and a further channel is 1 inside of it. An index
depends on one window of the padded map and nothing else, so drawing it costs one window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo_mcga.stage1.decoding import Maps

NO_CODE = -1
"""Index of a cell without data."""
_FIRST = 2
"""Rows above, and columns on either side, that the first layer reaches."""


class ScalePrior(nn.Module):
    """Logits of the codes at one scale.

    ``codes``: (N, D), the table of that scale; ``context``: (N, D'), that of the next coarser one or None.
    A first layer of reach 2 to ``width`` channels; ``blocks`` residual blocks of reach 1 follow.
    """

    def __init__(self, codes: Tensor, context: Tensor | None, width: int = 48, blocks: int = 3) -> None:
        super().__init__()
        self.reach = _FIRST + blocks
        self.register_buffer("vectors", _padded_vectors(codes), persistent=False)
        self.first = nn.Conv2d(codes.shape[1] + 1, width, (_FIRST + 1, 2 * _FIRST + 1))
        self.around = None
        if context is not None:
            self.register_buffer("context", _padded_vectors(context), persistent=False)
            self.around = nn.Conv2d(context.shape[1] + 1, width, 2 * _FIRST + 1)
        self.mix = nn.ModuleList(nn.Conv2d(width, width, (2, 3)) for _ in range(blocks))
        self.leave = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(blocks))
        self.head = nn.Conv2d(width, len(codes), 1)
        self.register_buffer("before", _causal(_FIRST + 1, 2 * _FIRST + 1, itself=False), persistent=False)
        self.register_buffer("so_far", _causal(2, 3, itself=True), persistent=False)

    def forward(self, padded: Tensor, coarser: Tensor | None = None) -> Tensor:
        """Indices (B, h + r, w + 2r) as :meth:`pad` gives them, r = ``reach``, and the coarser ones as
        :meth:`pad_context` does -> logits (B, N, h, w)."""
        weight = self.first.weight * self.get_buffer("before")
        x = F.conv2d(self._vectors("vectors", padded), weight, self.first.bias)
        if self.around is not None and coarser is not None:
            # the coarser map is known below and to the right as well: pad_context() adds two rows
            x = x + self.around(self._vectors("context", coarser))
        for mix, leave in zip(self.mix, self.leave, strict=True):
            weight = mix.get_parameter("weight") * self.get_buffer("so_far")
            y = F.conv2d(F.gelu(x), weight, mix.get_parameter("bias"))
            x = x[:, :, 1:, 1:-1] + leave(F.gelu(y))
        return self.head(F.gelu(x))

    def pad(self, indices: Tensor) -> Tensor:
        """(B, h, w) with the padding that this scale needs: ``reach`` above and on both sides."""
        return F.pad(indices, (self.reach, self.reach, self.reach, 0), value=NO_CODE)

    def pad_context(self, coarser: Tensor) -> Tensor:
        """The coarser map (B, h/2, w/2) at this scale's positions, padded: two rows below as well."""
        doubled = coarser.repeat_interleave(2, 1).repeat_interleave(2, 2)
        return F.pad(doubled, (self.reach, self.reach, self.reach, _FIRST), value=NO_CODE)

    def _vectors(self, table: str, indices: Tensor) -> Tensor:
        """(B, h, w) -> (B, D + 1, h, w); :data:`NO_CODE` is the last row, of zeros."""
        return self.get_buffer(table)[indices].permute(0, 3, 1, 2)


class CodePrior(nn.Module):
    """Priors of all scales of one source; ``codes``: tables of scales 1 .. S, (N, D_i) each."""

    def __init__(self, codes: Sequence[Tensor]) -> None:
        super().__init__()
        coarser = [*codes[1:], None]
        self.scales = nn.ModuleList(ScalePrior(c, n) for c, n in zip(codes, coarser, strict=True))

    def logits(self, maps: Maps, place: int) -> Tensor:
        """Of every index of ``maps[place]``: (B, N, h, w)."""
        prior: Any = self.scales[place]  # a ScalePrior
        last = place + 1 == len(self.scales)
        context = None if last else prior.pad_context(maps[place + 1])
        return prior(prior.pad(maps[place]), context)

    def losses(self, maps: Maps) -> list[Tensor]:
        """Cross-entropy in nats an index at scales 1 .. S; cells without data do not count."""
        return [
            F.cross_entropy(self.logits(maps, place), maps[place], ignore_index=NO_CODE)
            for place in range(len(self.scales))
        ]

    @torch.inference_mode()
    def sample(self, count: int, height: int, width: int, generator: torch.Generator) -> Maps:
        """Maps of ``count`` images of ``height`` x ``width`` pixels (multiples of 2^S), coarse to fine."""
        maps: Maps = []
        for place in reversed(range(len(self.scales))):
            size = (height >> (place + 1), width >> (place + 1))
            maps.insert(0, self._draw(place, count, size, maps[0] if maps else None, generator))
        return maps

    def _draw(
        self,
        place: int,
        count: int,
        size: tuple[int, int],
        coarser: Tensor | None,
        generator: torch.Generator,
    ) -> Tensor:
        prior: Any = self.scales[place]  # a ScalePrior
        reach, across = prior.reach, 2 * prior.reach + 1
        canvas = prior.pad(torch.full((count, *size), NO_CODE))
        around = None if coarser is None else prior.pad_context(coarser)
        for top in range(size[0]):
            for left in range(size[1]):
                columns = slice(left, left + across)
                window = canvas[:, top : top + reach + 1, columns]
                below = None if around is None else around[:, top : top + reach + 1 + _FIRST, columns]
                p = prior(window, below)[:, :, 0, 0].softmax(1)
                canvas[:, top + reach, left + reach] = torch.multinomial(p, 1, generator=generator)[:, 0]
        return canvas[:, reach:, reach : reach + size[1]].contiguous()


def _padded_vectors(codes: Tensor) -> Tensor:
    """(N + 1, D + 1): standardised codes with a flag of 1, and zeros for :data:`NO_CODE`."""
    codes = codes.detach()
    vectors = (codes - codes.mean(0)) / codes.std(0).clamp_min(1e-6)
    return torch.cat([F.pad(vectors, (0, 1), value=1.0), torch.zeros(1, codes.shape[1] + 1)])


def _causal(rows: int, columns: int, *, itself: bool) -> Tensor:
    """(rows, columns) of 0 and 1 for a kernel whose own position is the middle of its last row."""
    mask = torch.ones(rows, columns)
    mask[-1, columns // 2 + int(itself) :] = 0
    return mask
