"""MST++: strips, the published structure, and the attention against loops in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from networks import BOTH_STRUCTURES, build

from hsrzoo.layers import whole_image
from hsrzoo_baselines import mst_plus_plus_layers
from hsrzoo_baselines.mst_plus_plus_layers import SpectralAttention
from hsrzoo_baselines.mst_plus_plus_published import attention


def with_both_structures(bands: int, stages: int = 2):
    networks = [build("mst-plus-plus", bands, stages=stages, **how) for how in BOTH_STRUCTURES]
    networks[1].load_state_dict(networks[0].state_dict())
    return networks


@pytest.mark.parametrize(("bands", "size"), [(4, (1, 3, 40, 32)), (31, (2, 3, 37, 43))])
def test_strips_and_the_published_structure_agree(monkeypatch, bands, size):
    monkeypatch.setattr(mst_plus_plus_layers, "VALUES_AT_ONCE", 1)  # strips of 8 rows
    monkeypatch.setattr(whole_image, "PIXELS_AT_ONCE", {"cpu": 1, "other": 1})
    monkeypatch.setattr(whole_image, "LEAST_ROWS", 8)
    optimised, published = with_both_structures(bands)
    rgb = torch.rand(size)
    with torch.no_grad():
        expected = published.double()(rgb.double())
        got = optimised(rgb)
    assert (got - expected).norm() < 1e-6 * expected.norm()


@pytest.mark.parametrize("structure", ["optimised", "published"])
def test_a_flat_image_gives_finite_numbers_and_the_same_ones(structure):
    networks = dict(zip(("optimised", "published"), with_both_structures(4), strict=True))
    for level in (0.0, 0.3):
        rgb = torch.full((1, 3, 16, 24), level)
        with torch.no_grad():
            got, expected = networks[structure](rgb), networks["published"].double()(rgb.double())
            networks["published"].float()
        assert torch.allclose(got.double(), expected, rtol=1e-4, atol=1e-6)


def attention_by_loops(attention: SpectralAttention, x: np.ndarray) -> np.ndarray:
    """One image (H, W, K) through the attention, number by number."""
    weight = {key: value.numpy() for key, value in attention.state_dict().items()}
    d = x.shape[-1] // attention.heads
    pixels = x.reshape(-1, x.shape[-1])
    q, k, v = (pixels @ weight[f"to_{name}.weight"].T for name in "qkv")
    mixed = np.zeros_like(v)
    for head in range(attention.heads):
        at = range(head * d, (head + 1) * d)
        for i in at:
            scores = []
            for j in at:
                cosine = (
                    sum(k[:, i] * q[:, j]) / math.sqrt(sum(k[:, i] ** 2)) / math.sqrt(sum(q[:, j] ** 2))
                )
                scores.append(weight["rescale"][head, 0, 0] * cosine)
            share = [math.exp(s) for s in scores]
            for j, a in zip(at, share, strict=True):
                mixed[:, i] += a / sum(share) * v[:, j]
    out = (mixed @ weight["proj.weight"].T + weight["proj.bias"]).reshape(x.shape)
    gelu = np.vectorize(lambda t: t * (1 + math.erf(t / math.sqrt(2))) / 2)
    image = v.reshape(x.shape)
    inner = gelu(depthwise(image, weight["pos_emb.0.weight"]))
    return out + depthwise(inner, weight["pos_emb.2.weight"])


def depthwise(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """3 x 3 cross-correlation of each channel with its own kernel, zeros around the image."""
    height, width, _ = image.shape
    out = np.zeros_like(image)
    for r in range(height):
        for c in range(width):
            for dr in (-1, 0, 1):
                for dc in (-1, 0, 1):
                    if 0 <= r + dr < height and 0 <= c + dc < width:
                        out[r, c] += kernel[:, 0, dr + 1, dc + 1] * image[r + dr, c + dc]
    return out


@pytest.mark.parametrize("how", ["from the Gram matrix", "with gradients", "published"])
def test_attention_equals_loops_in_float64(how):
    torch.manual_seed(1)
    layer = SpectralAttention(62, 2).double()
    layer.rescale.data.copy_(torch.tensor([0.7, 1.9]).view(2, 1, 1))
    x = torch.randn(2, 3, 4, 62, dtype=torch.float64)
    with torch.set_grad_enabled(how == "with gradients"):
        got = (attention(layer, x) if how == "published" else layer(x)).detach().numpy()
    expected = np.stack([attention_by_loops(layer, image) for image in x.numpy()])
    assert np.allclose(got, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("stages", [1, 2])
def test_stages_are_an_argument(stages):
    network = build("mst-plus-plus", 4, stages=stages)
    assert len(network.body) == stages
    assert network(torch.rand(1, 3, 8, 8)).shape == (1, 4, 8, 8)
