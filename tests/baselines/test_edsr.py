"""EDSR against the original network."""

from __future__ import annotations

import pytest
import torch
from parity import Parity
from tiles import reach, run_in_tiles

from hsrzoo.bands import VISIBLE_31
from hsrzoo.contract.checks import Subject, check_batch, check_sizes
from hsrzoo_baselines.edsr import EDSR, SPEC, ResBlock, build


def size(module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_size_is_the_official_one():
    assert size(build(VISIBLE_31)) == 2_419_999
    assert size(EDSR(202)) == 2_518_666


def test_outputs_keys_and_weights_are_those_of_the_original(parity_root):
    original = Parity.read(parity_root, "edsr")
    network = build(VISIBLE_31)
    original.fill(network)  # raises at the first key or shape that differs
    assert original.sha256(network) == original.state_sha256
    errors = original.relative_errors(network)
    assert max(errors.values()) < 1e-5, errors


@pytest.mark.parametrize("check", [check_batch, check_sizes])
def test_contract(check):
    assert check(Subject(SPEC))


def test_block_is_a_skip_where_its_last_convolution_is_zero():
    block = ResBlock(6)
    torch.nn.init.zeros_(block.body[2].weight)
    torch.nn.init.constant_(block.body[2].bias, 0.5)
    x = torch.randn(1, 6, 5, 4)
    assert torch.allclose(block(x), x + 0.5)


@pytest.mark.parametrize("blocks", [0, 1, 6])
def test_halo_is_how_far_a_nan_spreads(blocks):
    torch.manual_seed(0)
    network = EDSR(4, blocks).eval()
    assert reach(network, torch.rand(1, 3, 40, 40), [], 20) == (network.halo, network.halo)
    assert EDSR(4).halo == 67


def test_tiles_are_exact_in_one_pass():
    torch.manual_seed(0)
    network = EDSR(5, blocks=3).eval()
    rgb = torch.rand(1, 3, 37, 41)
    with torch.no_grad():
        whole = network(rgb)
    tiled, passes = run_in_tiles(network, rgb, (0, 9, 37), (0, 30, 41), network.halo)
    assert passes == 1
    assert (tiled - whole).abs().max() < 1e-5


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    network = EDSR(2, blocks=1).double()
    rgb = torch.rand(1, 3, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, (rgb,))
