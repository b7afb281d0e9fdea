"""The U-Nets of MST++ (``mst_plus_plus.py``), MST-L, R3ST, HySAT and SSTHyper, and what MSFN shares.

Features are (B, H, W, K) between layers, as in ``mst_plus_plus_layers.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from hsrzoo_baselines.layers import conv, init_layers, padded
from hsrzoo_baselines.mst_plus_plus_layers import WIDTH, AttentionBlocks, by_strips, convolve, mix_channels

MULTIPLE = 8
"""H and W are padded to this, as the official codes do; two halvings need only 4."""


class UNet(nn.Module):
    """Attention blocks at full, half and quarter resolution and back, 1, 2 and 4 times as wide."""

    encoder_layers: nn.ModuleList
    bottleneck: nn.Module
    decoder_layers: nn.ModuleList

    def add_levels(
        self,
        counts: Sequence[int] = (1, 1, 1),
        blocks: Callable[[int, int], nn.Module] = AttentionBlocks,
        *,
        maps: int = 1,
        width: int = WIDTH,
        bias: bool = False,
    ) -> None:
        """Make the layers: ``counts`` blocks at each resolution, the full one first.

        ``blocks(K, count)`` makes the blocks of a level. ``maps``: how many maps are halved on the way
        down, 2 with a mask. ``width``: channels of the first level. ``bias``: whether the convolutions
        between levels have one; those that double the resolution always do.
        """
        first, second, lowest = counts
        levels = (width, first), (2 * width, second)
        self.encoder_layers = nn.ModuleList(
            nn.ModuleList([blocks(k, count), *(down(k, bias) for _ in range(maps))]) for k, count in levels
        )
        self.bottleneck = blocks(4 * width, lowest)
        self.decoder_layers = nn.ModuleList(
            nn.ModuleList(
                [
                    nn.ConvTranspose2d(2 * k, k, 2, stride=2),
                    conv(2 * k, k, 1, bias=bias),
                    blocks(k, count),
                ]
            )
            for k, count in reversed(levels)
        )

    def through_levels(self, x: Tensor, mask: Sequence[Tensor] = ()) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K); H and W multiples of 4. ``mask``: MST-L's (B or 1, H, W, K)."""
        kept = []
        for layer in self.encoder_layers:
            blocks, *downs = layer.children()
            x = blocks(x, *mask)
            kept.append((x, *mask))
            x, *mask = [
                by_strips(partial(convolve, down), y, halo=1, down=2, widest=y.shape[-1])
                for down, y in zip(downs, kept[-1], strict=True)
            ]
        x = self.bottleneck(x, *mask)
        for layer in self.decoder_layers:
            up, fuse, blocks = layer.children()
            skip, *mask = kept.pop()
            x = by_strips(partial(_fused, up, fuse), skip, x, halo=0, widest=2 * skip.shape[-1])
            del skip  # a map of full size: free it before the blocks
            x = blocks(x, *mask)
        return x


def down(channels: int, bias: bool = False) -> nn.Conv2d:
    """The convolution from a level to the next coarser one, twice as wide."""
    return nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1, bias=bias)


def _fused(up: nn.Module, fuse: nn.Module, skip: Tensor, coarse: Tensor) -> Tensor:
    """Features of a coarser level, upsampled and fused with those of the encoder."""
    return mix_channels(fuse, torch.cat([convolve(up, coarse), skip], dim=-1))


class Stage(UNet):
    """One U of MST++ with a skip around it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = conv(WIDTH, WIDTH)
        self.add_levels()
        self.mapping = conv(WIDTH, WIDTH)
        init_layers(self, nn.Linear)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, 31) -> (B, H, W, 31); H and W multiples of 4."""
        features = self.through_levels(by_strips(self._embedded, x, halo=1, widest=WIDTH))
        return by_strips(self._mapped, features, x, halo=1, widest=WIDTH)

    def _embedded(self, x: Tensor) -> Tensor:
        return convolve(self.embedding, x)

    def _mapped(self, features: Tensor, x: Tensor) -> Tensor:
        return convolve(self.mapping, features) + x


def in_sequence(
    conv_in: nn.Module, stages: Iterable[nn.Module], head: nn.Conv2d, rgb: Tensor, multiple: int, skip: bool
) -> Tensor:
    """U-Nets one after the other between two convolutions, (B, 3, H, W) -> (B, C, H, W).

    ``multiple``: of which H and W are padded. ``skip``: whether the output of ``conv_in`` is added to that
    of ``head``, the last convolution.
    """
    height, width = rgb.shape[-2:]
    rgb = padded(rgb, multiple)
    rgb = rgb.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
    features = by_strips(partial(convolve, conv_in), rgb, halo=1, widest=head.in_channels)
    first = features if torch.is_grad_enabled() else None
    for stage in stages:
        features = stage(features)

    def last(features: Tensor, rgb: Tensor) -> Tensor:
        cube = convolve(head, features)
        if not skip:
            return cube
        # without gradients computed again rather than stored through all stages
        return cube + (convolve(conv_in, rgb) if first is None else first)

    cube = by_strips(last, features, rgb, halo=1, widest=2 * head.in_channels)
    return cube.permute(0, 3, 1, 2)[:, :, :height, :width]
