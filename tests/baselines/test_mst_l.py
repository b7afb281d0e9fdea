"""MST-L: its masks and its attention."""

from __future__ import annotations

import pytest
import torch
from networks import MST_L_SMALL, build

from hsrzoo_baselines.mst_l import MaskedAttention, MaskWeights


@pytest.mark.parametrize("gradients", [True, False])
def test_only_coupled_batches_share_the_first_image_s_mask(gradients):
    own, coupled = (build("mst-l", 4, batch=how, **MST_L_SMALL) for how in ("own", "coupled"))
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
        got = layer.mix(x, layer.mixing(x), mask)
    assert torch.allclose(got, layer(x, mask), rtol=1e-10, atol=1e-12)
