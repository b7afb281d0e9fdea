"""HINet against the original network, and in tiles."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from parity import Parity
from tiles import reach, run_in_tiles, statistics
from torch import nn

from contract import ModelContract
from hsrzoo.bands import VISIBLE_31
from hsrzoo_baselines.hinet import SPEC, HINet, build, instance_norm


def size(module) -> int:
    return sum(p.numel() for p in module.parameters())


def seeded(bands: int, depth: int) -> HINet:
    torch.manual_seed(0)
    return HINet(bands, depth).eval()


class TestSmall(ModelContract):
    spec = replace(SPEC, arguments={"depth": 2})


def test_size_is_the_official_one_and_grows_by_the_head_alone():
    assert size(build(VISIBLE_31)) == 5_223_688
    assert size(HINet(202)) == 5_223_688 + (9 * 31 + 1) * (202 - 31) == 5_271_568


def test_outputs_keys_and_weights_are_those_of_the_original(parity_root):
    original = Parity.read(parity_root, "hinet")
    network = build(VISIBLE_31)
    original.fill(network)  # raises at the first key or shape that differs
    assert original.sha256(network) == original.state_sha256
    errors = original.relative_errors(network)
    assert max(errors.values()) < 1e-5, errors


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


def test_outer_skip_exists_at_31_bands_only():
    at_31, at_5 = seeded(31, 2), seeded(5, 2)
    rgb = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        for network in (at_31, at_5):
            network.last.weight.zero_()
            network.last.bias.zero_()
        assert torch.equal(at_31(rgb), at_31.conv_in(rgb))
        assert not at_5(rgb).any()


@pytest.mark.parametrize("depth", [2, 3])
def test_halo_is_how_far_a_nan_spreads(depth):
    network = seeded(4, depth)
    side = -(-(2 * network.halo + 8) // 16) * 16
    rgb = torch.rand(1, 3, side, side)
    known = statistics(network, rgb)
    assert len(known) == 2 * depth  # one normalisation a level and U-Net
    # on a coarser level's grid a pixel can have as many places
    found = [reach(network, rgb, known, side // 2 + i)[0] for i in range(1 << (depth - 1))]
    assert max(found) == network.halo


def test_halo_of_four_levels_covers_the_reach_by_hand():
    def lowest(row: int, level: int) -> int:
        """First row that a U-Net reads for this one; blocks reach 2, a floor is a level up."""
        if level == 1:
            return row - 2
        return 2 * lowest((row - 2) // 2, level - 1) - 1 - 2

    def depth(row: int, levels: int) -> int:
        second = lowest(row - 1, levels)  # last
        return row - (lowest(second - 2, levels) - 2)  # the gate; conv_01 and conv_in

    def most(levels: int) -> int:
        return max(depth(row, levels) for row in range(1000, 1016))

    assert [most(levels) for levels in (2, 3)] == [HINet(4, levels).halo for levels in (2, 3)]
    assert most(4) == 117 <= HINet(4).halo == 121  # no row has the worst place on every grid


def test_tiles_are_exact():
    network = seeded(5, 2)
    rgb = torch.rand(1, 3, 96, 80) * torch.linspace(0.1, 1, 80)  # parts of unlike mean and variance
    with torch.no_grad():
        whole = network(rgb)
    tiled, passes = run_in_tiles(network, rgb, (0, 48, 96), (0, 32, 80), 32)
    assert passes == 5
    assert (tiled - whole).abs().max() < 1e-5


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
