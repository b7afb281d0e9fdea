"""AGD-Net (Zhu et al., IEEE TCI 2021, arXiv:2108.05547), published as GD-Net: amended gradient descent.

A first stage estimates the cube. A learned camera, one 3 x 3 convolution, renders it back to RGB; each
further stage maps the residual of the RGB to a correction of the cube; K stages in all. A stage
is densely connected and removes the mean over the bands before its convolutions, so that corrections
do not depend on how bright the residual is.

Written from a description of the code, which states no licence; state_dict names are the official ones,
but for the duplicates: the published code registers every convolution under two names. The papers' 0.17 M
parameters are 4 stages (172,391, ``agdnet``); the published file builds 9 (386,136, ``agdnet-9``).
12.4 G and 28.0 G multiply-accumulates at 256 x 256, the rows that strips see twice included.

Every width is a multiple of the band count, so the network grows with its square: 6,788,210 parameters at
202 bands, the 6.8 M reported for HySpecNet-11k.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError, InputError
from hsrzoo.layers.whole_image import in_strips
from hsrzoo.spec import ModelSpec, Official, Recipe
from hsrzoo_baselines.recipes import ADAM

LAYERS = 4
"""Dense layers of a stage, without the last one."""
ROWS = 96
"""Of a strip: a stage's features are 20 times as wide as the cube, its reach is 6 rows."""


class Unit(nn.Module):
    """A convolution; ``norm`` removes the mean over the channels before it, ``relu`` adds a ReLU."""

    def __init__(self, conv: nn.Conv2d, norm: bool = False, relu: bool = True) -> None:
        super().__init__()
        self.conv = conv
        self.norm, self.relu = norm, relu

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, M, H, W)."""
        weight = self.conv.weight
        if self.norm and weight.shape[2:] == (1, 1):  # as exact on the weights, and without a pass over x
            x = F.conv2d(x, weight - weight.mean(1, keepdim=True), self.conv.bias)
        else:
            x = self.conv(x - _mean_of_channels(x) if self.norm else x)
        return x.relu() if self.relu else x


def _mean_of_channels(x: Tensor) -> Tensor:
    """(B, K, H, W) -> (B, 1, H, W)."""
    if torch.compiler.is_exporting():  # means over a strided axis are slow in the runtimes of ONNX
        k = x.shape[1]
        return F.conv2d(x, x.new_full((1, k, 1, 1), 1 / k))
    return x.mean(1, keepdim=True)


class Layer(nn.Module):
    """Channels mixed at each pixel, then neighbours within each channel."""

    def __init__(self, inputs: int, outputs: int, bias: bool, norm: bool, relu: bool = True) -> None:
        super().__init__()
        self.compressLayer = Unit(nn.Conv2d(inputs, outputs, 1, bias=bias), norm, relu)
        spatial = nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs, bias=bias)
        self.actlayer = Unit(spatial, norm, relu)

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, M, H, W)."""
        return self.actlayer(self.compressLayer(x))


class Stage(nn.Module):
    """RGB or its residual (B, 3, H, W) -> a cube (B, C, H, W)."""

    def __init__(self, bands: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.Upconv = Unit(nn.Conv2d(3, bands, 3, padding=1, bias=False), relu=False)
        self.denselayers = nn.ModuleList(
            Layer((2 * i + 1) * bands, 2 * bands, bias=first, norm=not first) for i in range(LAYERS)
        )
        last = Layer((2 * LAYERS + 1) * bands, bands, bias=first, norm=False, relu=False)
        self.denselayers.append(last)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        features = [self.Upconv(x)]
        for layer in self.denselayers:
            features.append(layer(torch.cat(features, dim=1)))
        return features[-1] if self.first else features[-1] + features[0]


class AGDNet(nn.Module):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32, unbounded; any H and W."""

    def __init__(self, bands: int, stages: int = 4) -> None:
        super().__init__()
        self.stages = nn.ModuleList(Stage(bands, first=i == 0) for i in range(stages))
        self.degradation = Unit(nn.Conv2d(bands, 3, 3, padding=1, bias=False), relu=False)

    @property
    def halo(self) -> int:
        """How many input pixels in each direction an output pixel depends on: a stage reaches 1 and 1
        for each layer, the camera between two stages 1."""
        return (LAYERS + 2) * len(self.stages) + len(self.stages) - 1

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        first, *corrections = self.stages
        # nine times as many channels as bands at once: without gradients, on strips of rows
        cube = in_strips(first, rgb, halo=LAYERS + 2, rows=ROWS)
        for stage in corrections:
            cube = cube + in_strips(stage, rgb - self.degradation(cube), halo=LAYERS + 2, rows=ROWS)
        return cube


def build(bands: BandSet, stages: int = 4) -> AGDNet:
    """AGDNet for these bands; ``stages`` in all, including the first estimate."""
    if stages < 1:
        raise InputError("AGD-Net needs at least one stage", expected="stages of 1 or more", got=stages)
    return AGDNet(len(bands), stages)


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """From official names, two of each tensor (``X.conv``, and ``X.Module.0`` or ``X.Module.1``), to ours.

    Raises FormatError where two names of one tensor hold different values.
    """
    ours = {key: value for key, value in state.items() if ".Module." not in key}
    for key, value in state.items():
        unit, found, rest = key.partition(".Module.")
        if not found:
            continue
        name = f"{unit}.conv.{rest.partition('.')[2]}"
        if not torch.equal(ours.setdefault(name, value), value):
            raise FormatError(
                "Two names of one convolution hold different weights",
                expected=f"{name} and {key} equal",
                got="other values",
                fix="This is no checkpoint of GD-Net as published",
            )
    return ours


AUTHORS = replace(
    ADAM, steps=100_000, batch=8, patch=128, lr=1e-3, schedule="cosine", final_lr=1e-5, loss="l1"
)
"""L1 part of the authors' training on CAVE: 500 epochs there. Their rank loss and the penalty on the last
residual are left out, and an epoch is not one here, so the number of steps is ours."""


def _spec(name: str, stages: int, count: str, tag: str | None = None) -> ModelSpec:
    return ModelSpec(
        name=name,
        build=build,
        default_tag=tag,
        arguments={"stages": stages},
        summary=f"AGD-Net: unrolled amended gradient descent in {stages} stages, {count} parameters",
        use="comparison with published results",
        source=(
            "Zhu et al., Deep Amended Gradient Descent for Efficient Spectral Reconstruction from Single "
            "RGB Images, IEEE Transactions on Computational Imaging 2021, arXiv:2108.05547; "
            "https://github.com/ZHU-Zhiyu/GD-Net at 31c6be7"
        ),
        licence="none stated",
        recipe=Recipe(lr=0.01),
        recipes={"authors": AUTHORS},
        official=Official("none", containers=("spenet", "state_dict"), rename=rename),
        notes=(
            "All widths are multiples of the band count, so its size grows with the square of it. The "
            "authors' rank loss is not part of the recipe."
        ),
        tags=("baseline", "cnn", "unrolled"),
    )


SPEC = _spec("agdnet", 4, "0.17 M", tag="cave")
SPEC_9 = _spec("agdnet-9", 9, "0.39 M")
