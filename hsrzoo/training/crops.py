"""Random crops of the scenes of a data set and of the pools beside it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from hsrzoo.datasets.base import Dataset, data_masks
from hsrzoo.errors import TrainingError, note
from hsrzoo.spec import Recipe, RgbInput
from hsrzoo.training.loading.cache import SceneCache
from hsrzoo.training.loading.stored import Pair, StoredScene, encode
from hsrzoo.training.pools import Pool, Treatment

_MOST_TRIES = 100
"""Crops in a row without data after which a pool is given up."""


@dataclass(frozen=True)
class Window:
    """Where a crop is."""

    pool: int
    """0: the data set."""
    place: int
    """Of the scene."""
    rows: slice
    columns: slice


class Crops:
    """The one place that crops are drawn from: 2 (C + 3) H W bytes a scene, twice as many where its values
    are not those of 16 bits, in memory or in the cache (:mod:`hsrzoo.training.loading.cache`).

    Crops are as large as the patch and as the smallest scene of the data set allow; scenes of pools that
    are smaller are continued by mirroring. Crops without any data are drawn again.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        scenes: Sequence[str],
        recipe: Recipe,
        rgb_input: RgbInput,
        *,
        name: str,
        pools: Sequence[tuple[Pool, Sequence[str]]] = (),
        cache: bool | None = None,
    ) -> None:
        """``name``: the network's; ``pools``: each with the scenes it gives; ``cache``: see
        :class:`SceneCache`. BandsError or TrainingError where one does not fit."""
        self._recipe, self._input, self._name = recipe, rgb_input, name
        self._own = (dataset, split, list(scenes))
        self._pools = [
            (Treatment(pool, dataset.bands, rgb_input.normalise), list(names)) for pool, names in pools
        ]
        self._shares = list(accumulate(pool.share for pool, _ in pools))
        self.scenes: list[StoredScene] = []
        """Those of the data set, then those of the pools."""
        self.names: list[str] = []
        self._ends: list[int] = []
        """Place after the last scene of the data set, and of each pool."""
        self.size = (0, 0)
        self._cache = cache

    def read(self) -> None:
        """Read all scenes. TrainingError names the first that has no data at all."""
        dataset, split, names = self._own
        known: dict[tuple[int, bool], SceneCache] = {}  # scenes of a pool may be those of the data set
        self.names = list(names)
        self.scenes = self._read(dataset, split, names, known)
        self._ends = [len(names)]
        self.size = self._crop_size()
        for treatment, scenes in self._pools:
            found = self._read(treatment.pool.data, treatment.pool.split, scenes, known, treatment)
            self.names += scenes
            self.scenes += [scene.padded(*self.size) for scene in found]
            self._ends.append(len(self.scenes))

    def window(self, generator: torch.Generator, pool: int | None = None) -> Window:
        """A window with some data, of a random scene.

        ``pool``: of this one; by default one is drawn according to their shares.
        """
        height, width = self.size
        while True:
            drawn = self._pool(generator) if pool is None else pool
            start = self._ends[drawn - 1] if drawn else 0
            place = start + below(self._ends[drawn] - start, generator)
            rows, columns = self.scenes[place].shape
            top = below(rows - height + 1, generator)
            left = below(columns - width + 1, generator)
            window = Window(drawn, place, slice(top, top + height), slice(left, left + width))
            gaps = self.scenes[place].gaps
            if gaps is None or not gaps[window.rows, window.columns].all():
                return window

    def cube(self, window: Window) -> Tensor:
        """The cube (C, h, w) there."""
        return self.scenes[window.place].crop(window.rows, window.columns)[1]

    def draw(self, generator: torch.Generator, out: Pair | None = None) -> tuple[int, Tensor, Tensor]:
        """The place of a scene and a crop of it, rgb and cube, changed as its pool says; ``out``: where
        they are written."""
        if out is None:
            out = torch.empty(3, *self.size), torch.empty(len(self._own[0].bands), *self.size)
        pool, place = self._view(generator, out)
        treatment = self._pools[pool - 1][0] if pool else None
        if treatment is None or not treatment.pool.changed:
            return place, *out
        for _ in range(_MOST_TRIES):
            rgb, cube = treatment.crop(*out, generator)
            if not cube.isnan().all():
                return place, out[0].copy_(rgb), out[1].copy_(cube)
            _, place = self._view(generator, out, pool)  # of this pool: shares stay
        raise TrainingError(
            f"The pool {treatment.pool.data.name} leaves no pixel of its crops",
            expected=f"pixels whose mean of R, G and B is {treatment.pool.dark:g} or more and that the "
            "exposure does not clip",
            got=f"none in {_MOST_TRIES} crops",
            fix="Change dark or exposure",
        )

    def _pool(self, generator: torch.Generator) -> int:
        """0, the data set, or in its share of the draws a pool, counted from 1."""
        if not self._pools:
            return 0
        found = bisect_right(self._shares, float(torch.rand((), generator=generator)))
        return found + 1 if found < len(self._pools) else 0

    def _view(self, generator: torch.Generator, out: Pair, pool: int | None = None) -> tuple[int, int]:
        """Write a window of a scene to ``out``, flipped and turned at random; its pool and its place."""
        window = self.window(generator, pool)
        augment = self._recipe.augment
        axes = [axis for axis in (1, 2) if "flip" in augment and below(2, generator)]
        turns = below(4, generator) if "rotate" in augment else 0
        if self.size[0] != self.size[1]:
            turns -= turns % 2  # a quarter turn would not fit the batch
        self.scenes[window.place].write(window.rows, window.columns, out, axes, turns)
        return window.pool, window.place

    def _read(
        self, data: Dataset, split: str, names: Sequence[str], known: dict[tuple[int, bool], SceneCache],
        treatment: Treatment | None = None,
    ) -> list[StoredScene]:  # fmt: skip
        """Scenes; of one object ``data`` none is read twice."""

        def read(name: str) -> np.ndarray:
            scene = data.load(split, name)
            cube = scene.cube if treatment is None else treatment.scene(scene.cube)
            require_data(data, split, name, cube)
            return encode(scene.rgb, cube)

        resampled = treatment is not None and treatment.pool.resample
        bands = self._own[0].bands if resampled else data.bands
        cache = known.setdefault((id(data), resampled), SceneCache(data, bands, self._cache))
        found = cache.scenes(split, names, read)
        return found if self._input.normalise == "none" else [scene.normalised() for scene in found]

    def _crop_size(self) -> tuple[int, int]:
        """Height and width of the crops, in whole multiples of what the network takes."""
        multiple = self._input.multiple
        least = max(self._input.min_size, multiple)
        high, wide = (min(sides) for sides in zip(*(scene.shape for scene in self.scenes), strict=True))
        height, width = (min(self._recipe.patch, side) // multiple * multiple for side in (high, wide))
        if min(height, width) < least:
            side, name = (high, "high") if height < least else (wide, "wide")
            raise TrainingError(
                f"The crops are too small for {self._name}",
                expected=f"at least {least} pixels",
                got=f"patch {self._recipe.patch}, smallest scene {side} pixels {name}",
                fix="Raise --patch" if side >= least else "Leave out scenes that are so small",
            )
        patch = self._recipe.patch
        if min(height, width) < patch:
            why = [f"the smallest scene has {high} x {wide}"] if min(high, wide) < patch else []
            why += [f"{self._name} takes multiples of {multiple}"] if multiple > 1 else []
            note(f"Crops are {height} x {width} pixels, not {patch}: {', and '.join(why)}")
        return height, width


def require_data(data: Dataset, split: str, name: str, cube: np.ndarray) -> None:
    """TrainingError if a scene has no pixel whose values are all known, in the bands with data."""
    if not data_masks(cube)[1].any():
        raise TrainingError(
            f"The scene {name} of {data.name}/{split} has no pixel with data",
            expected="a pixel whose values in the bands with data are all known",
            got=f"NaN in every one of {cube[0].size} pixels",
            fix="Leave the scene out of the split, or choose other bands",
        )


def below(n: int, generator: torch.Generator) -> int:
    """A whole number from 0 to ``n`` - 1."""
    return int(torch.randint(n, (), generator=generator))
