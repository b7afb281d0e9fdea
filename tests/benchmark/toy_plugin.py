"""A data set of tiny random scenes and networks of one 1x1 convolution, for tests of the harness.

Scenes are held back or spoiled by options of the data set, so that a run can be interrupted or fail, and
its workers killed.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.datasets.base import Dataset, Scene, VerifyReport
from hsrzoo.errors import FormatError
from hsrzoo.spec import DatasetSpec, ModelSpec

BANDS = BandSet.regular(400, 700, 75)


class Toy(Dataset):
    """Five scenes 70 x 66; RGB is three of the bands in 8 bits."""

    name = "toy"
    bands = BANDS
    rgb_bits = 8

    def __init__(
        self,
        root: Path,
        scenes: str = "5",
        broken: str = "",
        stuck: str = "",
        version: str = "1",
        deadly: str = "",
    ) -> None:
        # "scene-1=2": the first two processes that read this scene are killed
        self.root, self.deadly = root, dict(part.split("=") for part in deadly.split(",") if part)
        self.names = [f"scene-{i}" for i in range(int(scenes))]
        self.broken, self.stuck, self.version = broken, stuck, version
        self.info = {"response": "three bands"}

    def splits(self) -> tuple[str, ...]:
        return ("train", "valid")

    def scenes(self, split: str) -> list[str]:
        return self.names

    def load(self, split: str, scene: str) -> Scene:
        if scene == self.stuck:
            time.sleep(3600)  # until the process is killed
        self.perhaps_die(scene)
        if scene == self.broken:
            raise FormatError(f"{scene} is truncated")
        random = np.random.default_rng(int(scene.rpartition("-")[2]))
        cube = random.uniform(0.1, 0.9, (5, 70, 66)).astype(np.float32)
        rgb = (np.rint(cube[[4, 2, 0]] * 255) / 255).astype(np.float32)
        return Scene(scene, rgb, cube)

    def perhaps_die(self, scene: str) -> None:
        """Kill this process as the out-of-memory killer would."""
        if scene not in self.deadly:
            return
        with open(self.root / f"read-{scene}", "a") as file:
            file.write(".")
            reads = file.tell()
        if reads <= int(self.deadly[scene]):
            os.kill(os.getpid(), signal.SIGKILL)

    def fingerprint(self) -> str:
        return f"toy-{self.version}"

    def verify(self) -> VerifyReport:
        return VerifyReport("toy", {"valid": 5}, {}, self.bands, (0.1, 0.9), (0, 1), self.fingerprint())


TOY = DatasetSpec(
    name="toy", open=Toy, title="Toy scenes", where="Nowhere.", layout="None.", protocols=("full-frame",)
)


def build(bands: BandSet, hunger_gib: float = 0.0):
    """A 1x1 convolution; with ``hunger_gib`` it first allocates that much memory."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, len(bands), 1)

        def forward(self, rgb):
            if hunger_gib:
                torch.ones(int(hunger_gib * 2**28))
            return self.conv(rgb)

    return Net()


def adapt(module, rgb):
    """ "Adaptation": the output plus 0.01, to be told apart."""
    import torch

    with torch.no_grad():
        return module(rgb) + 0.01


NET = ModelSpec(name="bench-net", build=build, summary="1x1", source="tests", adapt=adapt)
OTHER = ModelSpec(name="solo-other", build=build, summary="1x1, no adaptation", source="tests")
