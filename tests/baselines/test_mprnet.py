"""MPRNet: the order of its doubling, and what its stages see."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from networks import build

from hsrzoo_baselines.layers import Doubled


def test_mixing_channels_before_doubling_is_the_published_order():
    torch.manual_seed(0)
    up = Doubled(6, 4).double()
    x = torch.rand(2, 6, 5, 3, dtype=torch.float64)
    doubled = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    assert torch.allclose(up(x), up[1](doubled), rtol=1e-12)


def test_the_first_stage_sees_quarters_and_the_second_halves():
    network = build("mprnet", 4, cabs=1)
    quarters, halves = [], []
    network.shallow_feat1.register_forward_hook(lambda _, inputs, __: quarters.append(inputs[0]))
    network.shallow_feat2.register_forward_hook(lambda _, inputs, __: halves.append(inputs[0]))
    rgb = torch.rand(1, 3, 16, 24)
    with torch.no_grad():
        network(rgb)
        image = network.conv_in(rgb)
    assert [tuple(x.shape[2:]) for x in quarters] == [(8, 12)] * 4
    rows = [torch.cat(quarters[i : i + 2], dim=3) for i in (0, 2)]
    assert torch.equal(torch.cat(rows, dim=2), image)
    assert torch.equal(torch.cat(halves, dim=2), image)
