"""MIRNet against the original network, and its parts against numbers by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from parity import Parity
from tiles import reach, run_in_tiles, statistics

from contract import ModelContract
from hsrzoo.bands import VISIBLE_31
from hsrzoo.errors import FormatError, InputError
from hsrzoo_baselines.mirnet import (
    SPEC,
    Blur,
    DualAttention,
    MIRNet,
    SelectiveKernel,
    build,
    rename,
)


def seeded(make, *arguments):
    torch.manual_seed(0)
    return make(*arguments).eval()


def size(module) -> int:
    return sum(p.numel() for p in module.parameters())


class TestSmall(ModelContract):
    spec = replace(SPEC, arguments={"groups": 1})


def test_size_is_the_official_one_and_grows_by_the_head_alone():
    network = build(VISIBLE_31)
    assert size(network) == 3_749_356
    assert sum(b.numel() for b in network.buffers()) == 10_044
    assert size(MIRNet(202)) == 3_749_356 + 9 * 31 * (202 - 31) == 3_797_065


def test_outputs_keys_and_weights_are_those_of_the_original(parity_root):
    original = Parity.read(parity_root, "mirnet")
    network = build(VISIBLE_31)
    original.fill(network)  # raises at the first key or shape that differs
    assert original.sha256(network) == original.state_sha256  # the blurs' constants included
    errors = original.relative_errors(network)
    assert max(errors.values()) < 1e-5, errors


def test_frozen_weights_decide_nothing():
    network, rgb = seeded(MIRNet, 4, 1), torch.rand(1, 3, 16, 8)
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
    mix = seeded(SelectiveKernel, 31)
    same = torch.rand(2, 31, 3, 4)
    with torch.no_grad():
        assert torch.allclose(mix([same, same, same]), same, atol=1e-6)
        streams = [torch.full((1, 31, 2, 2), float(i)) for i in range(3)]
        shares = F.softmax(
            torch.stack([fc(mix.conv_du(sum(streams)))[0, :, 0, 0] for fc in mix.fcs]), dim=0
        )
        assert torch.allclose(mix(streams)[0, :, 1, 1], shares[1] + 2 * shares[2], atol=1e-6)


def prelus(state) -> list[str]:
    return [key for key in state if key.endswith("body.1.weight") and state[key].shape == (1,)]


def test_one_prelu_has_nine_names_and_a_file_whose_differ_is_refused():
    state = seeded(MIRNet, 31).state_dict()
    assert len(prelus(state)) == 9
    assert len({state[key].data_ptr() for key in prelus(state)}) == 1
    assert rename(state).keys() == state.keys()
    with pytest.raises(FormatError, match="all its 9 names"):
        rename({**state, prelus(state)[4]: torch.tensor([0.3])})


def test_outer_skip_exists_at_31_bands_only():
    at_31, at_5 = seeded(MIRNet, 31, 1), seeded(MIRNet, 5, 1)
    rgb = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        for network in (at_31, at_5):
            network.conv_out.weight.zero_()
        assert torch.equal(at_31(rgb), at_31.conv_in(rgb))
        assert not at_5(rgb).any()


def test_padding_is_the_reflection_of_the_original():
    network, rgb = seeded(MIRNet, 31, 1), torch.rand(1, 3, 13, 10)
    padded = torch.from_numpy(np.pad(rgb.numpy(), ((0, 0), (0, 0), (0, 3), (0, 6)), mode="reflect"))
    with torch.no_grad():
        assert torch.allclose(network(rgb), network(padded)[:, :, :13, :10], atol=1e-6)


def test_halo_is_how_far_a_nan_spreads():
    network = seeded(MIRNet, 4, 1)
    side = 2 * network.halo + 8
    rgb = torch.rand(1, 3, side, side)
    known = statistics(network, rgb)
    assert len(known) == 4
    # coarser levels make it differ between the four places that a pixel can have on their grid
    found = [reach(network, rgb, known, side // 2 + i) for i in range(4)]
    assert max(most for most, _ in found) == network.halo == 44


@pytest.mark.parametrize(("groups", "blocks"), [(1, 1), (1, 3), (2, 2), (3, 1)])
def test_halo_of_several_blocks_is_the_reach_by_hand(groups, blocks):
    def block(low: int, high: int) -> tuple[int, int]:
        """First and last row that a block reads for these of its output."""
        low, high = low - 1, high + 1
        for _ in range(2):  # doublings
            low, high = (low - 1) // 2, (high + 1) // 2
        low, high = low - 4, high + 4
        for _ in range(2):  # halvings, and the unit before each
            low, high = 2 * low - 2 - 4, 2 * high + 2 + 4
        return low, high

    def depth(row: int) -> int:
        low, high = row - 1, row + 1
        for _ in range(groups):
            low, high = low - 1, high + 1
            for _ in range(blocks):
                low, high = block(low, high)
        return max(row - low, high - row) + 1

    assert max(depth(row) for row in range(1000, 1004)) == MIRNet(4, groups, blocks).halo


def test_tiles_are_exact():
    network, rgb = seeded(MIRNet, 5, 1), torch.rand(1, 3, 120, 104)
    with torch.no_grad():
        whole = network(rgb)
    tiled, passes = run_in_tiles(network, rgb, (0, 40, 120), (0, 56, 104), 48)
    assert passes == 4 + 1
    assert (tiled - whole).abs().max() < 1e-5


@pytest.mark.parametrize("arguments", [{"groups": 0}, {"blocks": 0}])
def test_no_blocks_are_refused(arguments):
    with pytest.raises(InputError, match="at least 1"):
        build(VISIBLE_31, **arguments)
