"""Ablations and controls: parts that replace those of the paper's network, chosen by :class:`Ablation`.

The paper's tables 4 and 5 switch parts off or read them differently; the controls ask what learned codes
are for. Every part here has the interface of the one that it replaces.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.layers.pixel_rows import on_pixels
from hsrzoo.layers.whole_image import whole_image
from hsrzoo_mcga.codebook.lookup import Codebook, MixtureOfCodebooks, Site
from hsrzoo_mcga.stage2 import attention as gqa
from hsrzoo_mcga.stage2.attention import QuantizedAttention, Slots
from hsrzoo_mcga.stage2.grayscale import Bounds, GrayscaleAware, GrayscaleFeedForward
from hsrzoo_mcga.stage2.network import CodeFusion, GANet, Parts, Settings, check_choices


@dataclass(frozen=True)
class Ablation:
    """What differs from the paper's network: by default, nothing. ValueError names a wrong value."""

    codebook: Literal["mixture", "random", "bypass", "none"] = "mixture"
    """"mixture" (a single codebook is a mixture of one source) or "none": no look-up anywhere (table 5,
    plain). Controls with the mixture's parameters: "random", whose codes --start draws like the learned
    ones; "bypass", where each feature replaces its code and no code exists."""
    permuted: bool = False
    """A control at test time: each code that is found is replaced by another one."""
    ga: bool = True
    """False: no gamma and no log curves (table 5)."""
    attention: Literal["quantized", "full", "none"] = "quantized"
    """Table 5. Without codes, "quantized" becomes attention over all pixels."""
    topk: Literal["codes", "pixels"] = "codes"
    """"codes": the K most frequent codes, weighted by use; "pixels": K pixels, the literal reading."""
    pairing: Literal["joint", "rank"] = "joint"
    """"joint": Q's assignment groups K too; "rank": Q and K are ranked separately, as printed."""
    ga_normalise: Literal["sigmoid", "minmax"] = "sigmoid"
    """How X is normalised into [0, 1]: pixel by pixel, or by the extremes of each image and channel."""
    gamma_exponent: Literal["softmax", "C*softmax"] = "C*softmax"
    """"softmax": exponents of gamma near 1 / C, the literal reading."""

    def __post_init__(self) -> None:
        check_choices(self)
        if self.permuted and self.codebook in ("bypass", "none"):
            raise ValueError(f"permuted needs codes, and codebook is {self.codebook!r}")


def make_network(bands: int, settings: Settings, ablation: Ablation) -> GANet:
    """The network with the parts of ``ablation``."""
    if settings.count_stride > 1 and ablation.attention != "quantized":
        raise ValueError(
            f"count_stride needs attention 'quantized', and attention is {ablation.attention!r}"
        )
    return GANet(bands, settings, select_parts(ablation))


def select_parts(a: Ablation) -> Parts:
    """The constructors of the parts of ``a``."""
    codebooks: dict[str, Any] = {"bypass": draw_no_codebooks, "none": NoCodebooks}
    learned = PermutedCodebooks if a.permuted else MixtureOfCodebooks
    curve, attention = _select_curve(a), _select_attention(a)
    return Parts(
        codebooks=codebooks.get(a.codebook, learned),
        fusion=None if a.codebook == "none" else CodeFusion,
        attention=None if attention is None else partial(attention, curve=curve),
        feed=partial(GrayscaleFeedForward, curve=curve if a.ga else None),
    )


def _select_curve(a: Ablation) -> Any:
    if not a.ga:
        return NoCurve
    minmax, softmax = a.ga_normalise == "minmax", a.gamma_exponent == "softmax"
    return partial(LiteralCurve, minmax=minmax, softmax=softmax) if minmax or softmax else GrayscaleAware


def _select_attention(a: Ablation) -> Any:
    if a.attention == "none":
        return None
    if a.attention == "full" or a.codebook == "none":
        return FullAttention
    if a.codebook == "bypass":
        return BypassAttention
    pixels, rank = a.topk == "pixels", a.pairing == "rank"
    return partial(LiteralAttention, pixels=pixels, rank=rank) if pixels or rank else QuantizedAttention


# ------------------------------------------------------------------ codes


class PermutedCodebook(Codebook):
    """Finds codes as trained and replaces each by another one."""

    def find(self, rows: Tensor) -> Tensor:
        nearest = super().find(rows)
        return permutation(len(self.codes)).to(nearest.device)[nearest]


class PermutedCodebooks(MixtureOfCodebooks):
    def codebook(self, scale: int, sites: list[Site] | None = None) -> Codebook:
        return PermutedCodebook(self.at(scale), sites)


@functools.cache
def permutation(n: int) -> Tensor:
    """A fixed permutation (N,) int64 of ``n`` codes that leaves none in its place: one random cycle."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    return torch.empty_like(order).scatter_(0, order, order.roll(-1))


def draw_like(codes: Tensor, generator: torch.Generator) -> Tensor:
    """Random codes (N, D): normal, with the mean and the covariance of the rows of ``codes`` (N, D).

    Sums of all rows about their mean with normal weights are such draws, and need no factorisation.
    """
    rows = codes.double()
    mean, n = rows.mean(0), len(rows)
    weights = torch.randn(n, n, generator=generator, dtype=torch.float64) / max(n - 1, 1) ** 0.5
    return (mean + weights @ (rows - mean)).to(codes.dtype)


@dataclass
class FeatureQuery:
    """A look-up without codes: the features themselves."""

    features: Tensor

    def straight_through(self) -> Tensor:
        return self.features


class NoCodebook:
    """Replaces a codebook: every feature is its own code."""

    sites = None

    def query(self, features: Tensor) -> FeatureQuery:
        return FeatureQuery(features)


class NoCodebooks(nn.Module):
    def __init__(self, n_codes: int, widths: Sequence[int]) -> None:
        super().__init__()

    def codebook(self, scale: int, sites: list[Site] | None = None) -> NoCodebook:
        return NoCodebook()


def draw_no_codebooks(n_codes: int, widths: tuple[int, ...]) -> NoCodebooks:
    """No codebooks, after drawing some: equal seeds give all networks with fusion equal first weights."""
    MixtureOfCodebooks(n_codes, widths)
    return NoCodebooks(n_codes, widths)


# ------------------------------------------------------------------ attention


class LiteralAttention(QuantizedAttention):
    """Two literal readings. ``rank``: Q and K are ranked separately, and their k-th codes are a pair.
    ``pixels``: pixels are sorted by the frequency of their code, and the first K kept with repetition."""

    def __init__(self, *args: Any, pixels: bool, rank: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pixels, self.rank = pixels, rank

    def group(self, q: Tensor, key: Tensor, codebook: Codebook) -> tuple[Tensor, ...]:
        if not self.rank:
            return super().group(q, key, codebook)
        n = len(codebook.codes)
        of_q = gqa.group_sums(codebook.query(q).indices, n, q)
        return *of_q, *gqa.group_sums(codebook.query(key).indices, n, key)

    def slots(self, totals: Sequence[Tensor], codebook: Codebook) -> Slots:
        if not self.rank:
            return super().slots(totals, codebook)
        codes, counts = [], []
        for count, total in (totals[:2], totals[2:]):  # of Q, of K
            kept, count = gqa.top_codes(count, self.k)
            means = gqa.group_means(gqa.rows_at(kept, total), count)
            codes.append(gqa.straight_through(codebook.codes[kept], means))
            counts.append(count)
        return self.weigh(*codes, *counts)

    def weigh(self, code_q: Tensor, code_k: Tensor, counts_q: Tensor, counts_k: Tensor) -> Slots:
        if not self.pixels:
            return super().weigh(code_q, code_k, counts_q, counts_k)
        images = [self._repeat(*image) for image in zip(code_q, code_k, counts_q, counts_k, strict=True)]
        q, key, weight = (torch.stack(t) for t in zip(*images, strict=True))
        return q, key, weight

    def _repeat(self, code_q: Tensor, code_k: Tensor, counts_q: Tensor, counts_k: Tensor) -> Slots:
        """The slots of one image."""
        # one slot of weight 1 / K per pixel; the kept codes of both have at least as many pixels
        take = min(self.k, int(counts_q.sum()))
        q, key = (
            torch.repeat_interleave(code, count, dim=0)[:take]
            for code, count in ((code_q, counts_q), (code_k, counts_k))
        )
        return q, key, code_q.new_full((take,), 1 / take)

    def look_ups(self, pixels: int, n: int) -> int:
        return 2 * (pixels // self.stride**2) if self.rank else super().look_ups(pixels, n)


class BypassAttention(QuantizedAttention):
    """The layers of quantized attention, over all pixels: what it becomes where each has its own code."""

    def attend(self, before: nn.Module, x: Tensor, codebook: Codebook) -> Tensor:
        def queries_and_keys(part: Tensor) -> tuple[Tensor, ...]:
            return self.widen(self.project(before(part)))  # B C H W each

        def queries(part: Tensor) -> Tensor:
            return queries_and_keys(part)[0]

        def sums(part: Tensor) -> tuple[Tensor, ...]:
            q = queries(part)
            return q.sum((2, 3)), q.new_tensor(float(q.shape[2] * q.shape[3]))

        def products(part: Tensor) -> tuple[Tensor, ...]:
            q, key = queries_and_keys(part)
            q = self.curve.apply_curve(q, a, bounds)
            return (q.flatten(2) @ key.flatten(2).transpose(1, 2),)  # B C C

        bounds = self.curve.bounds(x, queries)
        total, pixels = whole_image(sums, x)
        a = self.curve.strength(total / pixels)
        return self.softmax(whole_image(products, x)[0] / pixels)

    def widen(self, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Q and K (B, D, H, W) -> (B, C, H, W)."""
        return tuple(on_pixels(layer, part) for layer, part in zip(self.from_code, parts, strict=True))

    def look_ups(self, pixels: int, n: int) -> int:
        return 0


class FullAttention(BypassAttention):
    """Attention over all pixels at width C, without codes."""

    def add_projections(self, c: int, d: int) -> None:
        self.query_key = nn.Conv2d(c, 2 * c, 1)

    def widen(self, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return parts


# ------------------------------------------------------------------ grayscale-aware curves


class LiteralCurve(GrayscaleAware):
    """Two other readings. ``minmax``: X is normalised by the extremes of each image and channel.
    ``softmax``: exponents of gamma sum to 1."""

    def __init__(self, channels: int, kind: str, *, minmax: bool, softmax: bool) -> None:
        super().__init__(channels, kind)
        self.minmax, self.literal = minmax, softmax

    def strength(self, z: Tensor) -> Tensor:
        if not self.literal:
            return super().strength(z)
        return torch.softmax(F.linear(z, self.weight, self.bias), dim=1)

    def to_unit(self, x: Tensor, *bounds: Tensor) -> Tensor:
        if not self.minmax:
            return super().to_unit(x)
        low, high = bounds
        return ((x - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)

    def bounds(self, x: Tensor, layer: Callable[[Tensor], Tensor] | None = None) -> Bounds:
        if not self.minmax:
            return ()

        def extremes(part: Tensor) -> tuple[Tensor, ...]:
            part = part if layer is None else layer(part)
            return part.amin((2, 3)), part.amax((2, 3))

        return whole_image(extremes, x, reduce=("min", "max"))

    def bounds_of_slots(self, x: Tensor, weight: Tensor) -> Bounds:
        if not self.minmax:
            return ()
        unused = weight[:, None] <= 0
        low = x.masked_fill(unused, torch.inf).amin(2)
        return low, x.masked_fill(unused, -torch.inf).amax(2)


class NoCurve(nn.Module):
    """Replaces the curve of the attention by none."""

    def __init__(self, channels: int, kind: str) -> None:
        super().__init__()

    def on_slots(self, x: Tensor, weight: Tensor) -> Tensor:
        return x

    def bounds(self, x: Tensor, layer: Callable[[Tensor], Tensor] | None = None) -> Bounds:
        return ()

    def strength(self, z: Tensor) -> Tensor:
        return z

    def apply_curve(self, x: Tensor, a: Tensor, bounds: Bounds = ()) -> Tensor:
        return x
