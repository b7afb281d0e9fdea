"""Restormer: its attention against loops, its blocks in strips."""

from __future__ import annotations

import numpy as np
import torch

from hsrzoo.layers import whole_image
from hsrzoo_baselines.restormer import Attention, Block


def attention_by_loops(layer: Attention, x: np.ndarray) -> np.ndarray:
    """One image (K, H, W) through the attention, channel by channel."""
    weight = {key: value.detach().numpy() for key, value in layer.state_dict().items()}
    k, height, width = x.shape
    mixed = np.einsum("ok,khw->ohw", weight["qkv.weight"][:, :, 0, 0], x)
    padded = np.pad(mixed, ((0, 0), (1, 1), (1, 1)))
    seen = np.zeros_like(mixed)
    for r in range(3):
        for c in range(3):
            kernel = weight["qkv_dwconv.weight"][:, 0, r, c, None, None]
            seen += kernel * padded[:, r : r + height, c : c + width]
    queries, keys, values = seen.reshape(3, k, -1)
    out, d = np.zeros_like(values), k // layer.heads
    for i in range(k):
        head = range(i // d * d, i // d * d + d)
        cosines = [
            queries[i] @ keys[j] / np.linalg.norm(queries[i]) / np.linalg.norm(keys[j]) for j in head
        ]
        shares = np.exp(weight["temperature"][i // d, 0, 0] * np.array(cosines))
        out[i] = shares / shares.sum() @ values[list(head)]
    return (weight["project_out.weight"][:, :, 0, 0] @ out).reshape(x.shape)


def test_attention_equals_loops_in_float64():
    torch.manual_seed(1)
    layer = Attention(6, 2).double()
    layer.temperature.data.copy_(torch.tensor([0.7, 1.9]).view(2, 1, 1))
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64)
    expected = np.stack([attention_by_loops(layer, image) for image in x.numpy()])
    assert np.allclose(layer(x).detach().numpy(), expected, rtol=1e-10, atol=1e-12)
    with torch.no_grad():
        values = layer.values(x).flatten(2)
        got = (layer.mixing(layer.queries_and_keys(x)) @ values).view(x.shape).numpy()
    assert np.allclose(got, expected, rtol=1e-10, atol=1e-12)


def test_strips_give_the_block_that_gradients_see(monkeypatch):
    monkeypatch.setattr(whole_image, "PIXELS_AT_ONCE", {"cpu": 1, "other": 1})
    monkeypatch.setattr(whole_image, "LEAST_ROWS", 8)
    torch.manual_seed(0)
    block = Block(24, 3).double()
    x = torch.randn(2, 24, 29, 7, dtype=torch.float64)
    with torch.no_grad():
        strips = block(x)
    assert torch.allclose(strips, block(x), rtol=1e-10, atol=1e-12)
