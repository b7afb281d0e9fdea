"""A plugin file with a data set of four tiny random scenes and a network of a few hundred weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.datasets.base import Dataset, Scene, VerifyReport
from hsrzoo.spec import DatasetSpec, ModelSpec, Recipe, Start


class ToySet(Dataset):
    """Scenes s0 .. s3 of 5 x 20 x 24; the RGB is bands 0, 2, 4; band 1 holds the scene's number / 10."""

    name = "toy-set"
    bands = BandSet.regular(400, 700, 75)
    rgb_bits = None

    def __init__(self, height: int = 20, width: int = 24, count: int = 5) -> None:
        self.shape = (count, height, width)
        if count != 5:
            self.bands = BandSet.regular(400, 700, 300 / (count - 1))
        self.info = {}

    def splits(self) -> tuple[str, ...]:
        return ("train",)

    def scenes(self, split: str) -> list[str]:
        return [f"s{i}" for i in range(4)]

    def load(self, split: str, scene: str) -> Scene:
        number = int(scene[1:])
        cube = np.random.default_rng(number).random(self.shape, dtype=np.float32)
        cube[1] = number / 10
        return Scene(scene, cube[[0, 2, 4]].copy(), cube)

    def fingerprint(self) -> str:
        return "toy"

    def verify(self) -> VerifyReport:
        return VerifyReport(self.name, {"train": 4}, {}, self.bands, (0, 1), (0, 1), "toy")


class ToyNet(nn.Module):
    """Two convolutions, dropout, a frozen layer and frozen buffers."""

    def __init__(self, bands: BandSet, width: int = 8) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.1)
        self.leave = nn.Conv2d(width, len(bands), 1)
        self.frozen = nn.Parameter(torch.rand(3), requires_grad=False)
        self.register_buffer("codebook", torch.randn(16, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.drop(torch.relu(self.norm(self.enter(x * self.frozen[:, None, None])))))


def start(path: Path, bands: BandSet, arguments: Mapping[str, Any]) -> Start:
    """A start whose codebook is all 7; ``wrong`` in the path gives one that does not fit."""
    rows = 3 if "wrong" in path.name else 16
    return Start({"width": 6}, {"codebook": torch.full((rows, 4), 7.0)}, {"codebook": path.name})


DATA = DatasetSpec("toy-set", lambda root: ToySet(), "toy", "made on the fly", "none")
SEVEN = DatasetSpec("toy-seven", lambda root: ToySet(count=7), "toy", "made on the fly", "none")
"""The same of seven bands."""
NET = ModelSpec(
    "toy-net",
    ToyNet,
    "toy",
    "tests",
    start=start,
    recipe=Recipe(steps=24, batch=2, patch=16, checkpoint_every=5, valid_every=8),
    recipes={
        "authors": Recipe(
            batch=2,
            patch=16,
            lr=4e-4,
            schedule="cosine",
            final_lr=1e-6,
            loss="mrae",
            ema=0.0,
            normalise="minmax-image",
        )
    },
)
FITTED = ModelSpec(
    "toy-fitted",
    lambda bands: ToyNet(bands).requires_grad_(False),
    "toy",
    "tests",
    fit=lambda module, dataset, split: None,
)
