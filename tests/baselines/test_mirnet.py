"""The parts of MIRNet against numbers by hand."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from networks import build

from hsrzoo_baselines.mirnet import Blur, DualAttention, SelectiveKernel


def test_frozen_weights_decide_nothing():
    network, rgb = build("mirnet", 4, groups=1), torch.rand(1, 3, 16, 8)
    with torch.no_grad():
        before = network(rgb)
        frozen = [p for p in network.parameters() if not p.requires_grad]
        for parameter in frozen:
            parameter.fill_(float("nan"))
        assert torch.equal(network(rgb), before)
    assert 3 * sum(p.numel() for p in frozen) == 1_497_900


def test_blur_is_binomial_and_reflects():
    rows = torch.arange(6.0)[:, None].expand(6, 4)
    image = torch.stack([rows, torch.ones(6, 4)])[None]
    blurred = Blur(2)(image)
    # rows -1 and 1 of a ramp both hold 1: (1 + 2 x 0 + 1) / 4; elsewhere a ramp stays what it is
    assert torch.allclose(blurred[0, 0], torch.tensor([0.5, 2.0, 4.0])[:, None].expand(3, 2))
    assert torch.equal(blurred[0, 1], torch.ones(3, 2))


def test_attention_weighs_pixels_and_channels_as_numbers_by_hand_do():
    torch.manual_seed(0)
    layer = DualAttention(16, torch.nn.PReLU()).double()
    x = torch.randn(2, 16, 6, 5, dtype=torch.float64)
    with torch.no_grad():
        got, features = layer(x).numpy(), layer.body(x).numpy()
    kernel = layer.SA.spatial.conv.weight.detach().numpy()[0]
    inner, outer = (layer.CA.conv_du[i].weight.detach().numpy()[:, :, 0, 0] for i in (0, 2))
    join = layer.conv1x1.weight.detach().numpy()[:, :, 0, 0]

    def sigmoid(t):
        return 1 / (1 + np.exp(-t))

    for image, start, out in zip(features, x.numpy(), got, strict=True):
        pooled = np.pad(np.stack([image.max(0), image.mean(0)]), ((0, 0), (2, 2), (2, 2)))
        channels = sigmoid(outer @ np.maximum(inner @ image.mean((1, 2)), 0))
        for r in range(6):
            for c in range(5):
                pixel = sigmoid((kernel * pooled[:, r : r + 5, c : c + 5]).sum())
                gated = np.concatenate([image[:, r, c] * pixel, image[:, r, c] * channels])
                assert np.allclose(out[:, r, c], join @ gated + start[:, r, c], rtol=1e-10, atol=1e-12)


def test_the_mix_of_resolutions_is_an_average_of_each_channel():
    torch.manual_seed(0)
    mix = SelectiveKernel(31)
    same = torch.rand(2, 31, 3, 4)
    with torch.no_grad():
        assert torch.allclose(mix([same, same, same]), same, atol=1e-6)
        streams = [torch.full((1, 31, 2, 2), float(i)) for i in range(3)]
        shares = F.softmax(
            torch.stack([fc(mix.conv_du(sum(streams)))[0, :, 0, 0] for fc in mix.fcs]), dim=0
        )
        assert torch.allclose(mix(streams)[0, :, 1, 1], shares[1] + 2 * shares[2], atol=1e-6)
