"""Pools: data sets that a network is trained on beside the first one, and how their crops are changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hsrzoo.bands import BandSet
from hsrzoo.camera import Camera
from hsrzoo.datasets.base import Dataset
from hsrzoo.datasets.named import Opener, parse_named
from hsrzoo.datasets.reflectances import Reflectances
from hsrzoo.errors import BandsError, TrainingError
from hsrzoo.training.augment import log_uniform
from hsrzoo.training.repaint import Repainter


@dataclass(frozen=True, eq=False)
class Pool:
    """Scenes that a share of the crops come from. They never validate.

    Raises:
        TrainingError: A value is out of range.
    """

    data: Dataset
    share: float = 0.25
    """Of all crops, above 0 and below 1."""
    split: str = "train"
    exposure: tuple[float, float] | None = None
    """RGB and cube of a crop are multiplied by the same number, log-uniform between these. RGB is then
    clipped at 1, and pixels where that changes it count as no data: it no longer tells how bright they are.
    """
    dark: float = 0.0
    """Pixels whose mean of R, G and B is then below this count as no data. Crops without any data are drawn
    again."""
    repaint: Reflectances | None = None
    """Repaint the crops with these (:mod:`hsrzoo.training.repaint`)."""
    resample: bool = False
    """Resample the cubes to the bands of the first data set; RGB stays as it was rendered."""

    def __post_init__(self) -> None:
        low, high = self.exposure or (1.0, 1.0)
        for name, holds, expected, got in (
            ("share", 0 < self.share < 1, "above 0, below 1", self.share),
            ("exposure", 0 < low <= high < np.inf, "0 < LOW <= HIGH, finite", f"{low:g}-{high:g}"),
            ("dark", 0 <= self.dark < 1, "0 or more, below 1", self.dark),
        ):
            if not holds:
                raise TrainingError(
                    f"The {name} of the pool {self.data.name} is impossible", expected=expected, got=got
                )

    @property
    def changed(self) -> bool:
        """Whether crops are changed, for which RGB must be as the camera gave it."""
        return self.exposure is not None or self.dark > 0 or self.repaint is not None

    def record(self) -> dict[str, Any]:
        """What is not as in a plain pool, for config.json."""
        found: dict[str, Any] = {}
        if self.exposure is not None:
            found["exposure"] = list(self.exposure)
        if self.dark:
            found["dark"] = self.dark
        if self.repaint is not None:
            found["repaint"] = {
                "sources": self.repaint.info["sources"],
                "fingerprint": self.repaint.fingerprint(),
            }
        if self.resample:
            found["resample"] = True
        return found


def parse_pool(text: str, opener: Opener) -> Pool:
    """Open a pool in the form ``NAME:share=0.2,exposure=0.7-3,dark=0.04,repaint=charts+ecostress``.

    Further keys: ``split`` and ``resample`` (true or false); all others are options of the data set. The
    value of ``repaint`` is that of the option ``sources`` of the data set ``reflectances``.

    Raises:
        InputError: The text cannot be read.
        TrainingError: A value does not fit.
        DatasetMissingError: A data set is not on this machine.
    """
    name, options = parse_named(text, "pool")
    parsers: dict[str, Callable[[str], Any]] = {
        "share": partial(_number, "share"),
        "dark": partial(_number, "dark"),
        "exposure": _range,
        "split": str,
        "resample": _yes_or_no,
        "repaint": lambda sources: opener("reflectances", {"sources": sources}),
    }
    values = {key: parse(options.pop(key)) for key, parse in parsers.items() if key in options}
    if "share" not in values:
        raise TrainingError(f"The pool {name} has no share", expected=f"{name}:share=0.2", got=repr(text))
    return Pool(opener(name, options), **values)


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise _unreadable(key, "a number", text) from None


def _range(text: str) -> tuple[float, float]:
    low, _, high = text.partition("-")
    try:
        return float(low), float(high)
    except ValueError:
        raise _unreadable("exposure", "two numbers with a hyphen between, such as 0.7-3", text) from None


def _yes_or_no(text: str) -> bool:
    if text not in ("true", "false"):
        raise _unreadable("resample", "true or false", text)
    return text == "true"


def _unreadable(key: str, expected: str, text: str) -> TrainingError:
    return TrainingError(f"The {key} of a pool does not fit", expected=expected, got=repr(text))


class Treatment:
    """What is done to the scenes and the crops of one pool."""

    def __init__(self, pool: Pool, bands: BandSet, normalise: str) -> None:
        """``bands``: those of the crops; ``normalise``: how the network's RGB is.

        Raises:
            BandsError: The pool's bands are others, and it is not resampled, or covers none of them.
            TrainingError: Its crops cannot be changed as it says.
        """
        self.pool, data = pool, pool.data
        self._bands = bands
        if not pool.resample:
            bands.require_same(
                data.bands, "the first data set", data.name, fix="Add resample=true to the pool"
            )
        elif not data.bands.resample_matrix(bands)[1].any():
            raise BandsError(f"{data.name} covers none of the bands", expected=bands, got=data.bands)
        if pool.changed and normalise != "none":
            raise TrainingError(
                f"The crops of {data.name} cannot be changed",
                expected="a network whose RGB is not normalised, for exposure, dark and repaint",
                got=f"normalise={normalise}",
            )
        camera: Camera | None = getattr(data, "camera", None)
        self._repainter: Repainter | None = None
        if pool.repaint is not None:
            if camera is None:
                raise TrainingError(
                    f"The scenes of {data.name} cannot be repainted",
                    expected="RGB that is rendered by a camera",
                    got="RGB that comes with the set",
                )
            libraries = list(pool.repaint.spectra().values())
            self._repainter = Repainter(libraries, camera, bands, data.rgb_bits)

    def scene(self, cube: np.ndarray) -> np.ndarray:
        """A cube (C, H, W) of the pool on the bands of the crops, NaN where it does not cover them."""
        if not self.pool.resample:
            return cube
        found, covered = self.pool.data.bands.resample(cube, self._bands)
        found[~covered] = np.nan
        return found

    def crop(self, rgb: Tensor, cube: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A crop, (3, h, w) and (C, h, w) float32, changed."""
        pool = self.pool
        if self._repainter is not None:
            rgb, cube = self._repainter(rgb, cube, generator)
        if pool.exposure is not None:
            gain = log_uniform(generator, *pool.exposure)
            rgb, cube = rgb * gain, cube * gain
            cube = torch.where((rgb > 1).any(dim=0), torch.nan, cube)
            rgb = rgb.clamp(max=1)
        if pool.dark:
            cube = torch.where(rgb.mean(dim=0) < pool.dark, torch.nan, cube)
        return rgb, cube


def require_shares(pools: Sequence[Pool]) -> None:
    """TrainingError unless the first data set is left some crops."""
    total = sum(pool.share for pool in pools)
    if not total < 1:
        raise TrainingError(
            "The shares of the pools leave nothing for the first data set",
            expected="a sum below 1",
            got=f"{total:g}",
        )


def scenes_of(pool: Pool, dataset: Dataset, split: str, held_out: Sequence[str] = ()) -> list[str]:
    """The scenes of a pool beside ``dataset`` and ``split``, without those of the same split that are
    ``held_out``.

    Raises:
        TrainingError: There is none, or another split of the same data would let held-out scenes in.
    """
    names, same_place = pool.data.scenes(pool.split), _place_of(pool.data) == _place_of(dataset)
    if same_place and pool.split == split:
        names = [name for name in names if name not in held_out]
    if not names:
        raise TrainingError(
            f"{pool.data.name}/{pool.split} has nothing to add", expected="at least one scene", got="none"
        )
    let_in = sorted(set(held_out) & set(names))
    if let_in and same_place:
        raise TrainingError(
            f"{pool.data.name}/{pool.split} would add scenes that are held out",
            expected="scenes to train on that validate nothing",
            got=", ".join(let_in),
            fix="Add another split or data set, or train with --holdout 0",
        )
    return names


def _place_of(data: Dataset) -> tuple[str, Any]:
    """Where the scenes come from, independent of options: all folders of the user have the same name."""
    return data.name, getattr(data, "folder", None)


def dataset_record(data: Dataset, split: str, scenes: Sequence[str]) -> dict[str, Any]:
    """The entries of a record that describe a data set."""
    return {
        "dataset": data.name,
        "dataset_info": data.record(),
        "split": split,
        "scenes": list(scenes),
        "fingerprint": data.fingerprint(),
    }


def pools_record(pools: Sequence[tuple[Pool, Sequence[str]]]) -> dict[str, Any]:
    """What the pools, each with its scenes, add to a record: ``extra`` and, a list if there are several,
    ``extra_share``; nothing without pools."""
    if not pools:
        return {}
    shares = [pool.share for pool, _ in pools]
    return {
        "extra": [
            {**dataset_record(pool.data, pool.split, names), **pool.record()} for pool, names in pools
        ],
        "extra_share": shares if len(shares) > 1 else shares[0],
    }
