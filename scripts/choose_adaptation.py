"""Settings of MCGA's test-time adaptation, compared on training scenes of CAVE.

    python scripts/choose_adaptation.py --model mcga-s2 --json sweep.json

Every setting runs on each scene clean, darker (RGB ** (1 / 0.9)) and brighter (RGB ** (1 / 1.1)), rounded
to 8 bits. Changes are in percent of the unadapted network's error: without a guard, in brackets with it.
Scenes are those that the model's record holds out of training; where it holds out none, they are training
scenes that it has seen, which the first line says. No benchmark scene is read. Scenes are averaged down to
--side pixels.

Besides the paper's (entropy of softmax(-d / T), all GA parameters) a few readings that it leaves open, and
objectives of our own, are tried: plain instead of squared distances, gamma or log curves alone, the mean
distance to the nearest code, and an exponent of the input itself as the one adapted parameter.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import hsrzoo
from hsrzoo.camera import Camera
from hsrzoo.datasets import open_dataset
from hsrzoo.layers.pixel_rows import to_rows
from hsrzoo_mcga.adaptation import descent, ga_parameters, rendering_error
from hsrzoo_mcga.codebook.lookup import squared_distances
from hsrzoo_mcga.stage2.grayscale import GrayscaleAware
from hsrzoo_mcga.stage2.network import GANet

CONDITIONS = {"clean": 1.0, "darker": 1 / 0.9, "brighter": 1 / 1.1}
MAX_PIXELS = 1024
_FLOOR = 1 / 255


@dataclass(frozen=True)
class Setting:
    """One row."""

    steps: int
    lr: float
    temperature: float = 1.0
    objective: str = "entropy"
    """"entropy"; "distance": mean squared distance to the nearest code, relative to that of the start;
    "both": their sum."""
    squared: bool = True
    parameters: str = "all"
    """GA's "all", "gamma", "log" or "slope" (of log alone); "input": an exponent of RGB, 1 at the start."""


def settings() -> list[Setting]:
    """All rows; a sweep of three scenes takes less than four minutes of one core."""
    paper = [Setting(5, lr, t) for lr in (5e-3, 3e-2, 0.3) for t in (0.01, 1.0, 100.0)]
    steps = [Setting(n, lr) for n, lr in ((1, 0.1), (20, 5e-3), (20, 3e-2), (50, 5e-3))]
    plain = [Setting(5, 3e-2, t, squared=False) for t in (0.1, 1.0, 10.0)]
    plain += [Setting(5, 0.1, 0.3, squared=False)]
    some = [Setting(5, 3e-2, parameters=which) for which in ("gamma", "log", "slope")]
    own = [Setting(5, 3e-2, objective=o) for o in ("distance", "both")]
    exponent = [Setting(5, 2e-2, t, parameters="input") for t in (0.01, 1.0)]
    exponent += [Setting(5, 2e-2, objective=o, parameters="input") for o in ("distance", "both")]
    return [*paper, *steps, *plain, *some, *own, *exponent]


@dataclass(frozen=True)
class Pair:
    """One scene under one condition."""

    scene: str
    condition: str
    rgb: Tensor
    """(1, 3, H, W) float32, 8 bits."""
    cube: np.ndarray
    """(C, H, W)."""


class Adapted:
    """A network with an exponent of its input, and what moves it."""

    def __init__(self, net: GANet, setting: Setting, rgb: Tensor) -> None:
        self.net, self.setting, self.rgb = net, setting, rgb
        self.exponent = nn.Parameter(torch.zeros(()))  # log of it
        chosen = {
            "all": ga_parameters(net),
            "gamma": [p for m in _curves(net, "gamma") for p in m.parameters()],
            "log": [p for m in _curves(net, "log") for p in m.parameters()],
            "slope": [m.slope for m in _curves(net, "log")],
            "input": [self.exponent],
        }
        self.parameters = chosen[setting.parameters]
        self.start: float | None = None

    def image(self) -> Tensor:
        """What the network sees."""
        if self.setting.parameters != "input":
            return self.rgb
        return self.rgb.clamp_min(_FLOOR / 16) ** self.exponent.exp()

    def objective(self) -> Tensor:
        """A scalar with gradient."""
        sites: list[tuple[Tensor, Tensor]] = []
        self.net(self.image(), sites=sites)
        entropies, nearest = zip(*(self._site(f, c) for f, c in sites), strict=True)
        distance = torch.stack(nearest).sum()
        if self.start is None:
            self.start = float(distance.detach())
        entropy, relative = torch.stack(entropies).sum(), len(sites) * distance / self.start
        choices = {"entropy": entropy, "distance": relative, "both": entropy + relative}
        return choices[self.setting.objective]

    def _site(self, features: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        rows = to_rows(features)
        d = squared_distances(rows[:: -(-len(rows) // MAX_PIXELS)], codes).clamp_min(1e-9)
        nearest = d.amin(1).mean()
        log_p = torch.log_softmax(-(d if self.setting.squared else d.sqrt()) / self.setting.temperature, 1)
        return -(log_p.exp() * log_p).sum(1).mean(), nearest


def _curves(net: GANet, kind: str) -> list[GrayscaleAware]:
    return [m for m in net.modules() if isinstance(m, GrayscaleAware) and m.kind == kind]


def pairs(scenes: list[str], root: Path | None, side: int) -> Iterator[Pair]:
    """Scenes of cave/train averaged down to ``side`` pixels, under all conditions."""
    data = open_dataset("cave", root)
    for name in scenes:
        cube = data.load("train", name).cube
        factor = max(1, cube.shape[1] // side)
        c, h, w = cube.shape
        cube = cube.reshape(c, h // factor, factor, w // factor, factor).mean((2, 4))
        clean = data.camera.render(cube, data.bands)
        for condition, exponent in CONDITIONS.items():
            rgb = np.rint(clean.astype(np.float64) ** exponent * 255) / 255
            yield Pair(name, condition, torch.from_numpy(rgb.astype(np.float32))[None], cube)


def errors(cube: Tensor, pair: Pair) -> tuple[float, float]:
    """RMSE and MRAE (floor 1/255)."""
    difference = np.abs(cube[0].numpy().astype(np.float64) - pair.cube)
    rmse, mrae = np.sqrt(np.mean(difference**2)), np.mean(difference / np.maximum(pair.cube, _FLOOR))
    return float(rmse), float(mrae)


def measure(net: GANet, setting: Setting, plain: list[Tensor], known: list[Pair], response: Tensor) -> dict:
    """Change of RMSE and MRAE in percent by condition, without and with the guard, the share of images that
    it leaves adapted, and seconds of the processor an image."""
    sums = {c: np.zeros((3, 2)) for c in CONDITIONS}  # before, after, after under the guard
    kept, begin = 0, time.process_time()
    for pair, before in zip(known, plain, strict=True):
        one = Adapted(net, setting, pair.rgb)
        adapted = descent(net, one.parameters, one.objective, setting.steps, setting.lr)
        with adapted as (start, end), torch.no_grad():
            after = net(one.image())
        worse = rendering_error(after, pair.rgb, response) > rendering_error(before, pair.rgb, response)
        keeps = end < start and not worse
        kept += keeps
        found = [errors(cube, pair) for cube in (before, after, after if keeps else before)]
        sums[pair.condition] += np.array(found)
    row: dict = {**asdict(setting), "seconds": (time.process_time() - begin) / len(known)}
    for condition in dict.fromkeys(pair.condition for pair in known):
        before, after, guarded = sums[condition]
        for name, a, b, g in zip(("rmse", "mrae"), before, after, guarded, strict=True):
            row[f"{name}_{condition}"] = 100 * float(b / a - 1)
            row[f"{name}_{condition}_guarded"] = 100 * float(g / a - 1)
    return {**row, "kept": kept / len(known)}


def line(row: dict) -> str:
    """A row for people: changes in percent, under the guard in brackets."""
    name = (f"{row['objective']:8} {row['parameters']:6} {'d^2' if row['squared'] else 'd':3} "
            f"T {row['temperature']:<6g} steps {row['steps']:<3d} lr {row['lr']:<6g}")  # fmt: skip
    parts = [
        f"{c}: RMSE {row[f'rmse_{c}']:+7.2f} [{row[f'rmse_{c}_guarded']:+6.2f}] "
        f"MRAE {row[f'mrae_{c}']:+7.2f} [{row[f'mrae_{c}_guarded']:+6.2f}]"
        for c in CONDITIONS
        if f"rmse_{c}" in row
    ]
    return f"{name} {'  '.join(parts)}  kept {row['kept']:4.0%}  {row['seconds']:.2f} s"


def main() -> None:
    """Sweep, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mcga-s2", help="as hsrzoo.load takes it")
    parser.add_argument("--json", type=Path, help="file for all rows")
    parser.add_argument("--scenes", type=int, default=3, help="how many, spread evenly [3]")
    parser.add_argument("--side", type=int, default=64, help="pixels [64]")
    parser.add_argument("--data-root", type=Path)
    options = parser.parse_args()
    model = hsrzoo.load(options.model, device="cpu")
    net, training = model.module, model.config["training"]
    scenes = training["held_out"] or training["scenes"]
    scenes = scenes[:: max(1, len(scenes) // options.scenes)][: options.scenes]
    about = "held out of its training" if training["held_out"] else "that it has seen: it holds out none"
    print(f"{options.model} on training scenes {about}: {', '.join(scenes)}")
    known = list(pairs(scenes, options.data_root, options.side))
    response = torch.from_numpy(Camera.named(model.trained_camera).matrix(model.bands)).float()
    with torch.no_grad():
        plain = [net(pair.rgb) for pair in known]
    rows = []
    for setting in settings():
        rows.append(measure(net, setting, plain, known, response))
        print(line(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"model": model.name, "identity": model.identity,
                                            "scenes": scenes, "rows": rows}, indent=1) + "\n")  # fmt: skip


if __name__ == "__main__":
    main()
