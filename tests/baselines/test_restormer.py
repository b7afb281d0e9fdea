"""Restormer against the original network, with and without gradients, and in tiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from parity import Parity
from tiles import reach, run_in_tiles, statistics

from contract import ModelContract
from hsrzoo.bands import VISIBLE_31
from hsrzoo.layers import whole_image
from hsrzoo_baselines.restormer import SPEC, Attention, Block, Restormer, build

SMALL = {"blocks": (1, 1, 1, 1), "refinement": 1}


def size(module) -> int:
    return sum(p.numel() for p in module.parameters())


def seeded(bands: int, **arguments) -> Restormer:
    torch.manual_seed(0)
    return Restormer(bands, **{**SMALL, **arguments}).eval()


class TestSmall(ModelContract):
    spec = replace(SPEC, arguments=SMALL)


def test_size_is_the_official_one_and_grows_by_the_head_alone():
    assert size(build(VISIBLE_31)) == 15_108_705
    assert size(Restormer(202)) == 15_108_705 + 9 * 96 * (202 - 31) == 15_256_449


def test_outputs_keys_and_weights_are_those_of_the_original(parity_root):
    original = Parity.read(parity_root, "restormer")
    network = build(VISIBLE_31)
    original.fill(network)  # raises at the first key or shape that differs
    assert original.sha256(network) == original.state_sha256
    errors = original.relative_errors(network)
    assert max(errors.values()) < 1e-5, errors


def test_with_gradients_outputs_are_those_of_the_original(parity_root):
    original = Parity.read(parity_root, "restormer")
    network = build(VISIBLE_31)
    original.fill(network)
    expected = original.tensors["output_c"]
    got = network(original.tensors["input_c"]).detach()
    assert (got - expected).norm() < 1e-5 * expected.norm()


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


@pytest.mark.parametrize(
    "counts", [{"blocks": (0, 0, 0, 1), "refinement": 0}, {"blocks": (1, 1, 0, 0), "refinement": 1}]
)
def test_halo_is_how_far_a_nan_spreads(counts):
    network = seeded(4, **counts)
    side = -(-(2 * network.halo + 16) // 8) * 8
    rgb = torch.rand(1, 3, side, side)
    known = statistics(network, rgb)
    # a pixel has eight places on the coarsest grid, which look alike from both ends
    found = [reach(network, rgb, known, side // 2 + i)[0] for i in range(4)]
    assert max(found) == network.halo


def test_halo_of_the_published_network():
    assert Restormer(4).halo == 180


def test_tiles_are_exact():
    network = seeded(5)
    rgb = torch.rand(1, 3, 16, 232)
    with torch.no_grad():
        whole = network(rgb)
    tiled, passes = run_in_tiles(network, rgb, (0, 16), (0, 120, 232), 80)
    assert passes == 9  # one for each block, and the last
    assert (tiled - whole).abs().max() < 1e-5
