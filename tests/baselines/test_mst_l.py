"""MST-L against the original network, with and without gradients, and in tiles."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from parity import Parity
from tiles import reach, run_in_tiles, statistics

from contract import ModelContract
from hsrzoo.bands import VISIBLE_31
from hsrzoo.errors import InputError
from hsrzoo.layers import whole_image
from hsrzoo_baselines import mst_plus_plus
from hsrzoo_baselines.mst_l import MSTL, SPEC, MaskedAttention, MaskWeights, build

SMALL = (1, 1, 1)


def size(module) -> int:
    return sum(p.numel() for p in module.parameters())


def seeded(bands: int, blocks=SMALL, coupled: bool = False) -> MSTL:
    torch.manual_seed(0)
    return MSTL(bands, blocks, coupled).eval()


class TestSmall(ModelContract):
    spec = replace(SPEC, arguments={"blocks": SMALL})


def test_size_is_the_official_one_and_grows_by_the_head_alone():
    assert size(build(VISIBLE_31)) == 2_450_978
    assert size(MSTL(202)) == 2_450_978 + 9 * 31 * (202 - 31) == 2_498_687


def test_outputs_keys_and_weights_are_those_of_the_original(parity_root):
    original = Parity.read(parity_root, "mst_l")
    network = build(VISIBLE_31, batch="coupled")
    original.fill(network)  # raises at the first key or shape that differs
    assert original.sha256(network) == original.state_sha256
    errors = original.relative_errors(network)
    assert max(errors.values()) < 1e-5, errors


def test_with_gradients_outputs_are_those_of_the_original(parity_root):
    original = Parity.read(parity_root, "mst_l")
    network = build(VISIBLE_31, batch="coupled")
    original.fill(network)
    expected = original.tensors["output_c"]
    got = network(original.tensors["input_c"]).detach()
    assert (got - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize("gradients", [True, False])
def test_only_coupled_batches_share_the_first_image_s_mask(gradients):
    own, coupled = seeded(4), seeded(4, coupled=True)
    rgb = torch.rand(2, 3, 16, 24)
    with torch.set_grad_enabled(gradients):
        alone = torch.cat([own(image[None]) for image in rgb]).detach()
        assert torch.allclose(own(rgb), alone, atol=1e-6)
        together = coupled(rgb).detach()
        assert torch.allclose(together[0], alone[0], atol=1e-6)
        assert (together[1] - alone[1]).abs().max() > 1e-4
        # what the second image's mask would be does not matter
        coupled.embedding_1.register_forward_hook(lambda _, __, out: out[:1])
        assert torch.allclose(coupled(rgb), together, atol=1e-6)


def test_unknown_batch_is_refused():
    with pytest.raises(InputError, match="coupled"):
        build(VISIBLE_31, batch="shared")


def test_weights_of_the_mask_are_those_of_convolutions():
    torch.manual_seed(0)
    layer = MaskWeights(6).double()
    mask = torch.randn(2, 6, 9, 7, dtype=torch.float64)
    first = layer.conv1(mask)
    expected = first * layer.depth_conv(layer.conv2(first)).sigmoid() + first
    assert torch.allclose(layer(mask.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), expected, rtol=1e-12)


def test_known_matrices_give_the_attention_that_gradients_see():
    torch.manual_seed(0)
    layer = MaskedAttention(62, 2).double()
    x, mask = torch.randn(2, 2, 5, 4, 62, dtype=torch.float64)
    with torch.no_grad():
        got = layer.mix_masked(x, mask, layer.mixing_of_values(x))
    assert torch.allclose(got, layer.masked(x, mask), rtol=1e-10, atol=1e-12)


def test_strips_and_gradients_give_one_cube(monkeypatch):
    monkeypatch.setattr(mst_plus_plus, "VALUES_AT_ONCE", 1)
    monkeypatch.setattr(mst_plus_plus, "LEAST_ROWS", 8)
    monkeypatch.setattr(whole_image, "PIXELS_AT_ONCE", {"cpu": 1, "other": 1})
    monkeypatch.setattr(whole_image, "LEAST_ROWS", 8)
    for network in (seeded(31).double(), seeded(4, coupled=True).double()):
        rgb = torch.rand(2, 3, 61, 30, dtype=torch.float64)
        with torch.no_grad():
            strips = network(rgb)
        assert torch.allclose(strips, network(rgb), rtol=1e-9, atol=1e-10)


def test_outer_skip_exists_at_31_bands_only():
    at_31, at_5 = seeded(31), seeded(5)
    rgb = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        for network in (at_31, at_5):
            network.mapping.weight.zero_()
        first = torch.nn.functional.leaky_relu(at_31.embedding_2(rgb), 0.1)
        assert torch.allclose(at_31(rgb), first, atol=1e-6)
        assert not at_5(rgb).any()


@pytest.mark.parametrize("blocks", [SMALL, (2, 1, 2)])
def test_halo_is_how_far_a_nan_spreads(blocks):
    network = seeded(4, blocks)
    side = -(-(2 * network.halo + 12) // 8) * 8
    rgb = torch.rand(1, 3, side, side)
    known = statistics(network, rgb)
    # a pixel has four places on the coarsest grid, which look alike from both ends
    found = [reach(network, rgb, known, side // 2 + i)[0] for i in range(2)]
    assert max(found) == network.halo


def test_halo_of_the_published_network():
    assert MSTL(4).halo == 176


def test_tiles_are_exact():
    network = seeded(5)
    rgb = torch.rand(1, 3, 16, 136)
    with torch.no_grad():
        whole = network(rgb)
    tiled, passes = run_in_tiles(network, rgb, (0, 16), (0, 64, 136), 40)
    assert passes == 6  # one for each pair, and the last
    assert (tiled - whole).abs().max() < 1e-5
