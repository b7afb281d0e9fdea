"""GMSR-Net (Wang et al., 2024): three levels of a selective scan parallel to two gradient attentions.

Written from a description of the public code (no licence stated), with its state_dict names and order.

44,980 parameters at 31 bands, not the papers' 0.20 M: no public version has that size. The third level is
as wide as there are bands, 31 of them in the original; at 202 bands it makes 601,056 parameters.
3.17 G multiply-accumulates at 256 x 256, of which 0.51 G are the steps of the scan: of 4 directions x
(20 + 40 + 62) channels x 16 states a pixel, one each.

What we changed:

- the gradients of an image and of its spectra are stretched to [0, 1] by their least and largest value.
  The original takes these over the whole batch, so that a cube depends on the other images of its batch;
  here each image has its own (``batch="coupled"``: as the original);
- a constant image has no gradients to stretch, 0 / 0 in the original: they are 0 here;
- the scan is :mod:`hsrzoo_baselines.selective_scan`, without gradients in pieces.

All pixels of the image are one sequence, forwards and backwards, in rows and in columns: the cube of a
crop is not the crop of the cube, and the network has no tiles.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.errors import BandsError
from hsrzoo.layers.pointwise import pointwise
from hsrzoo.layers.whole_image import can_strip, in_strips
from hsrzoo.spec import ModelSpec, Official, Recipe, RgbInput
from hsrzoo_baselines.layers import require_choice
from hsrzoo_baselines.recipes import ADAM
from hsrzoo_baselines.selective_scan import fused_scan, scan_steps, selective_scan

STATES = 16
"""States of each channel of the scan."""
DIRECTIONS = 4
"""Rows, columns, and both backwards."""
PIXELS_AT_ONCE = 1 << 12
"""Of a piece of the scan without gradients."""
DROP_PATH = 0.1
"""Probability that training drops a state-space block, per image."""


def _stretch(x: Tensor, coupled: bool, floor: float = 0.0, of: Tensor | None = None) -> Tensor:
    """(x - min) / (max - min + floor) of (B, K, H, W) over each image, or over the batch if ``coupled``.

    ``of``: whose values are stretched, where ``x`` holds only means or maxima of them.
    """
    of = x if of is None else of
    axes = (0, 1, 2, 3) if coupled else (1, 2, 3)
    least = of.amin(axes, keepdim=True)
    span = of.amax(axes, keepdim=True) - least + floor
    return (x - least) / torch.where(span == 0, 1, span)  # x is its own least where it is constant


class SpatialAttention(nn.Module):
    """A gate per pixel from the stretched gradients along rows and columns."""

    def __init__(self, coupled: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.coupled = coupled

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, H, W); H and W at least 3."""
        across = F.pad(x.diff(dim=3), (0, 1, 0, 0), mode="reflect")
        down = F.pad(x.diff(dim=2), (0, 0, 0, 1), mode="reflect")
        slope = torch.cat([across, down], dim=1)
        summary = torch.cat([slope.mean(1, keepdim=True), slope.amax(1, keepdim=True)], dim=1)
        return x * self.conv1(_stretch(summary, self.coupled, of=slope)).sigmoid()


class SpectralAttention(nn.Module):
    """A gate per channel from the stretched differences of neighbouring channels."""

    def __init__(self, width: int, coupled: bool) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Conv2d(width, width, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(width, width, 1, bias=False),
            nn.Sigmoid(),
        )
        self.coupled = coupled

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, H, W)."""
        slope = x.diff(dim=1)
        found = slope.mean((2, 3), keepdim=True), slope.amax((2, 3), keepdim=True)
        stretched = (_stretch(values, self.coupled, 1e-8, slope) for values in found)
        mean, most = (torch.cat([s, s[:, -1:]], dim=1) for s in stretched)  # K - 1 differences
        return x * (self.fc(mean) + self.fc(most)).sigmoid()  # of two sigmoids, as in the original


class DirectionalScan(nn.Module):
    """SS2D: selective scans of the image in four directions, summed, and gated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner, rank = 2 * width, math.ceil(width / 16)
        self.split = (rank, STATES, STATES)
        self.x_proj_weight = nn.Parameter(torch.empty(DIRECTIONS, rank + 2 * STATES, inner))
        self.dt_projs_weight = nn.Parameter(torch.empty(DIRECTIONS, inner, rank))
        self.dt_projs_bias = nn.Parameter(torch.empty(DIRECTIONS, inner))
        self.A_logs = nn.Parameter(torch.arange(1.0, STATES + 1).log().repeat(DIRECTIONS * inner, 1))
        self.Ds = nn.Parameter(torch.ones(DIRECTIONS * inner))
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv2d = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, width, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        """As Mamba does: steps between 1e-3 and 1e-1, evenly in their logarithm."""
        for weight in (self.x_proj_weight, self.dt_projs_weight):
            nn.init.uniform_(weight, -(weight.shape[-1] ** -0.5), weight.shape[-1] ** -0.5)
        with torch.no_grad():
            step = torch.empty_like(self.dt_projs_bias).uniform_(math.log(1e-3), math.log(1e-1)).exp()
            step = step.clamp_min(1e-4)
            self.dt_projs_bias.copy_(step + (-torch.expm1(-step)).log())  # softplus of it is the step

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, K) -> (B, H, W, K)."""
        to_scan, to_gate = self.in_proj.weight.chunk(2)

        def enter(part: Tensor) -> Tensor:
            return F.silu(self.conv2d(pointwise(part.permute(0, 2, 3, 1), to_scan).permute(0, 3, 1, 2)))

        def leave(part: Tensor, y: Tensor) -> Tensor:
            rows, scanned = part.permute(0, 2, 3, 1), y.permute(0, 2, 3, 1)  # B H W .
            gated = self.out_norm(scanned) * F.silu(pointwise(rows, to_gate))
            return pointwise(gated, self.out_proj.weight).permute(0, 3, 1, 2)

        x = x.permute(0, 3, 1, 2)
        inner = in_strips(enter, x, halo=1).permute(0, 2, 3, 1)
        if can_strip() and fused_scan(x.device) is None:
            with torch.autocast(x.device.type, enabled=False):
                y = torch.stack([self._in_pieces(image) for image in inner])
        else:
            y = self._whole(inner)
        return in_strips(leave, x, y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    def _whole(self, x: Tensor) -> Tensor:
        """The sum of the four scans of (B, H, W, D)."""
        height, width = x.shape[1:3]
        x = x.permute(0, 3, 1, 2)
        rows, columns = x.flatten(2), x.mT.flatten(2)  # (B, D, L)
        sequences = torch.stack([rows, columns, rows.flip(-1), columns.flip(-1)], dim=1)
        step, into, out = (self.x_proj_weight @ sequences).split(self.split, dim=2)
        y = selective_scan(
            sequences.flatten(1, 2),
            (self.dt_projs_weight @ step).flatten(1, 2),
            -self.A_logs.float().exp(),
            into,
            out,
            self.Ds,
            self.dt_projs_bias.flatten(),
        )
        a, b, c, d = y.view(sequences.shape).unbind(1)
        along, across = a + c.flip(-1), b + d.flip(-1)
        y = along.unflatten(2, (height, width)) + across.unflatten(2, (width, height)).mT
        return y.permute(0, 2, 3, 1)

    def _in_pieces(self, x: Tensor) -> Tensor:
        """The same of one image (H, W, D), a piece of each sequence at a time, so that memory holds little
        more than (L, D) of the scans along rows and along columns, each with its reverse."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        ways = [x.flatten(0, 1), x.transpose(0, 1).flatten(0, 1)]  # (L, D)
        sums = [torch.zeros_like(way) for way in ways]
        length, inner = ways[0].shape
        rates = -self.A_logs.to(x.dtype).exp().view(DIRECTIONS, inner, STATES)
        # step, b and c in one product: (4, D + 2 N, D)
        step, rest = self.x_proj_weight.split([self.split[0], 2 * STATES], dim=1)
        weights = torch.cat([self.dt_projs_weight @ step, rest], dim=1).to(x.dtype)
        biases = F.pad(self.dt_projs_bias, (0, 2 * STATES)).to(x.dtype)
        state = x.new_zeros(1, DIRECTIONS, STATES, inner)
        for first in range(0, length, PIXELS_AT_ONCE):
            last = min(first + PIXELS_AT_ONCE, length)
            ahead, back = slice(first, last), slice(length - last, length - first)
            each = [*(way[ahead] for way in ways), *(way[back].flip(0) for way in ways)]  # (P, D)
            products = [pointwise(*three) for three in zip(each, weights, biases, strict=True)]
            u, joined = (torch.stack(parts, dim=1)[:, None] for parts in (each, products))  # (P, 1, 4, .)
            delta, into, out = joined.split([inner, STATES, STATES], dim=-1)
            y = scan_steps(u, delta, rates, into, out, state)[:, 0]
            for way, total in enumerate(sums):
                total[ahead] += y[:, way]
                total[back] += y[:, way + 2].flip(0)
        along, across = sums
        direct = self.Ds.view(DIRECTIONS, inner).sum(0)
        across = across.unflatten(0, x.shape[1::-1]).transpose(0, 1)
        return along.view(x.shape).addcmul_(x, direct).add_(across)


class StateSpaceBlock(nn.Module):
    """LayerNorm and scan. The two scales belong to the original's checkpoints and do nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.skip_scale = nn.Parameter(torch.ones(width), requires_grad=False)
        self.skip_scale2 = nn.Parameter(torch.ones(width), requires_grad=False)
        self.ln_1 = nn.LayerNorm(width)
        self.self_attention = DirectionalScan(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, H, W)."""
        y = self.self_attention(self.ln_1(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        if self.training:
            kept = torch.rand(len(y), 1, 1, 1, device=y.device) >= DROP_PATH
            y = y * (kept / (1 - DROP_PATH))
        return y


class GMSR(nn.Module):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32, unbounded; H and W at least 3."""

    def __init__(self, bands: int, coupled: bool = False) -> None:
        super().__init__()
        widths = (10, 20, bands)
        for i, (before, width) in enumerate(zip((3, *widths), widths, strict=False), 1):
            self.add_module(f"output{i}", nn.Conv2d(before, width, 1, bias=False))
        for i, width in enumerate(widths, 1):
            self.add_module(f"VSS{i}", StateSpaceBlock(width))
        for i, width in enumerate(widths, 1):
            self.add_module(f"spectral_attention{i}", SpectralAttention(width, coupled))
        self.spatial_attention = SpatialAttention(coupled)
        for i, width in enumerate(widths, 1):
            self.add_module(f"conv{i}", nn.Sequential(nn.Conv2d(3 * width, width, 1), nn.GELU()))

    def unseen_macs(self, height: int, width: int) -> int:
        """Multiply-accumulates of the scans' recurrences, which are no matrix products."""
        states = sum(m.A_logs.numel() for m in self.modules() if isinstance(m, DirectionalScan))
        return states * height * width

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        x = rgb
        for i in (1, 2, 3):
            widen, scan, spectral, join = (
                self.get_submodule(f"{name}{i}") for name in ("output", "VSS", "spectral_attention", "conv")
            )
            x = widen(x)
            parts = scan(x), self.spatial_attention(x), spectral(x)
            joined = in_strips(lambda *three, join=join: join(torch.cat(three, dim=1)), *parts)
            x = x + joined
        return x


def build(bands: BandSet, batch: Literal["own", "coupled"] = "own") -> GMSR:
    """GMSR-Net for these bands. ``batch``: over what gradients are stretched, each image ("own") or, as in
    the original, all images of a batch together ("coupled")."""
    if len(bands) < 2:
        raise BandsError("GMSR-Net compares neighbouring bands", expected="at least two", got=str(bands))
    require_choice("batch", batch, "own", "coupled")
    return GMSR(len(bands), coupled=batch == "coupled")


SPEC = ModelSpec(
    name="gmsr",
    build=build,
    summary="GMSR-Net: selective scans in four directions and gradient attentions, 45 k parameters",
    use="few parameters with the whole image in view",
    source=(
        "Wang et al., GMSR: Gradient-Guided Mamba for Spectral Reconstruction from RGB Images, "
        "arXiv:2405.07777; https://github.com/wxy11-27/GMSR at 01231f7"
    ),
    licence="none stated",
    input=RgbInput(min_size=3),
    default_tag="cave",
    tags=("baseline", "state-space"),
    recipe=Recipe(lr=5e-3),
    recipes={
        "authors": replace(ADAM, steps=94_500, batch=20, patch=128, lr=1e-4, schedule="constant", loss="l1")
    },
    official=Official("none", by_position=True),
    notes=(
        "All pixels are one sequence, so it runs on whole images only, without tiles. "
        "The original stretches gradients over all images of a batch: batch='coupled' does so, the default "
        "takes each image alone. The papers' 0.20 M parameters are not those of the public code, 44,980. "
        "The authors' 100 epochs are counted as 94,500 steps of 20 crops: NTIRE 2020 has 450 images, each "
        "42 crops at every 64th pixel. Their learning rate falls polynomially over 1e8 steps, by 0.14 % "
        "within the training, so it is constant here."
    ),
)
