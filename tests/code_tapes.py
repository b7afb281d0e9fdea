"""Runs of one network compared look-up by look-up, with its codes recorded and prescribed.

The nearest code and the K most used ones jump where two candidates are equally good, so two exact ways
to run one network may differ there by more than rounding. Two checks tell that from an error: with the
codes of one run prescribed to the other, only rounding is left; and of the codes that two free runs do
not share, each is compared with how far rounding could have moved the decision.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from unittest import mock

import torch
from torch import Tensor

from exactness import rounding_bound
from hsrzoo.layers import whole_image
from hsrzoo_mcga.codebook.lookup import MixtureOfCodebooks
from hsrzoo_mcga.codebook.search import engines
from hsrzoo_mcga.stage2.ablations import BypassAttention, LiteralAttention, LiteralCurve
from hsrzoo_mcga.stage2.grayscale import GrayscaleAware
from hsrzoo_mcga.stage2.network import GABlock, GANet
from strips import strips_of

Search = Callable[[Tensor, Tensor], Tensor]


def search_by(search: Search) -> AbstractContextManager[object]:
    """Within the block ``search(features, codes)`` answers every look-up of the process."""
    return mock.patch.object(engines, "search", search)


def whole_features() -> AbstractContextManager[None]:
    """No strips in the block: every layer sees the whole image."""
    return strips_of(1 << 62, 8)


@dataclass(frozen=True)
class Site:
    """A place in the network where codes are looked up. ``statistic``: the number of the whole-image
    statistic that it feeds, None if the features themselves go on; ``scale``: its pixels are 2^scale
    of the image's (None: a few rows that belong to no pixel)."""

    scale: int | None
    statistic: int | None = None


def sites_of(net: GANet) -> list[Site]:
    """The look-ups of one run, in order."""
    found: list[Site] = []
    if not isinstance(net.moc, MixtureOfCodebooks):
        return found
    statistics = 0
    for scale in range(net.scales, 0, -1):
        found.append(Site(scale))
        for block in net.blocks[scale - 1].children():
            attention = block.attention
            if attention is not None and not isinstance(attention, BypassAttention):
                rank = isinstance(attention, LiteralAttention) and attention.rank
                found.append(Site(scale, statistics))
                found.append(Site(scale, statistics) if rank else Site(None))
            statistics += statistics_of_block(block)
        found.append(Site(scale))
    return found


def statistics_of_block(block: GABlock) -> int:
    """How many statistics of the whole image a block asks for, one after another."""

    def extremes(curve: object) -> bool:
        return isinstance(curve, LiteralCurve) and curve.minmax

    attention, feed = block.attention, block.feed
    count = 0
    if isinstance(attention, BypassAttention):
        count += 2 + extremes(attention.curve)
    elif attention is not None:
        count += 1
    curve = feed.gamma or feed.log
    return count + (1 + extremes(curve) if isinstance(curve, GrayscaleAware) else 0)


@dataclass
class Tape:
    """Features (P, D) and codes (P,) of every site, row by row of the image, and the codebooks, on the
    CPU."""

    features: list[Tensor] = field(default_factory=list)
    indices: list[Tensor] = field(default_factory=list)
    tables: list[Tensor] = field(default_factory=list)


class Walker:
    """Says for every look-up of a run which site it belongs to and which of the site's rows it holds: of
    a whole image, of its strips (which follow one another), or of a tile."""

    def __init__(self, net: GANet, size: tuple[int, int]) -> None:
        self.sites, self._size, self._stride = sites_of(net), size, net.settings.count_stride
        self._slots = min(net.settings.k, net.settings.n_codes)
        self._left: list[int] = []
        self._open: list[tuple[int, Tensor]] = []
        self._call: whole_image.TileCall | None = None
        self._waiting: list[tuple[whole_image.TileCall | None, list[int], list[tuple[int, Tensor]]]] = []

    def rows(self, at: int) -> int:
        """How many rows a site has in a whole image."""
        return len(self._positions(at, None, own_only=False))

    def step(self, count: int, own_only: bool) -> tuple[int, Tensor]:
        """The site that looks ``count`` rows up now, and their places (count,) among its rows; -1 for
        those of a tile's halo if ``own_only``."""
        call = whole_image.current_call()
        if call is not self._call:
            self._turn_to(call)
        if not (self._open or self._left):
            self._left = list(range(len(self.sites)))
        if not self._open:
            self._open_next(call, own_only)
        at, left = self._open.pop(0)
        if len(left) < count:
            raise RuntimeError(f"site {at} looks {count} rows up, {len(left)} are left")
        if len(left) > count:  # sites of one statistic take turns, strip by strip
            self._open.append((at, left[count:]))
        return at, left[:count]

    def _turn_to(self, call: whole_image.TileCall | None) -> None:
        """Go on with ``call`` where it was left for another one, or begin."""
        self._waiting.append((self._call, self._left, self._open))
        begun = next((i for i, (other, *_) in enumerate(self._waiting) if other is call), None)
        self._call, self._left, self._open = (call, [], []) if begun is None else self._waiting.pop(begun)

    def _open_next(self, call: whole_image.TileCall | None, own_only: bool) -> None:
        """The next site, with all others that feed the same statistic."""
        known = 0 if call is None else len(call.known)  # these are not computed again
        numbers = [site.statistic for site in self.sites]
        left = [i for i in self._left if (number := numbers[i]) is None or number >= known]
        number = numbers[left[0]]
        together = [left[0]] if number is None else [i for i in left if numbers[i] == number]
        self._open = [(at, self._positions(at, call, own_only)) for at in together]
        self._left = [i for i in left if i not in together]

    def _positions(self, at: int, call: whole_image.TileCall | None, own_only: bool) -> Tensor:
        site = self.sites[at]
        if site.scale is None:
            return torch.arange(self._slots)
        step = (self._stride if site.statistic is not None else 1) << site.scale
        height, width = (-(-n // step) for n in self._size)
        grid = torch.arange(height * width).view(height, width)
        if call is None:
            return grid.reshape(-1)
        (top, left), own = call.origin, call.own
        mine = whole_image.Region(top + own.top, left + own.left, own.height, own.width)
        seen = mine if site.statistic is not None else whole_image.Region(top, left, *call.size)
        if own_only:
            kept = torch.full_like(grid, -1)
            _part(kept, mine, step).copy_(_part(grid, mine, step))
            grid = kept
        return _part(grid, seen, step).reshape(-1)


def _part(grid: Tensor, region: whole_image.Region, step: int) -> Tensor:
    """The part of a site's pixels that lies in a region of the image."""
    rows = slice(region.top // step, -(-(region.top + region.height) // step))
    return grid[rows, region.left // step : -(-(region.left + region.width) // step)]


class Recorder:
    """For :func:`search_by`: searches, and keeps features and codes on a tape."""

    def __init__(self, net: GANet, size: tuple[int, int]) -> None:
        self._walker, self._search, self.tape = Walker(net, size), engines.search, Tape()
        for at in range(len(self._walker.sites)):
            self.tape.features.append(torch.empty(0))
            self.tape.indices.append(torch.full((self._walker.rows(at),), -1))
            self.tape.tables.append(torch.empty(0))

    def __call__(self, features: Tensor, codes: Tensor) -> Tensor:
        found = self._search(features, codes)
        at, places = self._walker.step(len(features), own_only=True)
        tape, kept = self.tape, places >= 0
        if not len(tape.features[at]):
            tape.features[at] = torch.zeros(len(tape.indices[at]), features.shape[1])
            tape.tables[at] = codes.cpu()
        tape.features[at][places[kept]] = features.cpu()[kept]
        tape.indices[at][places[kept]] = found.cpu()[kept]
        return found


class Prompter:
    """For :func:`search_by`: answers with the codes of a tape."""

    def __init__(self, net: GANet, size: tuple[int, int], tape: Tape) -> None:
        self._walker, self._tape = Walker(net, size), tape

    def __call__(self, features: Tensor, codes: Tensor) -> Tensor:
        at, places = self._walker.step(len(features), own_only=False)
        return self._tape.indices[at][places].to(features.device)


@dataclass(frozen=True)
class Difference:
    """How the codes of two free runs over one image differ."""

    looked_up: int
    differ: int
    beyond: int
    """Of these, those that the difference of the features and rounding do not explain: errors."""


def compare_tapes(a: Tape, b: Tape) -> Difference:
    """Count other codes. With features x and y of the two runs and codes i and j, j may be found for y
    if |x - j|^2 - |x - i|^2 <= 2 |x - y| |i - j| + the search's own rounding."""
    looked_up = differ = beyond = 0
    for x, y, i, j, codes in zip(a.features, b.features, a.indices, b.indices, a.tables, strict=True):
        looked_up += len(i)
        rows = (i != j).nonzero()[:, 0]
        if not len(rows):
            continue
        x, y, i, j = x[rows], y[rows], i[rows], j[rows]
        first, second = codes[i].double(), codes[j].double()
        gap = (x.double() - second).square().sum(1) - (x.double() - first).square().sum(1)
        by_features = 2 * (x.double() - y.double()).norm(dim=1) * (first - second).norm(dim=1)
        allowed = by_features + rounding_bound(x, codes, j, i) + rounding_bound(y, codes, i, j)
        differ += len(rows)
        beyond += int((gap > allowed).sum())
    return Difference(looked_up, differ, beyond)
