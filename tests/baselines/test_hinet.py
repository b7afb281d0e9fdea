"""HINet: its half instance normalisation, whole and in tiles."""

from __future__ import annotations

import torch
from tiles import run_in_tiles
from torch import nn

from hsrzoo_baselines.hinet import HINet, instance_norm


def test_of_an_odd_number_of_channels_the_larger_half_is_normalised():
    block = HINet(4, 2).down_path_1[0]
    assert block.norm.num_features == 16
    seen = []
    block.conv_2.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    rgb = torch.rand(1, 31, 16, 16)
    with torch.no_grad():
        block(rgb)
        before = block.conv_1(rgb)
        centred = before[:, :16] - before[:, :16].mean((2, 3), keepdim=True)
        scaled = centred / (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
    expected = nn.functional.leaky_relu(torch.cat([scaled, before[:, 16:]], dim=1), 0.2)
    assert torch.allclose(seen[0], expected, atol=1e-5)


def test_normalisation_by_parts_is_exact_far_from_zero():
    torch.manual_seed(0)
    norm = nn.InstanceNorm2d(3, affine=True)

    class Shifted(nn.Module):
        def forward(self, x):
            return instance_norm(x + 1000, norm)

    x = torch.rand(1, 3, 24, 20)
    expected = nn.functional.instance_norm(x.double() + 1000, eps=norm.eps)
    with torch.no_grad():
        tiled, _ = run_in_tiles(Shifted(), x, (0, 7, 24), (0, 20), 0)
    assert (tiled - expected).abs().max() < 1e-3  # the input itself is rounded to 6e-5, a fifth of 1e-3 sd
