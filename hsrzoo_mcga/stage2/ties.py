"""Equality in the face of ties: one network run in two ways, with its nearest codes prescribed and free.

The nearest code and the K most used ones jump where two candidates are equally good, so two exact ways
to run one network may differ there by more than rounding. They are compared twice: with the codes of
the first way prescribed to the second, where only rounding is left; and free, where the share of other
codes is counted, and each is held against how far rounding could have moved the decision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

import hsrzoo_mcga.codebook.search as search
from hsrzoo.datasets.base import Dataset
from hsrzoo.errors import InputError
from hsrzoo.layers import whole_image
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.models.rgb import padded_side
from hsrzoo.spec import Execution
from hsrzoo_mcga.codebook.search.exactness import rounding_bound
from hsrzoo_mcga.stage2.network import GANet


@dataclass(frozen=True)
class Site:
    """A place in the network where codes are looked up. ``statistic``: the number of the whole-image
    statistic that it feeds, None if the features themselves go on; ``scale``: its pixels are 2^scale
    of the image's (None: a few rows that belong to no pixel)."""

    scale: int | None
    statistic: int | None = None


def sites_of(net: GANet) -> list[Site]:
    """The look-ups of one run, in order."""
    s, statistics = net.settings, 0
    found: list[Site] = []
    if net.moc is None:
        return found
    for scale in range(net.scales, 0, -1):
        found.append(Site(scale))
        for _ in range(s.blocks[scale - 1]):
            if s.attention == "quantized":
                found.append(Site(scale, statistics))
                found.append(Site(scale, statistics) if s.pairing == "rank" else Site(None))
            statistics += {"quantized": 1, "none": 0}.get(s.attention, 2 + (s.ga_normalise == "minmax"))
            statistics += (1 + (s.ga_normalise == "minmax")) if s.ga else 0
        found.append(Site(scale))
    return found


@dataclass
class Tape:
    """Features (P, D) and codes (P,) of every site, row by row of the image, and the tables asked, on the
    CPU."""

    features: list[Tensor] = field(default_factory=list)
    indices: list[Tensor] = field(default_factory=list)
    tables: list[Tensor] = field(default_factory=list)


class Walker:
    """Knows for every look-up of a run which site asks and for which of the site's rows: of a whole
    image, of its strips (which follow one another), or of a tile."""

    def __init__(self, net: GANet, size: tuple[int, int], any_order: bool = False) -> None:
        self._any_order = any_order
        self.sites, self._size, self._stride = sites_of(net), size, net.settings.count_stride
        self._slots = min(net.settings.k, net.settings.n_codes)
        self._left = list(range(len(self.sites)))
        self._open: list[tuple[int, Tensor]] = []
        self._call: whole_image.TileCall | None = None

    def rows(self, at: int) -> int:
        """How many rows a site has in a whole image."""
        return len(self._positions(at, None, own_only=False))

    def step(self, count: int, own_only: bool) -> tuple[int, Tensor]:
        """The site that asks for ``count`` rows now, and their places (count,) among its rows; -1 for
        those of a tile's halo if ``own_only``."""
        call = whole_image.current_call()
        if call is not self._call or not (self._open or self._left):
            self._call, self._left, self._open = call, list(range(len(self.sites))), []
        if not self._open:
            self._open_next(count, call, own_only)
        at, left = self._open.pop(0)
        if len(left) < count:
            raise RuntimeError(f"site {at} asks for {count} rows, {len(left)} are left")
        if len(left) > count:  # sites of one statistic take turns, strip by strip
            self._open.append((at, left[count:]))
        return at, left[:count]

    def _open_next(self, count: int, call: whole_image.TileCall | None, own_only: bool) -> None:
        """The next site that asks, with all others that feed the same statistic."""
        known = 0 if call is None else len(call.known)  # these are not asked for again
        numbers = [site.statistic for site in self.sites]
        left = [i for i in self._left if (number := numbers[i]) is None or number >= known]
        first = left[0]
        if self._any_order:
            first = next((i for i in left if self.rows(i) == count), first)
        number = numbers[first]
        together = [first] if number is None else [i for i in left if numbers[i] == number]
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
    """Stands in for the search, passes the question on and keeps question and answer."""

    def __init__(self, net: GANet, size: tuple[int, int], any_order: bool = False) -> None:
        self._walker, self._search, self.tape = Walker(net, size, any_order), search.search_now, Tape()
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
    """Stands in for the search and answers with the codes of a tape."""

    def __init__(self, net: GANet, size: tuple[int, int], tape: Tape, any_order: bool = False) -> None:
        self._walker, self._tape = Walker(net, size, any_order), tape

    def __call__(self, features: Tensor, codes: Tensor) -> Tensor:
        at, places = self._walker.step(len(features), own_only=False)
        return self._tape.indices[at][places].to(features.device)


def whole_features() -> AbstractContextManager[None]:
    """No strips in the block: every layer sees the whole image."""
    return whole_image.strips_of(1 << 62, 8)


@dataclass(frozen=True)
class Flips:
    """How the codes of two free runs over one image differ."""

    asked: int
    differ: int
    beyond: int
    """Of these, those that the difference of the features and rounding do not explain: errors."""


def compare_tapes(a: Tape, b: Tape) -> Flips:
    """Count other codes. With features x and y of the two runs and codes i and j, j may be found for y
    if |x - j|^2 - |x - i|^2 <= 2 |x - y| |i - j| + the search's own rounding."""
    asked = differ = beyond = 0
    for x, y, i, j, codes in zip(a.features, b.features, a.indices, b.indices, a.tables, strict=True):
        asked += len(i)
        rows = (i != j).nonzero()[:, 0]
        if not len(rows):
            continue
        x, y, i, j = x[rows], y[rows], i[rows], j[rows]
        first, second = codes[i].double(), codes[j].double()
        gap = (x.double() - second).square().sum(1) - (x.double() - first).square().sum(1)
        moved = 2 * (x.double() - y.double()).norm(dim=1) * (first - second).norm(dim=1)
        allowed = moved + rounding_bound(x, codes, j, i) + rounding_bound(y, codes, i, j)
        differ += len(rows)
        beyond += int((gap > allowed).sum())
    return Flips(asked, differ, beyond)


WAYS = ("strips", "torch-search", "tiles", "compile")
"""Other ways to run a network; the first one is what a prediction does by default."""


def compare_ways(
    model: Reconstructor, rgb: np.ndarray, ways: Sequence[str], tile: int
) -> Iterator[dict[str, Any]]:
    """One row for each way to run ``model`` on ``rgb`` (3, H, W) in [0, 1], against the plain one: whole
    features and the search that the device gets by default.

    ``flipped``: share of look-ups with another code; ``beyond``: how many of these rounding does not
    explain; ``prescribed`` and ``free``: the largest difference of the cubes (C, H, W), which come too.
    """
    net, size = model.module, rgb.shape[1:]
    if not isinstance(net, GANet):
        raise InputError("Ties are a matter of networks with codebooks", expected="MCGA", got=model.name)
    at = padded_size(model, size)
    recorder = Recorder(net, at)
    with whole_features(), search.answered_by(recorder):
        plain = model.predict(rgb)
    for way in ways:
        other = _way(model, way, tile)
        any_order = way == "compile"
        if any_order:
            other.predict(rgb)  # compiles, and checks itself on a sample
        with _around(way), search.answered_by(Prompter(net, at, recorder.tape, any_order)):
            prescribed = other.predict(rgb)
        free = Recorder(net, at, any_order)
        with _around(way), search.answered_by(free):
            cube = other.predict(rgb)
        flips = compare_tapes(recorder.tape, free.tape)
        yield {
            "way": way,
            "asked": flips.asked,
            "flipped": flips.differ / max(flips.asked, 1),
            "beyond": flips.beyond,
            "prescribed": float(np.abs(prescribed - plain).max()),
            "free": float(np.abs(cube - plain).max()),
            "plain_cube": plain,
            "cube": cube,
        }


def padded_size(model: Reconstructor, size: Sequence[int]) -> tuple[int, int]:
    """Height and width of an image as the network gets it."""
    height, width = (padded_side(n, model.spec.input)[0] for n in size)
    return height, width


def _way(model: Reconstructor, way: str, tile: int) -> Reconstructor:
    how = {"tiles": Execution(tile=tile), "compile": Execution(compile=True)}.get(way, Execution())
    return Reconstructor(
        model.module,
        model.spec,
        model.bands,
        name=model.name,
        config=model.config,
        weights_sha256=model.weights_sha256,
        device=str(model.device),
        execution=how,
    )


@contextmanager
def _around(way: str) -> Iterator[None]:
    """The settings of a way."""
    with ExitStack() as stack:
        if way == "torch-search":
            stack.enter_context(search.search_engine("torch"))
        if way in ("torch-search", "compile"):
            stack.enter_context(whole_features())
        yield


def compare_dataset(
    model: Reconstructor, data: Dataset, split: str, scenes: Sequence[str], ways: Sequence[str], tile: int
) -> list[dict[str, Any]]:
    """:func:`compare_ways` over scenes: one row a way, with the change of the mean RMSE."""
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for name in scenes:
        scene = data.load(split, name)
        for row in compare_ways(model, scene.rgb, ways, tile):
            cubes = (row.pop("plain_cube"), row.pop("cube"))
            row["rmse_plain"], row["rmse"] = (_rmse(scene.cube, cube) for cube in cubes)
            found[row["way"]].append(row)
    return [_over_scenes(way, rows) for way, rows in found.items()]


def _rmse(truth: np.ndarray, cube: np.ndarray) -> float:
    return float(np.sqrt(np.mean((truth.astype(np.float64) - cube) ** 2)))


def _over_scenes(way: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    asked = sum(row["asked"] for row in rows)
    rmse = float(np.mean([row["rmse"] for row in rows]))
    return {
        "way": way,
        "scenes": len(rows),
        "asked": asked,
        "flipped": sum(row["flipped"] * row["asked"] for row in rows) / max(asked, 1),
        "beyond": sum(row["beyond"] for row in rows),
        "prescribed": max(row["prescribed"] for row in rows),
        "free": max(row["free"] for row in rows),
        "rmse": rmse,
        "rmse_change": rmse - float(np.mean([row["rmse_plain"] for row in rows])),
    }
