"""U-Nets on timm: any of its image classifiers that gives feature maps as encoder, and a light decoder.

A baseline of this zoo, after Ronneberger et al. (2015), without an original to follow. The encoder sees
the RGB normalised as its pretrained weights expect, and gives features at 1/2 or 1/4 to 1/32 of the
resolution; the decoder goes from the coarsest to the finest: bilinear upsampling, concatenation with the
encoder's features of that resolution (at full resolution the RGB), and a 3 x 3 convolution.

=====================  =====================  ====================  ==============
name                   encoder                parameters, 31 bands  MACs 256 x 256
=====================  =====================  ====================  ==============
timm-unet              resnet18                         11,828,607          4.08 G
timm-unet-mobilenetv3  mobilenetv3_small_100             1,401,695          1.38 G
timm-unet-convnext     convnext_atto                     3,749,367          1.68 G
=====================  =====================  ====================  ==============

At other band counts only the last layer changes, by 33 parameters a band: at 202 they are 11,834,250,
1,407,338 and 3,755,010.

timm is Apache-2.0; the terms of pretrained weights are their authors', see timm's list.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.errors import InputError, PluginError, WeightsError, unknown_name
from hsrzoo.spec import ModelSpec, RgbInput

MULTIPLE = 32
"""The coarsest features are of this fraction of the image."""
MIN_SIZE = 64
"""The coarsest features are then 2 x 2: exporters broadcast a single row or column."""
WIDTHS = (32, 32, 48, 64)
"""Channels of the decoder from full resolution down; the last one also for all coarser features."""
PROBE = (64, 96)
"""Image that an encoder must accept: not square and not of its training size."""


class Up(nn.Module):
    """Coarse features, upsampled bilinearly, concatenated with finer ones, then a 3 x 3 convolution."""

    def __init__(self, coarse: int, fine: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(coarse + fine, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(B, K, h, w), (B, J, H, W) -> (B, width, H, W)."""
        coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return self.norm(self.conv(torch.cat([coarse, fine], dim=1))).relu()


class TimmUNet(nn.Module):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32, unbounded; H and W multiples of 32.

    ``encoder`` gives ``channels`` maps of features, the finest first; ``mean`` and ``std`` are those of the
    RGB values that it was trained on.
    """

    def __init__(
        self,
        encoder: nn.Module,
        channels: list[int],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        bands: int,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))
        self.encoder = encoder
        finer = [3, *channels[:-1]]
        widths = [*WIDTHS[: len(finer)], *WIDTHS[-1:] * (len(finer) - len(WIDTHS))]
        coarser = [*widths[1:], channels[-1]]
        self.decoder = nn.ModuleList(Up(*sizes) for sizes in zip(coarser, finer, widths, strict=True))
        self.head = nn.Conv2d(widths[0], bands, 1)

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        rgb = (rgb - self.get_buffer("mean")) / self.get_buffer("std")
        maps: list[Tensor] = self.encoder(rgb)
        *finer, x = rgb, *maps
        for up in reversed(self.decoder):
            x = up(x, finer.pop())
        return self.head(x)


def build(bands: BandSet, encoder: str = "resnet18", pretrained: bool = False) -> TimmUNet:
    """U-Net for these bands on timm's backbone ``encoder``.

    ``pretrained``: start from the weights that timm has for it, fetched from the Hugging Face Hub or its
    cache. Raises UnknownNameError for a backbone that timm does not have, InputError for one without
    feature maps of images of any size, WeightsError if there are no pretrained weights or they cannot be
    fetched.
    """
    network = _encoder(encoder, pretrained)
    trained_on = network.pretrained_cfg
    return TimmUNet(
        network, network.feature_info.channels(), trained_on["mean"], trained_on["std"], len(bands)
    )


def _encoder(name: str, pretrained: bool) -> Any:
    """timm's network ``name``, (B, 3, H, W) -> list of (B, K, h, w), the finest first."""
    try:
        import timm  # imported when a network is built: it takes a second
    except ImportError as error:
        raise PluginError(
            "The encoders of timm-unet need the package timm",
            got=str(error),
            fix='pip install "hsrzoo[timm]"',
        ) from None

    if not timm.is_model(name):
        raise unknown_name("backbone of timm", name, timm.list_models())
    try:
        network: Any = timm.create_model(name, features_only=True)
        with torch.no_grad():
            maps = network.eval()(torch.zeros(1, 3, *PROBE))
    except Exception as error:  # timm raises many types, AssertionError too
        raise _unsuitable(name, _text(error)) from None
    if [x.shape[1] for x in maps] != network.feature_info.channels():
        raise _unsuitable(name, f"maps of shape {', '.join(str(tuple(x.shape)) for x in maps)}")
    if pretrained:
        try:
            network = timm.create_model(name, features_only=True, pretrained=True)
        except Exception as error:  # of timm, the Hub's client and the network below
            raise WeightsError(
                f"timm cannot provide pretrained weights of {name}",
                got=_text(error),
                fix="Check the connection and timm.list_pretrained(), or omit pretrained",
            ) from None
    return network.train()


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(".")


def _unsuitable(name: str, got: str) -> InputError:
    return InputError(
        f"timm's {name} cannot be an encoder",
        expected="feature maps (B, K, h, w) of images of any size",
        got=got,
        fix="Take a convolutional backbone, such as resnet18 or convnext_atto",
    )


def _spec(name: str, encoder: str, what: str) -> ModelSpec:
    return ModelSpec(
        name=name,
        build=build,
        summary=f"U-Net on timm's {encoder}, {what} parameters; any timm backbone by argument",
        source=(
            "Of this zoo, after Ronneberger et al., U-Net, MICCAI 2015, arXiv:1505.04597; encoder: "
            "https://github.com/huggingface/pytorch-image-models"
        ),
        licence="Apache-2.0 (timm)",
        arguments={"encoder": encoder},
        input=RgbInput(multiple=MULTIPLE, min_size=MIN_SIZE),
        tags=("baseline", "cnn"),
        first_weights=("pretrained",),
        notes=(
            "`--arg encoder=NAME` takes another of timm's backbones, `--arg pretrained=true` starts from "
            "the weights that timm has for it; saved weights load without fetching anything. Batch "
            "normalisation couples the images of a batch in training. A cube depends on hundreds of pixels "
            "around, so it runs on whole images only, without tiles."
        ),
    )


SPEC = _spec("timm-unet", "resnet18", "11.8 M")
MOBILENETV3 = _spec("timm-unet-mobilenetv3", "mobilenetv3_small_100", "1.4 M")
CONVNEXT = _spec("timm-unet-convnext", "convnext_atto", "3.7 M")
