"""Scenes made of random numbers, and weights whose prediction intervals were calibrated on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hsrzoo.bands import BandSet
from hsrzoo.cli.intervals import command
from hsrzoo.datasets.base import Scene
from hsrzoo.datasets.common import IndexedDataset

NAMES = [f"s{i:02}" for i in range(20)]


class Random(IndexedDataset):
    """Scenes whose last band no camera sees: its spread around the mean of R, G, B differs by colour."""

    name = "random"
    bands = BandSet.regular(400, 700, 100)
    index = {"train": NAMES, "valid": [f"v{i:02}" for i in range(9)], "few": ["v00", "v01"]}  # noqa: RUF012
    camera = None

    def __init__(self) -> None:
        self.info = {"response": "nikon-d5100"}

    def read(self, split: str, scene: str) -> Scene:
        rng = np.random.default_rng([*scene.encode()])
        gain = rng.uniform(0.5, 2, (1, 8, 8))
        rgb = (gain * rng.uniform(0, 0.4, (3, 8, 8))).astype(np.float32)
        unseen = rgb.mean(0) * (1 + rng.normal(0, 0.1)) + rgb[0] * rng.normal(0, 0.5, (8, 8))
        return Scene(scene, rgb, np.concatenate([rgb, unseen[None].astype(np.float32)]))

    def files(self) -> list[Path]:
        return []

    def fingerprint(self) -> str:
        return "random"


def calibrate(folder: Path, *arguments: str) -> str:
    args = [f"local-dir:{folder}", "--dataset", "random", *arguments]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hsrzoo.datasets.open_dataset", lambda *_, **__: Random())
        patch.setattr("hsrzoo.cli.names.DATASET.convert", lambda value, *_: value)
        found = CliRunner().invoke(command, args)
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    assert found.exit_code == 0, found.output
    return found.output
