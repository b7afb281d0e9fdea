"""Crops as a data set: what models that are fitted, not trained, take where there are pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hsrzoo.datasets.base import Dataset, Scene, VerifyReport
from hsrzoo.datasets.survey import survey
from hsrzoo.errors import TrainingError, require_known
from hsrzoo.spec import Recipe, RgbInput
from hsrzoo.training.crops import Crops
from hsrzoo.training.loading.loader import seed_step
from hsrzoo.training.pools import Pool, pools_record, require_shares, scenes_of

SPLIT = "train"
_IN_A_SCENE, _SEED = 16, 0


class CropSet(Dataset):
    """The crops that a training on ``dataset`` and ``pools`` would draw, 16 side by side in each scene."""

    scaled = False

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        pools: Sequence[Pool],
        *,
        crops: int,
        patch: int = 64,
        seed: int = 0,
    ) -> None:
        """``crops``: their number, raised to a multiple of 16; ``patch``: their side in pixels."""
        if crops < 1:
            raise TrainingError("There are no crops", expected="1 or more", got=crops)
        require_shares(pools)
        self.name, self.bands, self.rgb_bits = dataset.name, dataset.bands, dataset.rgb_bits
        self.info, self.encoding = dataset.info, dataset.encoding
        self._dataset, self._count = dataset, -(-crops // _IN_A_SCENE)
        self._pools = [(pool, scenes_of(pool, dataset, split)) for pool in pools]
        recipe = Recipe(patch=patch, augment=())
        scenes = dataset.scenes(split)
        self._crops = Crops(
            dataset, split, scenes, recipe, RgbInput(), name="this model", pools=self._pools
        )
        self._crops.read()

    def splits(self) -> tuple[str, ...]:
        """One."""
        return (SPLIT,)

    def scenes(self, split: str) -> list[str]:
        """``crops-0000`` and so on."""
        require_known(f"split of {self.name}", split, self.splits())
        return [f"crops-{number:04d}" for number in range(self._count)]

    def load(self, split: str, scene: str) -> Scene:
        """The same crops whenever it is called."""
        number = self.scenes(split).index(scene)
        generator = seed_step(_SEED, number)
        drawn = [self._crops.draw(generator) for _ in range(_IN_A_SCENE)]
        rgb = np.concatenate([rgb.numpy() for _, rgb, _ in drawn], axis=2)
        return Scene(scene, rgb, np.concatenate([cube.numpy() for _, _, cube in drawn], axis=2))

    def fingerprint(self) -> str:
        """That of the first data set."""
        return self._dataset.fingerprint()

    def verify(self) -> VerifyReport:
        """Read everything."""
        return survey(self)

    def pools(self) -> dict[str, Any]:
        """Pools and number of crops, for the record of weights."""
        return {**pools_record(self._pools), "crops": self._count * _IN_A_SCENE}
