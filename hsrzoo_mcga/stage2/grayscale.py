"""Grayscale-aware operations (GA): brightness curves per channel, and the feed-forward built on them.

Equations (6) and (7) of the MCGA paper: z = mean over pixels, a = softmax(W z + b), gamma X^a and
log (1 + 4a) log(1 + X), both on X normalised into [0, 1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.layers.pixel_rows import on_pixels
from hsrzoo.layers.whole_image import pixel_mean, whole_image

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

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape, with the statistics of the whole image."""
        if self.kind == "none":
            return x
        return self.apply_curve(x, self.curve(pixel_mean(x)), *extremes(x, self.normalise))

    def on_slots(self, x: Tensor, weight: Tensor) -> Tensor:
        """The curve on (B, C, K) slots of ``weight`` (B, K), which sum to 1 over the used ones."""
        if self.kind == "none":
            return x
        low = high = None
        if self.normalise == "minmax":
            used = weight[:, None] > 0  # unused slots say nothing
            low = x.masked_fill(~used, torch.inf).amin(2)
            high = x.masked_fill(~used, -torch.inf).amax(2)
        return self.apply_curve(x, self.curve((x * weight[:, None]).sum(2)), low, high)

    def apply_curve(self, x: Tensor, a: Tensor, low: Tensor | None, high: Tensor | None) -> Tensor:
        """GA of (B, C, ...) with the exponents or scales ``a`` (B, C); ``low`` and ``high`` (B, C) are
        the extremes of each channel where ``normalise`` is "minmax"."""
        shape = (*a.shape, *[1] * (x.dim() - 2))
        if low is None or high is None:
            unit = torch.sigmoid(x)
        else:
            span = (high - low).clamp_min(1e-6)
            unit = ((x - low.view(shape)) / span.view(shape)).clamp(0, 1)
        a = a.view(shape)
        if self.kind == "gamma":
            return unit.clamp_min(_FLOOR) ** a
        return (1 + self.slope * a) * torch.log1p(unit)


def extremes(x: Tensor, normalise: str) -> tuple[Tensor | None, Tensor | None]:
    """Least and largest value of each channel over the image, (B, C) each; None where not needed."""
    if normalise != "minmax":
        return None, None
    low, high = whole_image(lambda part: (part.amin((2, 3)), part.amax((2, 3))), x, reduce=("min", "max"))
    return low, high


Curve = tuple[Tensor, Tensor | None, Tensor | None]
"""``a`` (B, C) of one GA curve, and the extremes of its channels."""


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

    def features(self, x: Tensor) -> Tensor:
        """X_s: (B, C, H, W) -> (B, 2C, H, W); a pixel depends on its eight neighbours."""
        return F.gelu(self.mix(on_pixels(self.expand, x)))

    def curves(self, s: Tensor) -> list[Curve]:
        """What gamma and log take from the whole image, X_s (B, 2C, H, W): ``a`` and the extremes of
        their channels, all in one pass."""
        curved = [ga for ga in (self.gamma, self.log) if ga.kind != "none"]
        if not curved:
            return []
        mean, (low, high) = pixel_mean(s), extremes(s, curved[0].normalise)
        return [
            (
                ga.curve(mean[:, own]),
                None if low is None else low[:, own],
                None if high is None else high[:, own],
            )
            for ga, own in zip((self.gamma, self.log), self._halves(), strict=True)
            if ga.kind != "none"
        ]

    def combine(self, s: Tensor, curves: list[Curve]) -> Tensor:
        """GELU(conv1x1(Concat(X_g, X_l, X_s))): (B, 2C, H, W) -> (B, C, H, W), pixel by pixel."""
        left, parts = list(curves), []
        for ga, own in zip((self.gamma, self.log), self._halves(), strict=True):
            part = s[:, own]
            parts.append(part if ga.kind == "none" else ga.apply_curve(part, *left.pop(0)))
        return F.gelu(on_pixels(self.out, torch.cat([*parts, s], 1)))

    def _halves(self) -> tuple[slice, slice]:
        """The channels of X_s that go through gamma, and those that go through log."""
        return slice(0, self.split), slice(self.split, None)
