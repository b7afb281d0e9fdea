"""Random crops of the scenes of a data set and of the pools beside it, held in memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hsrzoo.datasets.base import Dataset, data_masks
from hsrzoo.errors import TrainingError
from hsrzoo.models.rgb import normalise
from hsrzoo.spec import Recipe, RgbInput
from hsrzoo.training.pools import Pool, Treatment

_MOST_TRIES = 100
"""Crops in a row without data after which a pool is given up."""
Pair = tuple[Tensor, Tensor]
"""rgb (3, H, W), normalised as the network expects it, and cube (C, H, W), both float32."""


class Crops:
    """The one place that crops are drawn from: 4 (C + 3) H W bytes a scene.

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
    ) -> None:
        """``name``: the network's; ``pools``: each with the scenes it gives. BandsError or TrainingError
        where one does not fit."""
        self._recipe, self._input, self._name = recipe, rgb_input, name
        self._own = (dataset, split, list(scenes))
        self._pools = [
            (Treatment(pool, dataset.bands, rgb_input.normalise), list(names)) for pool, names in pools
        ]
        self._shares = list(accumulate(pool.share for pool, _ in pools))
        self.pairs: list[Pair] = []
        """The scenes of the data set, then those of the pools."""
        self.names: list[str] = []
        self._ends: list[int] = []
        """Place after the last scene of the data set, and of each pool."""
        self._gaps: list[Tensor | None] = []
        """(H, W) bool of each scene, True at pixels without any data; None: nowhere."""
        self.size = (0, 0)

    def read(self) -> None:
        """Read all scenes. TrainingError names the first that has no data at all."""
        dataset, split, names = self._own
        known: dict[tuple[Any, ...], Pair] = {}  # scenes of a pool may be those of the data set
        self.names = list(names)
        self.pairs = [self._pair(dataset, split, name, known) for name in names]
        self._ends = [len(names)]
        self.size = self._crop_size()
        for treatment, scenes in self._pools:
            data, where = treatment.pool.data, treatment.pool.split
            self.names += scenes
            for name in scenes:
                rgb, cube = self._pair(data, where, name, known, treatment)
                self.pairs.append((self._mirrored(rgb), self._mirrored(cube)))
            self._ends.append(len(self.pairs))
        missing = [cube.isnan().all(dim=0) for _, cube in self.pairs]
        self._gaps = [where if where.any() else None for where in missing]

    def window(
        self, generator: torch.Generator, pool: int | None = None
    ) -> tuple[int, int, tuple[slice, slice, slice]]:
        """A pool (0: the data set), the place of one of its scenes and a window of that with some data.

        ``pool``: this one; by default one is drawn according to their shares.
        """
        height, width = self.size
        while True:
            drawn = self._pool(generator) if pool is None else pool
            start = self._ends[drawn - 1] if drawn else 0
            place = start + below(self._ends[drawn] - start, generator)
            rows, columns = self.pairs[place][0].shape[1:]
            top = below(rows - height + 1, generator)
            left = below(columns - width + 1, generator)
            window = (slice(None), slice(top, top + height), slice(left, left + width))
            gaps = self._gaps[place]
            if gaps is None or not gaps[window[1:]].all():
                return drawn, place, window

    def draw(self, generator: torch.Generator) -> tuple[int, Tensor, Tensor]:
        """The place of a scene and a crop of it, rgb and cube, changed as its pool says."""
        pool, place, rgb, cube = self._view(generator)
        treatment = self._pools[pool - 1][0] if pool else None
        if treatment is None or not treatment.pool.changed:
            return place, rgb, cube
        for _ in range(_MOST_TRIES):
            rgb, cube = treatment.crop(rgb, cube, generator)
            if not cube.isnan().all():
                return place, rgb, cube
            _, place, rgb, cube = self._view(generator, pool)  # of this pool: shares stay
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

    def _view(self, generator: torch.Generator, pool: int | None = None) -> tuple[int, int, Tensor, Tensor]:
        """A pool, the place of one of its scenes and a window of that, flipped and turned at random."""
        drawn, place, window = self.window(generator, pool)
        augment = self._recipe.augment
        axes = [axis for axis in (1, 2) if "flip" in augment and below(2, generator)]
        turns = below(4, generator) if "rotate" in augment else 0
        if self.size[0] != self.size[1]:
            turns -= turns % 2  # a quarter turn would not fit the batch

        def view(x: Tensor) -> Tensor:
            return torch.rot90(x[window].flip(axes), turns, dims=(1, 2))

        rgb, cube = self.pairs[place]
        return drawn, place, view(rgb), view(cube)

    def _pair(
        self, data: Dataset, split: str, name: str, known: dict[tuple[Any, ...], Pair],
        treatment: Treatment | None = None,
    ) -> Pair:  # fmt: skip
        """A scene; of one object ``data`` none is read twice."""
        key = (id(data), split, name, treatment is not None and treatment.pool.resample)
        if key not in known:
            scene = data.load(split, name)
            cube = scene.cube if treatment is None else treatment.scene(scene.cube)
            require_data(data, split, name, cube)
            # The whole scene is normalised, as the whole image will be when the network is used.
            rgb = normalise(torch.from_numpy(np.ascontiguousarray(scene.rgb))[None], self._input.normalise)
            known[key] = rgb[0], torch.from_numpy(np.ascontiguousarray(cube))
        return known[key]

    def _mirrored(self, image: Tensor) -> Tensor:
        """``image`` (K, H, W), continued at the bottom and on the right where a crop is larger."""
        missing = [max(0, size - side) for size, side in zip(self.size, image.shape[1:], strict=True)]
        if not any(missing):
            return image
        padded = np.pad(image.numpy(), ((0, 0), *((0, count) for count in missing)), mode="symmetric")
        return torch.from_numpy(padded)

    def _crop_size(self) -> tuple[int, int]:
        """Height and width of the crops, in whole multiples of what the network takes."""
        multiple = self._input.multiple
        least = max(self._input.min_size, multiple)
        high, wide = (min(rgb.shape[axis] for rgb, _ in self.pairs) for axis in (1, 2))
        height, width = (min(self._recipe.patch, side) // multiple * multiple for side in (high, wide))
        if min(height, width) < least:
            smallest = f"{high} pixels high" if height < least else f"{wide} pixels wide"
            raise TrainingError(
                f"The crops are too small for {self._name}",
                expected=f"at least {least} pixels",
                got=f"patch {self._recipe.patch}, smallest scene {smallest}",
                fix="Raise --patch",
            )
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
