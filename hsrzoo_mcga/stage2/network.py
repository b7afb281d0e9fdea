"""Stage 2: GANet, RGB to cube through the frozen mixture of codebooks.

Letters: B batch, C bands, S scales, W_i network width and D_i code width at scale i; scale i has
H/2^i x W/2^i pixels. Clean-room implementation of the MCGA paper; the README of this package says what
the paper leaves open and what was decided. ``ablations.py`` has parts that replace those of this file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.layers.activations import gelu
from hsrzoo.layers.pixel_rows import on_pixels
from hsrzoo.layers.whole_image import in_strips
from hsrzoo_mcga.codebook.lookup import CODES_PER_SOURCE, Codebook, MixtureOfCodebooks, Site
from hsrzoo_mcga.codebook.search import engine_for
from hsrzoo_mcga.stage1.autoencoder import Reconstruction, code_widths, upsample
from hsrzoo_mcga.stage2.attention import QuantizedAttention, apply_affine
from hsrzoo_mcga.stage2.grayscale import GrayscaleFeedForward


@dataclass(frozen=True)
class Settings:
    """Sizes of the network, and our additions to the paper's. ValueError names an impossible value."""

    widths: tuple[int, ...] = (48, 96)
    """W_1 .. W_S."""
    blocks: tuple[int, ...] = (1, 2)
    """GA blocks at each scale, finest first."""
    stem: int = 32
    """Width at full resolution."""
    latent: int = 32
    """Common latent width of stage 1; D_i = latent / 2^i."""
    n_codes: int = 2 * CODES_PER_SOURCE
    """Codes at every scale: 512 per source in the mixture."""
    k: int = 256
    """Slots that the attention keeps (table 4); more than ``n_codes`` need ``topk="pixels"``."""
    count_stride: int = 1
    """Every how many rows and columns the attention counts codes; above 1 is faster and inexact."""
    gamma_share: float = 0.5
    """Share of the feed-forward's channels that go through gamma, the rest through log (figure 3)."""
    features: Literal["free", "normed", "all-normed"] = "free"
    """"free": the features of a scale are the sum of its branches, and may grow without bounds; "normed":
    each pixel's are normalised over the channels as they leave the scale; "all-normed": also as the encoder
    hands them over, which keeps training steady."""
    reconstruction: Literal["finetuned", "frozen"] = "finetuned"
    """Whether stage 1's weights of algorithm 2 are trained further."""
    shortcut: bool = True
    """Linear RGB-to-bands path at full resolution."""
    head: int = 96
    """Width of the pointwise full-resolution head; 0: none."""
    relative: bool = False
    """Whether spectra are learned relative to the brightness: the network sees (x + 1e-4)^0.45 of RGB x,
    and its cube is multiplied by sum(x) + 0.01 of the pixel."""

    def __post_init__(self) -> None:
        check_choices(self)
        scales = len(self.widths)
        if len(self.blocks) != scales:
            raise ValueError(f"blocks must name {scales} scales as widths does, not {len(self.blocks)}")
        if self.latent >> scales < 1:
            raise ValueError(f"latent {self.latent} is too narrow for {scales} scales")
        if self.count_stride not in (1, 2, 4, 8):
            raise ValueError(f"count_stride must be 1, 2, 4 or 8, not {self.count_stride}")
        if not 0 <= self.gamma_share <= 1:
            raise ValueError(f"gamma_share must lie in [0, 1], not {self.gamma_share}")
        if self.k < 1 or self.n_codes < 1:
            raise ValueError(f"k and n_codes must be at least 1, not {self.k} and {self.n_codes}")


def check_choices(settings: Any) -> None:
    """Raise ValueError naming the first Literal field of a dataclass with another value."""
    for name, kind in get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        if get_origin(kind) is Literal and value not in get_args(kind):
            raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, not {value!r}")


class PixelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(c))
        self.bias = nn.Parameter(torch.zeros(c))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1)  # B H W C
        return F.layer_norm(rows, self.weight.shape, self.weight, self.bias).permute(0, 3, 1, 2)  # B C H W


class GABlock(nn.Module):
    """x + GQA(norm x), then x + feed-forward(norm x)."""

    def __init__(self, c: int, d: int, s: Settings, parts: Parts) -> None:
        super().__init__()
        self.attention: QuantizedAttention | None = None
        if parts.attention is not None:
            self.norm_attention = PixelNorm(c)
            self.attention = parts.attention(c, d, s.k, s.count_stride)
            shrink(self.attention.out)
        self.norm_feed = PixelNorm(c)
        self.feed = parts.feed(c, s.gamma_share)
        shrink(self.feed.out)

    def forward(self, x: Tensor, codebook: Codebook) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W): what depends on the whole image first, then strip by strip.
        Without gradients ``x`` may be overwritten."""
        if self.attention is not None:
            norm = self.norm_attention
            affine = self.attention.affine(x, codebook, before=norm)
            x = in_strips(lambda part: part + apply_affine(norm(part), *affine), x, reuse=True)
        s = in_strips(lambda part: self.feed.features(self.norm_feed(part)), x, halo=1)  # B 2C H W
        curves = self.feed.curves(s)
        return in_strips(lambda part, own: part + self.feed.combine(own, curves), x, s, reuse=True)


class CodeFusion(nn.Module):
    """H -> 1x1 to code width -> nearest code -> 1x1 fusion of H and its code, as a residual."""

    def __init__(self, c: int, d: int) -> None:
        super().__init__()
        self.to_code = nn.Conv2d(c, d, 1)
        self.fuse = nn.Conv2d(c + d, c, 1)
        shrink(self.fuse)

    def forward(self, h: Tensor, codebook: Codebook) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W); without gradients ``h`` may be overwritten."""

        def fuse(part: Tensor) -> Tensor:
            codes = codebook.query(on_pixels(self.to_code, part)).straight_through()  # B D H W
            return part + on_pixels(self.fuse, torch.cat([part, codes], 1))

        return query_in_strips(fuse, h, codebook, reuse=True)


class PointwiseHead(nn.Module):
    """Full-resolution 1x1 layers on [upsampled decoder features, stem, RGB] -> C bands."""

    def __init__(self, context: int, stem: int, width: int, bands: int) -> None:
        super().__init__()
        # a 1x1 layer commutes with bilinear upsampling: the context is narrowed before it
        self.context = nn.Conv2d(context, width, 1)
        self.local = nn.Conv2d(stem + 3, width, 1, bias=False)
        self.hidden = nn.Conv2d(width, width, 1)
        self.out = nn.Conv2d(width, bands, 1)
        shrink(self.out)

    def from_rgb(self, stem: nn.Conv2d) -> tuple[Tensor, Tensor]:
        """``local`` of [stem(RGB), RGB] as one 3x3 convolution: its weight and bias.

        Both are linear, and so is their composition, which spares the stem at full resolution.
        """
        own, direct = self.local.weight.split([stem.out_channels, 3], dim=1)  # N K 1 1, N 3 1 1
        weight = torch.einsum("nk,kchw->nchw", own[:, :, 0, 0], stem.weight)  # N 3 3 3
        return weight + F.pad(direct, (1, 1, 1, 1)), own[:, :, 0, 0] @ stem.bias

    def forward(self, h: Tensor, rgb: Tensor, from_rgb: tuple[Tensor, Tensor], own: slice) -> Tensor:
        """``h``: H_1, at half resolution; ``own``: the rows wanted."""
        x = upsample(on_pixels(self.context, h), rgb).add_(F.conv2d(rgb, *from_rgb, padding=1))
        return on_pixels(self.out, gelu(on_pixels(self.hidden, gelu(x[:, :, own]))))


@dataclass(frozen=True)
class Parts:
    """Constructors of the parts that ablations replace; the defaults are those of the paper."""

    codebooks: Callable[[int, tuple[int, ...]], Any] = MixtureOfCodebooks
    fusion: Callable[[int, int], nn.Module] | None = CodeFusion
    attention: Callable[[int, int, int, int], QuantizedAttention] | None = QuantizedAttention
    feed: Callable[[int, float], GrayscaleFeedForward] = GrayscaleFeedForward


class GANet(nn.Module):
    """MCGA stage 2: (B, 3, H, W) -> (B, C, H, W); H and W multiples of 2^S."""

    def __init__(self, bands: int, settings: Settings, parts: Parts | None = None) -> None:
        super().__init__()
        s = self.settings = settings
        parts = parts or Parts()
        w, d = s.widths, code_widths(s.latent, len(s.widths))
        self.scales, self.bands = len(w), bands
        self.moc = parts.codebooks(s.n_codes, d)
        self.stem = nn.Conv2d(3, s.stem, 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip((s.stem, *w), w, strict=False)
        )
        self.up = nn.ModuleList(nn.Conv2d(w[i + 1], w[i], 3, padding=1) for i in range(len(w) - 1))
        self.fusion = nn.ModuleList()
        if parts.fusion is not None:
            self.fusion.extend(parts.fusion(c, di) for c, di in zip(w, d, strict=True))
        self.blocks = nn.ModuleList(
            nn.ModuleList(GABlock(c, di, s, parts) for _ in range(n))
            for c, di, n in zip(w, d, s.blocks, strict=True)
        )
        self.enter = nn.ModuleList(PixelNorm(c) for c in w if s.features == "all-normed")
        self.leave = nn.ModuleList(PixelNorm(c) for c in w if s.features != "free")
        self.to_code = nn.ModuleList(nn.Conv2d(c, di, 1) for c, di in zip(w, d, strict=True))
        self.reconstruction = Reconstruction(d, bands)
        if s.reconstruction == "frozen":
            self.reconstruction.requires_grad_(False)
        self.shortcut = nn.Conv2d(3, bands, 1) if s.shortcut else None
        self.head = PointwiseHead(w[0], s.stem, s.head, bands) if s.head else None

    def forward(self, rgb: Tensor, sites: list[Site] | None = None) -> Tensor:
        """RGB in [0, 1] -> cube; ``sites``, a list, collects features and codes of every look-up."""
        rgb = in_strips(_channels_last, rgb)
        seen = in_strips(_compress, rgb) if self.settings.relative else rgb
        encoded = self.encode(seen)  # E_1 .. E_S
        joined: list[Tensor] = []  # inputs of algorithm 2, coarsest first
        h = encoded.pop()  # H_S: B W_S H/2^S W/2^S
        for i in reversed(range(self.scales)):
            codebook = self.moc.codebook(i + 1, sites)
            if i < self.scales - 1:
                h = in_strips(
                    lambda e, coarse, up=self.up[i]: e + up(upsample(coarse, e)), encoded.pop(), h, halo=2
                )
            h = self.decode(h, i, codebook)  # B W_i H/2^i W/2^i
            joined.append(self.look_up(h, i, codebook))  # B D_i H/2^i W/2^i
        return self.reconstruct(rgb, seen, h, joined[::-1])

    def encode(self, rgb: Tensor) -> list[Tensor]:
        """E_1 .. E_S, (B, W_i, H/2^i, W/2^i) each."""

        norms = list(self.enter) or [nn.Identity()] * self.scales

        def first(part: Tensor) -> Tensor:
            return norms[0](self.down[0](gelu(self.stem(part))))

        encoded = [in_strips(first, rgb, halo=2, down=2)]
        for down, norm in list(zip(self.down, norms, strict=True))[1:]:

            def coarser(part: Tensor, down: nn.Module = down, norm: nn.Module = norm) -> Tensor:
                return norm(down(F.gelu(part)))

            encoded.append(in_strips(coarser, encoded[-1], halo=1, down=2))
        return encoded

    def decode(self, h: Tensor, i: int, codebook: Codebook) -> Tensor:
        """H of scale i + 1 through its fusion and its GA blocks: H_GA."""
        if self.fusion:
            h = self.fusion[i](h, codebook)
        for block in self.blocks[i].children():
            h = block(h, codebook)
        return in_strips(self.leave[i], h, reuse=True) if self.leave else h

    def look_up(self, h: Tensor, i: int, codebook: Codebook) -> Tensor:
        """H_GA and its codes at scale i + 1, joined to one map of code width for algorithm 2."""

        def join(part: Tensor) -> Tensor:
            q = codebook.query(on_pixels(self.to_code[i], part))
            return self.reconstruction.join(i, q.features, q.straight_through())

        return query_in_strips(join, h, codebook)

    def reconstruct(self, rgb: Tensor, seen: Tensor, h: Tensor, joined: list[Tensor]) -> Tensor:
        """Algorithm 2's last layers, the shortcut and the head: no feature is kept for a whole image.
        ``seen``: what the network saw of ``rgb``."""
        from_rgb = self.head.from_rgb(self.stem) if self.head is not None else None

        def layers(seen: Tensor, h: Tensor, rgb: Tensor, *joined: Tensor, own: slice) -> Tensor:
            refined = self.reconstruction.refine_all(joined, seen)  # B sum(D_i) H W
            cube = self.reconstruction.head(refined)[:, :, own]  # B C H W
            if self.shortcut is not None:
                cube = cube + on_pixels(self.shortcut, seen[:, :, own])
            if self.head is not None and from_rgb is not None:
                cube = cube + self.head(h, seen, from_rgb, own)
            return cube * _brightness(rgb[:, :, own]) if self.settings.relative else cube

        return in_strips(layers, seen, h, rgb, *joined, halo=(1 << self.scales) // 2 + 2, crops=True)

    @property
    def halo(self) -> int:
        """Pixels of RGB in each direction that a pixel of the cube depends on, given the statistics of
        the whole image: 3x3 layers reach one pixel of their scale, upsampling one of the coarser scale."""
        s, blocks = self.scales, self.settings.blocks
        encoder = 1 + sum(1 << i for i in range(s))
        decoder = sum(n << i for i, n in enumerate(blocks, 1)) + sum(3 << i for i in range(1, s))
        return encoder + decoder + (1 << s) + 2

    @property
    def tile_step(self) -> int:
        """Tiles must begin at multiples of this many pixels: every scale's counted pixels then lie on
        the same grid."""
        return self.settings.count_stride << self.scales

    def unseen_macs(self, height: int, width: int) -> int:
        """Multiply-accumulates of the code search where torch's counter does not see it: in faiss and in
        Triton."""
        moc = self.moc
        if not isinstance(moc, MixtureOfCodebooks) or engine_for(moc.at(1), moc.at(1)) == "torch":
            return 0
        multiple, total = 1 << self.scales, 0
        rows, columns = (-(-n // multiple) * multiple for n in (height, width))  # as padded
        for i, blocks in enumerate(self.blocks.children(), 1):
            n, d = moc.at(i).shape
            pixels = (rows >> i) * (columns >> i)
            attentions = [m for m in blocks.modules() if isinstance(m, QuantizedAttention)]
            # the fusion and algorithm 2 look every pixel up
            total += (2 * pixels + sum(a.look_ups(pixels, n) for a in attentions)) * n * d
        return total


def _compress(rgb: Tensor) -> Tensor:
    return (rgb.clamp(min=0) + 1e-4) ** 0.45


def _brightness(rgb: Tensor) -> Tensor:
    return rgb.sum(1, keepdim=True) + 0.01


def query_in_strips(
    layers: Callable[[Tensor], Tensor], x: Tensor, codebook: Codebook, reuse: bool = False
) -> Tensor:
    """:func:`in_strips` for layers that look ``x`` up; look-ups are recorded for whole maps."""
    return in_strips(layers, x, reuse=reuse) if codebook.sites is None else layers(x)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def shrink(layer: nn.Conv2d | nn.Linear, factor: float = 0.1) -> None:
    """Small weights and no bias: a residual branch that starts near the identity."""
    with torch.no_grad():
        layer.weight.mul_(factor)
        if layer.bias is not None:
            layer.bias.zero_()
