"""HDNet against the original network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from parity import Parity
from tiles import reach, run_in_tiles, statistics

from hsrzoo.bands import VISIBLE_31
from hsrzoo.contract.checks import CHECKS, Subject
from hsrzoo.errors import InputError
from hsrzoo.layers.whole_image import strips_of
from hsrzoo_baselines.hdnet import SPEC, DualAttention, HDNet, build, pixel_pool, pixel_softmax

SMALL = Subject(replace(SPEC, arguments={"blocks": 1}))


def size(module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_size_is_the_official_one():
    network = build(VISIBLE_31)
    assert size(network) == 2_659_243
    assert sum(b.numel() for b in network.buffers()) == 112
    assert size(HDNet(202)) == 2_733_286


def test_outputs_keys_and_weights_are_those_of_the_original(parity_root):
    original = Parity.read(parity_root, "hdnet")
    network = build(VISIBLE_31)
    original.fill(network)  # raises at the first key or shape that differs
    assert original.sha256(network) == original.state_sha256
    errors = original.relative_errors(network)
    assert max(errors.values()) < 1e-5, errors


@pytest.mark.parametrize("check", ["range", "bands", "sizes", "batch", "save-and-load", "gradient"])
def test_contract(check):
    assert CHECKS[check](SMALL)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_softmax_over_pixels_is_that_of_torch_however_large_the_logits(scale):
    logits = scale * torch.randn(2, 3, 40, 7, generator=torch.Generator().manual_seed(0))
    values = torch.randn(2, 5, 40, 7, generator=torch.Generator().manual_seed(1))
    expected = logits.double().flatten(2).softmax(-1).view_as(logits)
    with torch.no_grad(), strips_of(pixels=1, rows=8):
        shares = pixel_softmax(logits)
        pooled = pixel_pool(logits[:, :1], values)
    assert torch.allclose(shares.double(), expected, rtol=1e-5, atol=1e-12)
    by_hand = (expected[:, :1] * values).sum((2, 3), keepdim=True)
    assert torch.allclose(pooled.double(), by_hand, rtol=1e-4, atol=1e-6)


def test_attention_equals_products_over_the_pixels_in_float64():
    torch.manual_seed(0)
    layer = DualAttention(8).double()
    x = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    weight = {key.split(".")[0]: value[:, :, 0, 0].numpy() for key, value in layer.state_dict().items()}
    for image, got in zip(x.flatten(2).numpy(), layer(x).detach().flatten(2).numpy(), strict=True):
        share = np.exp(weight["conv_q_right"] @ image)
        pooled = weight["conv_v_right"] @ image @ (share / share.sum()).T
        channels = 1 / (1 + np.exp(-weight["conv_up"] @ pooled))
        query = (weight["conv_q_left"] @ image).mean(1)
        match = np.exp(query @ (weight["conv_v_left"] @ image))
        pixels = 1 / (1 + np.exp(-match / match.sum()))
        assert np.allclose(got, image * channels + image * pixels, rtol=1e-10)


@pytest.mark.parametrize("blocks", [1, 3])
def test_halo_is_how_far_a_nan_spreads(blocks):
    torch.manual_seed(0)
    network = HDNet(4, blocks).eval()
    rgb = torch.rand(1, 3, 41, 41)
    known = statistics(network, rgb)
    assert reach(network, rgb, known, 20) == (network.halo, network.halo)
    assert HDNet(4).halo == 130


def test_tiles_are_exact():
    torch.manual_seed(0)
    network = HDNet(5, blocks=1).eval()
    rgb = torch.rand(2, 3, 23, 29)
    with torch.no_grad():
        whole = network(rgb)
    tiled, passes = run_in_tiles(network, rgb, (0, 9, 23), (0, 20, 29), network.halo)
    assert passes == 7 + 1
    assert (tiled - whole).abs().max() < 1e-5


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    network = HDNet(2, blocks=1).double().eval()
    rgb = torch.rand(1, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, (rgb,))


def test_no_blocks_are_refused():
    with pytest.raises(InputError, match="at least 1"):
        build(VISIBLE_31, blocks=0)
