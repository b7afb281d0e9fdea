"""HDNet: its softmax over pixels and its attention."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hsrzoo_baselines.hdnet import DualAttention, pixel_pool, pixel_softmax
from strips import strips_of


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
