"""HRNet against the original network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from parity import Parity
from tiles import reach, run_in_tiles

from hsrzoo.bands import VISIBLE_31
from hsrzoo.contract.checks import CHECKS, Subject
from hsrzoo.errors import InputError
from hsrzoo_baselines.hrnet import SPEC, DenseBlock, HRNet, build

SMALL = Subject(replace(SPEC, arguments={"width": 4}))


def size(module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_size_is_the_official_one():
    with torch.device("meta"):
        assert size(build(VISIBLE_31)) == 31_704_863
        assert size(HRNet(202)) == 31_803_530


def test_outputs_keys_and_weights_are_those_of_the_original(parity_root):
    original = Parity.read(parity_root, "hrnet")
    network = build(VISIBLE_31)
    original.fill(network)  # raises at the first key or shape that differs
    assert original.sha256(network) == original.state_sha256
    errors = original.relative_errors(network)
    assert max(errors.values()) < 1e-5, errors


@pytest.mark.parametrize("check", ["range", "bands", "sizes", "batch", "tiles", "gradient"])
def test_contract(check):
    assert CHECKS[check](SMALL)


def test_frozen_weights_are_those_of_the_gates_and_change_nothing():
    torch.manual_seed(0)
    network = HRNet(4, width=4).eval()
    frozen = {name: p for name, p in network.named_parameters() if not p.requires_grad}
    assert len(frozen) == 3 * 4 and all(".fc." in name for name in frozen)
    rgb = torch.rand(1, 3, 8, 16)
    before = network(rgb)
    for p in frozen.values():
        torch.nn.init.normal_(p)
    assert torch.equal(network(rgb), before)


def test_each_layer_of_a_dense_block_sees_all_before_it():
    torch.manual_seed(0)
    block = DenseBlock(4, 2).double()
    x = torch.randn(1, 4, 1, 1, dtype=torch.float64)
    seen = x.flatten().numpy()
    for layer in (block.conv1, block.conv2, block.conv3, block.conv4, block.conv5):
        # of a single pixel, a 3 x 3 kernel sees the middle alone
        out = layer.conv2d.weight[:, :, 1, 1].detach().numpy() @ seen + layer.conv2d.bias.detach().numpy()
        last = np.where(out < 0, 0.2 * out, out)
        seen = np.concatenate([seen, last])
    expected = x.flatten().numpy() + 0.1 * last
    assert np.allclose(block(x).detach().flatten().numpy(), expected, rtol=1e-12)


def test_padding_is_the_reflection_of_the_original():
    torch.manual_seed(0)
    network = HRNet(4, width=4).eval()
    rgb = torch.rand(1, 3, 13, 10)
    padded = torch.from_numpy(np.pad(rgb.numpy(), ((0, 0), (0, 0), (0, 3), (0, 6)), mode="reflect"))
    with torch.no_grad():
        assert torch.allclose(network(rgb), network(padded)[:, :, :13, :10], atol=1e-6)


def test_halo_is_how_far_a_nan_spreads():
    torch.manual_seed(0)
    network = HRNet(4, width=4).eval()
    rgb = torch.rand(1, 3, 336, 336)
    # coarser levels make it differ between the eight places that a pixel can have on their grid
    found = [reach(network, rgb, [], 160 + i)[0] for i in (0, 3, 7)]
    assert max(found) == network.halo


def test_tiles_are_exact_in_one_pass():
    torch.manual_seed(0)
    network = HRNet(5, width=4).eval()
    rgb = torch.rand(1, 3, 16, 376)
    with torch.no_grad():
        whole = network(rgb)
    tiled, passes = run_in_tiles(network, rgb, (0, 16), (0, 184, 376), 160)
    assert passes == 1
    assert (tiled - whole).abs().max() < 1e-5


@pytest.mark.parametrize("width", [2, 6])
def test_impossible_width_is_refused(width):
    with pytest.raises(InputError, match="multiple of 4"):
        build(VISIBLE_31, width=width)
