"""SSRNet (Dian et al., IEEE TNNLS 2024): seven small networks, each corrected so that the cube renders the
image.

After each stage the cube is moved towards the one nearest to it whose RGB, by the response of the camera,
is the input; a learned number for each stage says how close. So the network needs the response (3, C) of
the camera that took the images, and fits no other camera; hsrzoo stores the camera beside the weights.

Written from a description of the published code, which has no licence, with its state_dict names. 387,779
parameters at 31 bands, 4,676,801 at 202; 25 G multiply-accumulates at 256 x 256. Three bands are the least.

What differs from the published structure: that inverts a C x C matrix of rank 3 for each stage, which in
float32 is wrong by up to a few percent with the first weights. Here it is the equal 3 x 3 form, exact to
rounding. Each stage weights channels by a softmax over all pixels: largest logit and sums are statistics,
so tiles are exact.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.errors import BandsError
from hsrzoo.extras import CameraResponse
from hsrzoo.spec import Official, Recipe
from hsrzoo_baselines.hdnet import pixel_pool
from hsrzoo_baselines.layers import conv
from hsrzoo_baselines.recipes import optics_aware_spec

STAGES = ("pro", "pro1", "pro2", "pro3", "pro4", "pro5", "pro6")
SLOPE = 0.2
"""Of the leaky ReLUs."""
FIRST_WEIGHT = 1e-5
"""Of a stage's own cube against the image, before training."""


class ChannelGate(nn.Module):
    """AWCA: a gate for every channel, from the channels' means weighted by pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv(channels, 1, 1)
        self.fc = nn.Sequential(
            nn.Linear(channels, 1, bias=False), nn.LeakyReLU(SLOPE), nn.Linear(1, channels, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, H, W)."""
        pooled = pixel_pool(self.conv(x), x)[:, :, 0, 0]
        return x * self.fc(pooled).sigmoid()[:, :, None, None]


class Stage(nn.Module):
    """Two estimates of the cube from features of the last one, both (B, C, H, W)."""

    def __init__(self, inputs: int, width: int, bands: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(conv(inputs, width, bias=True), nn.LeakyReLU(SLOPE))
        self.conv2 = _gated(inputs, width)
        self.conv3 = _gated(2 * width, bands)
        self.conv4 = nn.Sequential(conv(bands + width, bands, bias=True))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> the mean of the two."""
        plain = self.conv1(x)
        first = self.conv3(torch.cat([self.conv2(x), plain], dim=1))
        return (first + self.conv4(torch.cat([first, plain], dim=1))) / 2


def _gated(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv(inputs, outputs, bias=True), nn.LeakyReLU(SLOPE), ChannelGate(outputs))


def projection(response: Tensor, weight: Tensor) -> Tensor:
    """(C, 3): what an error of RGB is multiplied by to correct the cube, R^T (R R^T + 2 weight I)^-1."""
    a, b, c = response @ response.t() + 2 * weight * torch.eye(3, device=response.device)
    # of a 3 x 3 matrix by its cofactors, which exported graphs can hold; symmetric, so rows are columns
    cofactors = torch.stack([torch.linalg.cross(*rows) for rows in ((b, c), (c, a), (a, b))], dim=1)
    return response.t() @ (cofactors / (a * cofactors[:, 0]).sum())


class SSRNet(nn.Module):
    """RGB (B, 3, H, W) float32 and response (3, C) -> cube (B, C, H, W) float32, unbounded; any H and W."""

    halo = 3 * len(STAGES)
    """Three convolutions a stage, all statistics known."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.full((len(STAGES),), FIRST_WEIGHT))
        for name in STAGES:
            first = name == STAGES[0]
            setattr(self, name, Stage(3 if first else bands, 64 if first else 32, bands))

    def forward(self, rgb: Tensor, response: Tensor) -> Tensor:
        """(B, 3, H, W), (3, C) -> (B, C, H, W)."""
        cube = rgb
        for name, weight in zip(STAGES, self.mu, strict=True):
            cube = cast(Stage, getattr(self, name))(cube)
            with torch.autocast(rgb.device.type, enabled=False):  # RGB is met more closely than 16 bits can
                cube = cube.to(response.dtype)
                error = rgb.to(response.dtype) - F.conv2d(cube, response[:, :, None, None])
                cube = cube + F.conv2d(error, projection(response, weight)[:, :, None, None])
        return cube


def build(bands: BandSet) -> SSRNet:
    """SSRNet for these bands, three or more."""
    if len(bands) < 3:
        problem = "SSRNet finds cubes that render an image of three colours"
        raise BandsError(problem, expected="at least three", got=str(bands))
    return SSRNet(len(bands))


SPEC = optics_aware_spec(
    name="ssrnet",
    build=build,
    summary="SSRNet: seven stages, each corrected by the camera's response, 0.39 M parameters",
    paper=(
        "Dian et al., spectral super-resolution via model-guided cross-fusion, IEEE TNNLS 2024; "
        "https://github.com/renweidian/SSRnet-pytorch at df9fb15"
    ),
    licence="none stated",
    kind="cnn",
    lr=2e-4,
    recipe=Recipe(lr=5e-3),
    default_tag="cave",
    extras={"response": CameraResponse()},
    official=Official("none", note="the authors render RGB and do not stretch it"),
    notes=(
        "Needs linear RGB of the camera whose response it has, as its cube is made to render the image: "
        "that of the training pairs, or of --arg response=CAMERA. RGB that is stretched, tone-mapped or of "
        "unknown exposure gives wrong colours."
    ),
)
