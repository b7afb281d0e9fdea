"""Grayscale-aware operations (GA): brightness curves per channel, and the feed-forward built on them.

Equations (6) and (7) of the MCGA paper: z = mean over pixels, a = softmax(W z + b), gamma X^a and
log (1 + 4a) log(1 + X), both on X normalised into [0, 1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FLOOR = 1e-4
"""X is kept above this before a power: the slope of X^a at 0 is infinite for a < 1."""


class GrayscaleAware(nn.Module):
    """One GA curve over C channels; ``kind`` is "gamma", "log" or "none" (the ablation).

    ``normalise``: "sigmoid" acts pixel by pixel, "minmax" per image and channel.
    ``exponent``: "softmax" gives a near 1/C, "C*softmax" gives a near 1 (gamma only).
    ``slope`` is the 4 of (1 + 4a): log's scale runs from 1 to 1 + slope.
    """

    def __init__(
        self,
        channels: int,
        kind: str,
        normalise: str = "sigmoid",
        exponent: str = "C*softmax",
        slope: float = 4.0,
    ) -> None:
        super().__init__()
        self.kind, self.normalise, self.exponent = kind, normalise, exponent
        if kind != "none":
            self.weight = nn.Parameter(torch.randn(channels, channels) * 0.02)
            self.bias = nn.Parameter(torch.zeros(channels))
        if kind == "log":
            self.slope = nn.Parameter(torch.tensor(float(slope)))

    def curve(self, z: Tensor) -> Tensor:
        """Means (B, C) -> a (B, C), positive, summing to 1 (to C for "C*softmax" gamma)."""
        a = torch.softmax(F.linear(z, self.weight, self.bias), dim=1)
        if self.kind == "gamma" and self.exponent == "C*softmax":
            a = a * a.shape[1]
        return a

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """(B, C, ...) -> the same shape; ``weight`` (B, ...) replaces the plain mean by a weighted one."""
        if self.kind == "none":
            return x
        flat = x.flatten(2)  # B C N
        if self.normalise == "sigmoid":
            unit = torch.sigmoid(x)
        else:
            used = torch.ones_like(flat[:, :1]) if weight is None else weight.flatten(1)[:, None]
            low = flat.masked_fill(used == 0, torch.inf).amin(2)  # unused slots say nothing
            high = flat.masked_fill(used == 0, -torch.inf).amax(2)
            shape = (*low.shape, *[1] * (x.dim() - 2))
            unit = ((x - low.view(shape)) / (high - low).clamp_min(1e-6).view(shape)).clamp(0, 1)
        z = flat.mean(2) if weight is None else (flat * weight.flatten(1)[:, None]).sum(2)
        a = self.curve(z)
        a = a.view(*a.shape, *[1] * (x.dim() - 2))
        if self.kind == "gamma":
            return unit.clamp_min(_FLOOR) ** a
        return (1 + self.slope * a) * torch.log1p(unit)


class GrayscaleFeedForward(nn.Module):
    """GA-based feed-forward, C -> C.

    X_s = GELU(conv3x3(conv1x1(X))) of width 2C. Of its channels the first ``gamma_share`` go through
    a gamma curve, the rest through a log curve; output GELU(conv1x1(Concat(X_g, X_l, X_s))).
    """

    def __init__(self, c: int, gamma_share: float = 0.5, ga: bool = True, **settings: object) -> None:
        super().__init__()
        self.expand = nn.Conv2d(c, c, 1)
        self.mix = nn.Conv2d(c, 2 * c, 3, padding=1)
        self.split = round(2 * c * gamma_share)
        parts = []
        for width, kind in ((self.split, "gamma"), (2 * c - self.split, "log")):
            if ga and width:
                parts.append(GrayscaleAware(width, kind, **settings))  # type: ignore[arg-type]
            else:
                parts.append(GrayscaleAware(width, "none"))
        self.gamma, self.log = parts
        self.out = nn.Conv2d(4 * c, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), the residual branch alone."""
        s = F.gelu(self.mix(self.expand(x)))  # B 2C H W
        first, second = s[:, : self.split], s[:, self.split :]
        parts = [self.gamma(first)] if self.split else []
        if second.shape[1]:
            parts.append(self.log(second))
        return F.gelu(self.out(torch.cat([*parts, s], 1)))
