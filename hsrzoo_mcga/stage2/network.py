"""Stage 2: GANet, RGB to cube through the frozen mixture of codebooks.

Letters: B batch, C bands, S scales, W_i network width and D_i code width at scale i, scale i has
H/2^i x W/2^i pixels. Clean-room implementation of the MCGA paper; see the README of this package
for what the paper leaves open and what was decided.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.layers.pixel_rows import on_pixels
from hsrzoo.layers.whole_image import in_strips
from hsrzoo_mcga.codebook.lookup import CODES_PER_SOURCE, MixtureOfCodebooks, query
from hsrzoo_mcga.codebook.search import engine_for
from hsrzoo_mcga.stage1.autoencoder import Reconstruction, code_widths, upsample
from hsrzoo_mcga.stage2.attention import QuantizedAttention, apply_affine
from hsrzoo_mcga.stage2.grayscale import GrayscaleFeedForward


@dataclass(frozen=True)
class Settings:
    """Every choice of the network; the paper's ablations are settings too."""

    widths: tuple[int, ...] = (48, 96)
    """W_1 .. W_S."""
    blocks: tuple[int, ...] = (1, 2)
    """GA blocks at each scale, finest first."""
    stem: int = 32
    """Width at full resolution."""
    latent: int = 32
    """Common latent width of stage 1; D_i = latent / 2^i."""
    n_codes: int = 2 * CODES_PER_SOURCE
    """Rows of every table: 512 per source in the mixture."""
    codebook: str = "mixture"
    """"mixture" (a single codebook is a mixture of one source) or "none": no look-up anywhere (table 5,
    plain). Controls with the mixture's parameters: "random", whose codes --start draws like the learned
    ones; "bypass", where each feature stands in for its code and no code exists."""
    permuted: bool = False
    """A control at test time: the search finds codes as trained and fetches others in their place."""
    ga: bool = True
    """False: no gamma and no log curves (table 5)."""
    attention: str = "quantized"
    """"quantized", "full" or "none" (table 5)."""
    k: int = 256
    """Slots that the attention keeps (table 4); more than ``n_codes`` need ``topk="pixels"``."""
    topk: str = "codes"
    """"codes": the K most frequent codes, weighted by use; "pixels": K pixels, the literal reading."""
    pairing: str = "joint"
    """"joint": Q's assignment groups K too; "rank": Q and K ranked apart, as printed."""
    count_stride: int = 1
    """Every how many rows and columns the attention counts codes; above 1 is faster and inexact."""
    gamma_share: float = 0.5
    """Share of the feed-forward's channels that go through gamma, the rest through log (figure 3)."""
    ga_normalise: str = "sigmoid"
    gamma_exponent: str = "C*softmax"
    features: str = "free"
    """"free": the features of a scale are the sum of its branches, and may grow without bounds; "normed":
    each pixel's are normalised over the channels as they leave the scale, which keeps training steady."""
    reconstruction: str = "finetuned"
    """"finetuned" or "frozen": whether stage 1's weights of algorithm 2 are trained further."""
    shortcut: bool = True
    """Linear RGB-to-bands path at full resolution."""
    head: int = 96
    """Width of the pointwise full-resolution head; 0: none."""


_CHOICES = {
    "codebook": ("mixture", "random", "bypass", "none"),
    "attention": ("quantized", "full", "none"),
    "topk": ("codes", "pixels"),
    "pairing": ("joint", "rank"),
    "ga_normalise": ("sigmoid", "minmax"),
    "gamma_exponent": ("softmax", "C*softmax"),
    "features": ("free", "normed"),
    "reconstruction": ("finetuned", "frozen"),
}


def check(settings: Settings) -> None:
    """Raise ValueError naming the first setting that makes no network."""
    for name, allowed in _CHOICES.items():
        if getattr(settings, name) not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {getattr(settings, name)!r}")
    scales = len(settings.widths)
    if len(settings.blocks) != scales:
        raise ValueError(f"blocks must name {scales} scales as widths does, not {len(settings.blocks)}")
    if settings.latent >> scales < 1:
        raise ValueError(f"latent {settings.latent} is too narrow for {scales} scales")
    if settings.count_stride not in (1, 2, 4, 8):
        raise ValueError(f"count_stride must be 1, 2, 4 or 8, not {settings.count_stride}")
    if settings.count_stride > 1 and settings.attention != "quantized":
        raise ValueError(
            f"count_stride needs attention 'quantized', and attention is {settings.attention!r}"
        )
    if not 0 <= settings.gamma_share <= 1:
        raise ValueError(f"gamma_share must lie in [0, 1], not {settings.gamma_share}")
    if settings.permuted and settings.codebook in ("bypass", "none"):
        raise ValueError(f"permuted needs codes, and codebook is {settings.codebook!r}")
    if settings.k < 1 or settings.n_codes < 1:
        raise ValueError(f"k and n_codes must be at least 1, not {settings.k} and {settings.n_codes}")


class PixelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(c))
        self.bias = nn.Parameter(torch.zeros(c))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1)
        return F.layer_norm(rows, self.weight.shape, self.weight, self.bias).permute(0, 3, 1, 2)


class GABlock(nn.Module):
    """x + GQA(norm x), then x + feed-forward(norm x)."""

    def __init__(self, c: int, d: int, s: Settings) -> None:
        super().__init__()
        curve = {"normalise": s.ga_normalise, "exponent": s.gamma_exponent}
        self.attention: QuantizedAttention | None = None
        if s.attention != "none":
            # without codes nothing can be quantized: the attention then sees all pixels
            mode = "full" if s.codebook == "none" else s.attention
            mode = "bypass" if (s.codebook, mode) == ("bypass", "quantized") else mode
            self.norm_attention = PixelNorm(c)
            self.attention = QuantizedAttention(
                c,
                d,
                k=s.k,
                topk=s.topk,
                pairing=s.pairing,
                mode=mode,
                ga=s.ga,
                stride=s.count_stride,
                permuted=s.permuted,
                **curve,
            )
            shrink(self.attention.out)
        self.norm_feed = PixelNorm(c)
        self.feed = GrayscaleFeedForward(c, s.gamma_share, s.ga, **curve)
        shrink(self.feed.out)

    def forward(self, x: Tensor, codes: Tensor, sites: list | None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W): what depends on the whole image first, then strip by strip.
        Without gradients ``x`` may be overwritten."""
        if self.attention is not None:
            affine = self.attention.affine(x, codes, sites, before=self.norm_attention)
            x = in_strips(
                lambda part: part + apply_affine(self.norm_attention(part), *affine), x, reuse=True
            )
        s = in_strips(lambda part: self.feed.features(self.norm_feed(part)), x, halo=1)
        curves = self.feed.curves(s)
        return in_strips(lambda part, own: part + self.feed.combine(own, curves), x, s, reuse=True)


class CodeFusion(nn.Module):
    """H -> 1x1 to code width -> nearest code -> 1x1 fusion of H and its code, as a residual."""

    def __init__(self, c: int, d: int, permuted: bool = False) -> None:
        super().__init__()
        self.permuted = permuted
        self.to_code = nn.Conv2d(c, d, 1)
        self.fuse = nn.Conv2d(c + d, c, 1)
        shrink(self.fuse)

    def forward(self, h: Tensor, codes: Tensor | None, sites: list | None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W); without gradients ``h`` may be overwritten. Without ``codes`` the
        feature at code width is fused instead."""

        def fused(part: Tensor) -> Tensor:
            found = on_pixels(self.to_code, part)
            if codes is not None:
                q = query(found, codes, self.permuted)
                found = q.straight_through()
                if sites is not None:
                    sites.append((q.features, codes))
            return part + on_pixels(self.fuse, torch.cat([part, found], 1))

        # look-ups are collected for whole maps
        return in_strips(fused, h, reuse=True) if sites is None else fused(h)


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

        Both are linear, and so is what they make together, which spares the stem at full resolution.
        """
        own, direct = self.local.weight.split([stem.out_channels, 3], dim=1)  # N K 1 1, N 3 1 1
        weight = torch.einsum("nk,kchw->nchw", own[:, :, 0, 0], stem.weight)
        return weight + F.pad(direct, (1, 1, 1, 1)), own[:, :, 0, 0] @ stem.bias

    def forward(self, h: Tensor, rgb: Tensor, from_rgb: tuple[Tensor, Tensor], own: slice) -> Tensor:
        """``h``: H_1, at half resolution; ``own``: the rows wanted."""
        x = (upsample(on_pixels(self.context, h), rgb) + F.conv2d(rgb, *from_rgb, padding=1))[:, :, own]
        return on_pixels(self.out, F.gelu(on_pixels(self.hidden, F.gelu(x))))


class GANet(nn.Module):
    """MCGA stage 2: (B, 3, H, W) -> (B, C, H, W); H and W multiples of 2^S."""

    def __init__(self, bands: int, settings: Settings) -> None:
        super().__init__()
        check(settings)
        s = self.settings = settings
        w, d = s.widths, code_widths(s.latent, len(s.widths))
        self.scales, self.bands = len(w), bands
        # drawn for a bypass too, so that equal seeds give all networks with fusion equal first weights
        moc = MixtureOfCodebooks(s.n_codes, d) if s.codebook != "none" else None
        self.moc = moc if s.codebook != "bypass" else None
        self.stem = nn.Conv2d(3, s.stem, 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip((s.stem, *w), w, strict=False)
        )
        self.up = nn.ModuleList(nn.Conv2d(w[i + 1], w[i], 3, padding=1) for i in range(len(w) - 1))
        self.fusion = nn.ModuleList()
        if moc is not None:
            self.fusion.extend(CodeFusion(c, di, s.permuted) for c, di in zip(w, d, strict=True))
        self.blocks = nn.ModuleList(
            nn.ModuleList(GABlock(c, di, s) for _ in range(n))
            for c, di, n in zip(w, d, s.blocks, strict=True)
        )
        self.leave = nn.ModuleList(PixelNorm(c) for c in w if s.features == "normed")
        self.to_code = nn.ModuleList(nn.Conv2d(c, di, 1) for c, di in zip(w, d, strict=True))
        self.reconstruction = Reconstruction(d, bands)
        if s.reconstruction == "frozen":
            self.reconstruction.requires_grad_(False)
        self.shortcut = nn.Conv2d(3, bands, 1) if s.shortcut else None
        self.head = PointwiseHead(w[0], s.stem, s.head, bands) if s.head else None

    def forward(self, rgb: Tensor, sites: list | None = None) -> Tensor:
        """RGB in [0, 1] -> cube; ``sites``, a list, collects (features, codes) of every look-up."""
        rgb = rgb.contiguous(memory_format=torch.channels_last)
        encoded = self._encode(rgb)  # E_1 .. E_S
        narrowed: list[Tensor] = []  # inputs of algorithm 2, coarsest first
        h = encoded.pop()
        for i in reversed(range(self.scales)):
            if i < self.scales - 1:
                h = in_strips(
                    lambda e, coarse, up=self.up[i]: e + up(upsample(coarse, e)), encoded.pop(), h, halo=2
                )
            h = self._decode(h, i, sites)
            narrowed.append(self._ask(h, i, sites))
        return self._at_full_resolution(rgb, h, narrowed[::-1])

    def _encode(self, rgb: Tensor) -> list[Tensor]:
        def first(part: Tensor) -> Tensor:
            return self.down[0](F.gelu(self.stem(part)))

        encoded = [in_strips(first, rgb, halo=2, down=2)]
        for down in list(self.down)[1:]:
            encoded.append(
                in_strips(lambda part, down=down: down(F.gelu(part)), encoded[-1], halo=1, down=2)
            )
        return encoded

    def _at_full_resolution(self, rgb: Tensor, h: Tensor, narrowed: list[Tensor]) -> Tensor:
        """Algorithm 2's last layers, the shortcut and the head: no feature is kept for a whole image."""
        maps = [rgb, *narrowed]
        if self.head is not None:
            from_rgb = self.head.from_rgb(self.stem)
            maps.append(h)

        def layers(rgb: Tensor, *coarse: Tensor, own: slice) -> Tensor:
            reconstruction = self.reconstruction
            cube = reconstruction.head(reconstruction.refined(coarse[: self.scales], rgb))[:, :, own]
            if self.shortcut is not None:
                cube = cube + on_pixels(self.shortcut, rgb[:, :, own])
            if self.head is not None:
                cube = cube + self.head(coarse[-1], rgb, from_rgb, own)
            return cube

        return in_strips(layers, *maps, halo=(1 << self.scales) // 2 + 2, crops=True)

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
        if self.moc is None or engine_for(self.moc.at(1), self.moc.at(1)) == "torch":
            return 0
        s, multiple, total = self.settings, 1 << self.scales, 0
        rows, columns = (-(-n // multiple) * multiple for n in (height, width))  # as padded
        for i, blocks in enumerate(s.blocks, 1):
            n, d = self.moc.at(i).shape
            pixels = (rows >> i) * (columns >> i)
            asked = 2 * pixels  # by the fusion and before algorithm 2
            if s.attention == "quantized":
                counted = pixels // s.count_stride**2
                asked += blocks * (2 * counted if s.pairing == "rank" else counted + min(s.k, n))
            total += asked * n * d
        return total

    def _codes(self, i: int) -> Tensor | None:
        return None if self.moc is None else self.moc.at(i + 1)

    def _decode(self, h: Tensor, i: int, sites: list | None) -> Tensor:
        codes = self._codes(i)
        if self.fusion:
            h = self.fusion[i](h, codes, sites)
        for block in self.blocks[i].children():
            h = block(h, codes, sites)
        return in_strips(self.leave[i], h, reuse=True) if self.leave else h

    def _ask(self, h: Tensor, i: int, sites: list | None) -> Tensor:
        """The look-up that feeds algorithm 2, narrowed; without codes the features stand in for them."""
        codes = self._codes(i)

        def asked(part: Tensor) -> Tensor:
            features = on_pixels(self.to_code[i], part)
            if codes is None:
                return self.reconstruction.narrowed(i, features, features)
            if sites is not None:
                sites.append((features, codes))
            q = query(features, codes, self.settings.permuted)
            return self.reconstruction.narrowed(i, q.features, q.straight_through())

        return in_strips(asked, h) if sites is None else asked(h)


def shrink(layer: nn.Conv2d | nn.Linear, factor: float = 0.1) -> None:
    """Small weights and no bias: a residual branch that starts near the identity."""
    with torch.no_grad():
        layer.weight.mul_(factor)
        if layer.bias is not None:
            layer.bias.zero_()
