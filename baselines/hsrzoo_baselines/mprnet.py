"""MPRNet (Zamir et al., CVPR 2021) as in the MST-plus-plus toolbox: quarters, halves, whole image.

Three stages: a U-Net on each quarter of the image, one on each half, which also takes the features of
the first, and a third stage at full resolution, which takes those of the second. Attention weights each
channel by its mean over the quarter, the half or the image.

Written from a description of the MIT-licensed code, with its state_dict names. The official checkpoints
were trained on RGB stretched per image to [0, 1].

3,619,003 parameters at 31 bands; 100.5 G multiply-accumulates at 256 x 256. One PReLU of one parameter
is shared by all 43 channel attention blocks and has 43 names in the state_dict, as in the official one; it
counts once.

The official network can only give 31 bands. Here the 31-wide body stays for any band count and only
``tail`` changes: 3,714,421 parameters at 202. Its outer skip needs 31 bands, so it exists at 31 alone; at
other counts the RGB features reach ``tail`` through the third stage.

What differs from the published structure, equal up to rounding: a 1 x 1 convolution after a doubling of
the resolution is done before it, on a quarter of the pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.spec import Official
from hsrzoo_baselines.layers import Doubled, Gate, Residual, conv, named, one_value, padded, require_counts
from hsrzoo_baselines.recipes import toolbox_spec

WIDTH = 31
"""Channels at full resolution, whatever the number of bands, and what each coarser level adds."""
MULTIPLE = 8
"""H and W are padded to this: their halves are halved twice."""

_mix = partial(conv, size=1)


class ChannelWeights(nn.Module):
    """Weights each channel by a gate from all channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_du = nn.Sequential(
            _mix(channels, channels), nn.ReLU(), _mix(channels, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, H, W)."""
        return x * self.conv_du(x.mean((2, 3), keepdim=True))


class AttentionBlock(nn.Module):
    """CAB: two convolutions, channel attention, and a skip."""

    def __init__(self, channels: int, act: nn.PReLU) -> None:
        super().__init__()
        self.CA = ChannelWeights(channels)
        self.body = nn.Sequential(conv(channels, channels), act, conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, H, W)."""
        return self.CA(self.body(x)) + x


def _blocks(channels: int, act: nn.PReLU, count: int = 2) -> nn.Sequential:
    return nn.Sequential(*(AttentionBlock(channels, act) for _ in range(count)))


def _down(inputs: int, outputs: int) -> nn.Sequential:
    """(B, inputs, H, W) -> (B, outputs, H / 2, W / 2)."""
    halve = nn.Upsample(scale_factor=0.5, mode="bilinear", align_corners=False)
    return named(down=nn.Sequential(halve, _mix(inputs, outputs)))


def _up(inputs: int, outputs: int) -> nn.Sequential:
    """(B, inputs, H, W) -> (B, outputs, 2 H, 2 W)."""
    return named(up=Doubled(inputs, outputs))


class Encoder(nn.Module):
    """Three levels of features. ``fuse``: adds those of the stage before."""

    def __init__(self, act: nn.PReLU, *, fuse: bool) -> None:
        super().__init__()
        k1, k2, k3 = WIDTH, 2 * WIDTH, 3 * WIDTH
        self.encoder_level1 = _blocks(k1, act)
        self.encoder_level2 = _blocks(k2, act)
        self.encoder_level3 = _blocks(k3, act)
        self.down12 = _down(k1, k2)
        self.down23 = _down(k2, k3)
        if fuse:
            self.csff_enc1, self.csff_enc2, self.csff_enc3 = (_mix(k, k) for k in (k1, k2, k3))
            self.csff_dec1, self.csff_dec2, self.csff_dec3 = (_mix(k, k) for k in (k1, k2, k3))

    def forward(
        self, x: Tensor, encoded: Sequence[Tensor] = (), decoded: Sequence[Tensor] = ()
    ) -> list[Tensor]:
        """(B, 31, H, W) to features (B, 31 k, H / 2^(k-1), W / 2^(k-1)), k = 1, 2, 3. ``encoded`` and
        ``decoded``: those of the stage before, of the same shapes."""
        features: list[Tensor] = []
        for level, down in ((1, None), (2, self.down12), (3, self.down23)):
            x = self.get_submodule(f"encoder_level{level}")(x if down is None else down(x))
            if encoded:
                x = x + self.get_submodule(f"csff_enc{level}")(encoded[level - 1])
                x = x + self.get_submodule(f"csff_dec{level}")(decoded[level - 1])
            features.append(x)
        return features


class Decoder(nn.Module):
    """From the encoder's three levels back to full resolution."""

    def __init__(self, act: nn.PReLU) -> None:
        super().__init__()
        k1, k2, k3 = WIDTH, 2 * WIDTH, 3 * WIDTH
        self.decoder_level1 = _blocks(k1, act)
        self.decoder_level2 = _blocks(k2, act)
        self.decoder_level3 = _blocks(k3, act)
        self.skip_attn1 = AttentionBlock(k1, act)
        self.skip_attn2 = AttentionBlock(k2, act)
        self.up21 = _up(k2, k1)
        self.up32 = _up(k3, k2)

    def forward(self, encoded: Sequence[Tensor]) -> list[Tensor]:
        """Features of three levels, finest first, to as many of the same shapes."""
        first, second, third = encoded
        third = self.decoder_level3(third)
        second = self.decoder_level2(self.up32(third) + self.skip_attn2(second))
        first = self.decoder_level1(self.up21(second) + self.skip_attn1(first))
        return [first, second, third]


class FullResolution(nn.Module):
    """ORSNet: the third stage, at full resolution throughout."""

    def __init__(self, act: nn.PReLU, count: int) -> None:
        super().__init__()
        k1, k2, k3 = WIDTH, 2 * WIDTH, 3 * WIDTH
        self.orb1, self.orb2, self.orb3 = (
            Residual(*_blocks(k2, act, count), conv(k2, k2)) for _ in range(3)
        )
        self.up_enc1 = _up(k2, k1)
        self.up_dec1 = _up(k2, k1)
        self.up_enc2 = nn.Sequential(_up(k3, k2), _up(k2, k1))
        self.up_dec2 = nn.Sequential(_up(k3, k2), _up(k2, k1))
        self.conv_enc1, self.conv_enc2, self.conv_enc3 = (_mix(k1, k2) for _ in range(3))
        self.conv_dec1, self.conv_dec2, self.conv_dec3 = (_mix(k1, k2) for _ in range(3))

    def forward(self, x: Tensor, encoded: Sequence[Tensor], decoded: Sequence[Tensor]) -> Tensor:
        """(B, 62, H, W) -> (B, 62, H, W), with the second stage's features of three levels."""
        x = self.orb1(x) + self.conv_enc1(encoded[0]) + self.conv_dec1(decoded[0])
        x = (
            self.orb2(x)
            + self.conv_enc2(self.up_enc1(encoded[1]))
            + self.conv_dec2(self.up_dec1(decoded[1]))
        )
        return (
            self.orb3(x)
            + self.conv_enc3(self.up_enc2(encoded[2]))
            + self.conv_dec3(self.up_dec2(decoded[2]))
        )


class MPRNet(nn.Module):
    """RGB (B, 3, H, W) float32 -> cube (B, C, H, W) float32, unbounded; H and W any size of which
    reflection to a multiple of 8 is possible. ``cabs``: channel attention blocks in each of the third
    stage's three parts."""

    def __init__(self, bands: int, cabs: int = 4) -> None:
        super().__init__()
        act = nn.PReLU()
        self.conv_in = conv(3, WIDTH)
        self.shallow_feat1, self.shallow_feat2, self.shallow_feat3 = (
            nn.Sequential(conv(WIDTH, WIDTH), AttentionBlock(WIDTH, act)) for _ in range(3)
        )
        self.stage1_encoder = Encoder(act, fuse=False)
        self.stage1_decoder = Decoder(act)
        self.stage2_encoder = Encoder(act, fuse=True)
        self.stage2_decoder = Decoder(act)
        self.stage3_orsnet = FullResolution(act, cabs)
        self.sam12 = Gate(_mix, WIDTH)
        self.sam23 = Gate(_mix, WIDTH)
        self.concat12 = conv(2 * WIDTH, WIDTH)
        self.concat23 = conv(2 * WIDTH, 2 * WIDTH)
        self.tail = conv(2 * WIDTH, bands)

    def forward(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H, W)."""
        height, width = rgb.shape[-2:]
        rgb = padded(rgb, MULTIPLE)
        image = self.conv_in(rgb)
        encoded = _concatenate([self._half(half) for half in _split(image, 2)], 2)
        decoded = self.stage2_decoder(encoded)
        gated = self.sam23(decoded[0], image)
        x = self.concat23(torch.cat([self.shallow_feat3(image), gated], dim=1))
        del gated
        cube = self.tail(self.stage3_orsnet(x, encoded, decoded))
        if self.tail.out_channels == WIDTH:
            cube = cube + image
        return cube[:, :, :height, :width]

    def _half(self, image: Tensor) -> list[Tensor]:
        """The upper or lower half (B, 31, H, W) to the second stage's features of three levels."""
        quarters = [self.stage1_encoder(self.shallow_feat1(quarter)) for quarter in _split(image, 3)]
        encoded = _concatenate(quarters, 3)
        decoded = self.stage1_decoder(encoded)
        gated = self.sam12(decoded[0], image)
        x = self.concat12(torch.cat([self.shallow_feat2(image), gated], dim=1))
        return self.stage2_encoder(x, encoded, decoded)


def _split(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Upper and lower half (dim 2), left and right (dim 3), of an even number of pixels."""
    half = x.shape[dim] // 2
    return x.narrow(dim, 0, half), x.narrow(dim, half, half)


def _concatenate(parts: Sequence[Sequence[Tensor]], dim: int) -> list[Tensor]:
    """Features of three levels, concatenated along ``dim``."""
    return [torch.cat(levels, dim=dim) for levels in zip(*parts, strict=True)]


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The official names, which are ours. Raises FormatError where the one PReLU has several values."""
    return one_value(state, ".body.1.weight", "MPRNet")


def build(bands: BandSet, cabs: int = 4) -> MPRNet:
    """MPRNet for these bands; ``cabs`` channel attention blocks in each part of the third stage."""
    require_counts("cabs", cabs)
    return MPRNet(len(bands), cabs)


SPEC = toolbox_spec(
    name="mprnet",
    build=build,
    summary="MPRNet: quarters, halves, then the whole image with channel attention, 3.62 M parameters",
    paper="Zamir et al., Multi-Stage Progressive Image Restoration, CVPR 2021, arXiv:2102.02808",
    multiple=MULTIPLE,
    lr=2e-4,
    official=Official("minmax-image", rename=rename),
    notes=(
        "Its first stages process quarters and halves of the image as separate images, so the cube depends "
        "on where the image is cut: it cannot be run in exact tiles."
    ),
)
