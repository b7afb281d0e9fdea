"""Grayscale-aware operations (GA): brightness curves per channel, and the feed-forward built on them.

Equations (6) and (7) of the MCGA paper: z = mean over pixels, a = softmax(W z + b), gamma X^a and
log (1 + 4a) log(1 + X), both on X normalised into [0, 1]. Decided here: X is normalised by a sigmoid, and
the exponents of gamma are C a, so that they are near 1 and can brighten and darken.

Letters: B batch, C channels, H W pixels, K slots of the attention.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from hsrzoo.layers.activations import gelu
from hsrzoo.layers.pixel_rows import at_least_fp32, on_pixels
from hsrzoo.layers.whole_image import can_strip, pixel_mean

_FLOOR = 1e-4
"""X is kept above this before a power: the slope of X^a at 0 is infinite for a < 1."""

Bounds = tuple[Tensor, ...]
"""What the normalisation into [0, 1] takes from the whole image, (B, C) each: nothing for a sigmoid."""


class GrayscaleAware(nn.Module):
    """One GA curve over C channels; ``kind`` is "gamma" or "log".

    ``slope`` starts as the 4 of (1 + 4a) and is trained, as test-time adaptation needs it.
    """

    def __init__(self, channels: int, kind: str, slope: float = 4.0) -> None:
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(channels, channels), std=0.02))
        self.bias = nn.Parameter(torch.zeros(channels))
        if kind == "log":
            self.slope = nn.Parameter(torch.tensor(float(slope)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape, with the statistics of the whole image."""
        return self.apply_curve(x, self.strength(pixel_mean(x)), self.bounds(x))

    def on_slots(self, x: Tensor, weight: Tensor) -> Tensor:
        """The curve on (B, C, K) slots of ``weight`` (B, K), which sum to 1 over the used ones."""
        mean = (x * weight[:, None]).sum(2)  # B C
        return self.apply_curve(x, self.strength(mean), self.bounds_of_slots(x, weight))

    def strength(self, z: Tensor) -> Tensor:
        """Means (B, C) -> a (B, C), positive; it sums to 1, or to C for gamma."""
        a = torch.softmax(F.linear(z, self.weight, self.bias), dim=1)
        return a * a.shape[1] if self.kind == "gamma" else a

    def apply_curve(self, x: Tensor, a: Tensor, bounds: Bounds = ()) -> Tensor:
        """GA of (B, C, ...) with the exponents or scales ``a`` (B, C)."""
        shape = (*a.shape, *[1] * (x.dim() - 2))  # B C 1 1
        unit = self.to_unit(x, *(b.view(shape) for b in bounds))
        if self.kind == "gamma":
            return _power(unit.clamp_min(_FLOOR), a.view(shape))
        return (1 + self.slope * a.view(shape)) * torch.log1p(unit)

    def to_unit(self, x: Tensor, *bounds: Tensor) -> Tensor:
        """``x`` normalised into [0, 1]."""
        return torch.sigmoid(x)

    def bounds(self, x: Tensor, layer: Callable[[Tensor], Tensor] | None = None) -> Bounds:
        """What :meth:`to_unit` takes from the whole image ``x`` (B, C, H, W), or from ``layer`` of it."""
        return ()

    def bounds_of_slots(self, x: Tensor, weight: Tensor) -> Bounds:
        """The same of slots (B, C, K)."""
        return ()


def _power(x: Tensor, a: Tensor) -> Tensor:
    """``x`` to the power ``a``, for ``x`` above 0, in the shape of ``x``."""
    if can_strip():  # 2^(a log2 x) takes 0.6 times the time of torch's power, in bf16 a quarter
        return at_least_fp32(x).log2().mul_(a).exp2_().to(x.dtype)
    if not x.requires_grad:
        return x**a
    y: Tensor = _Power.apply(x, a)
    return y


class _Power(torch.autograd.Function):
    """Its gradient takes the power from the result; that of torch computes another one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor) -> Tensor:
        y = x**a
        ctx.save_for_backward(x.to(y.dtype), a, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, a, y = ctx.saved_tensors
        scaled = grad * y
        of_a = (scaled * x.log()).sum_to_size(a.shape)
        return scaled.mul_(a).div_(x), of_a


Curve = tuple[Tensor, Bounds]
"""``a`` (B, C) of one GA curve, and the bounds of its channels."""


class GrayscaleFeedForward(nn.Module):
    """GA-based feed-forward, C -> C.

    X_s = GELU(conv3x3(conv1x1(X))) of width 2C. Of its channels the first ``gamma_share`` go through
    a gamma curve, the rest through a log curve; output GELU(conv1x1(Concat(X_g, X_l, X_s))). ``curve``:
    makes the curves; None: there are none.
    """

    def __init__(
        self,
        c: int,
        gamma_share: float = 0.5,
        curve: Callable[[int, str], GrayscaleAware] | None = GrayscaleAware,
    ) -> None:
        super().__init__()
        self.expand = nn.Conv2d(c, c, 1)
        self.mix = nn.Conv2d(c, 2 * c, 3, padding=1)
        self.split = round(2 * c * gamma_share)
        rest = 2 * c - self.split
        self.gamma = curve(self.split, "gamma") if curve and self.split else None
        self.log = curve(rest, "log") if curve and rest else None
        self.out = nn.Conv2d(4 * c, c, 1)

    def features(self, x: Tensor) -> Tensor:
        """X_s: (B, C, H, W) -> (B, 2C, H, W); a pixel depends on its eight neighbours."""
        return gelu(self.mix(on_pixels(self.expand, x)))

    def halves(self) -> list[tuple[GrayscaleAware | None, slice]]:
        """Gamma and log, each with the channels of X_s that go through it."""
        return [(self.gamma, slice(0, self.split)), (self.log, slice(self.split, None))]

    def curves(self, s: Tensor) -> list[Curve | None]:
        """What gamma and log take from the whole image, X_s (B, 2C, H, W), all in one pass."""
        either = self.gamma or self.log
        if either is None:
            return [None, None]
        mean, bounds = pixel_mean(s), either.bounds(s)  # B 2C
        return [
            None if curve is None else (curve.strength(mean[:, own]), tuple(b[:, own] for b in bounds))
            for curve, own in self.halves()
        ]

    def combine(self, s: Tensor, curves: list[Curve | None]) -> Tensor:
        """GELU(conv1x1(Concat(X_g, X_l, X_s))): (B, 2C, H, W) -> (B, C, H, W), pixel by pixel."""
        # Not slices: the gradient of each would be a map of its own, in another layout of memory.
        halves = s.split([self.split, s.shape[1] - self.split], dim=1)
        # Dense: torch's sigmoid of strided memory takes two to eight times as long.
        halves = [half.contiguous(memory_format=torch.channels_last) for half in halves]
        parts = [
            curve.apply_curve(half, *taken) if curve and taken else half
            for half, (curve, _), taken in zip(halves, self.halves(), curves, strict=True)
        ]
        return gelu(on_pixels(self.out, torch.cat([*parts, s], 1)))  # B C H W
