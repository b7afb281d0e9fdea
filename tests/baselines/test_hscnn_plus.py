"""HSCNN+ against the original network."""

from __future__ import annotations

import torch
from hsrzoo_baselines.hscnn_plus import HSCNNPlus, build
from parity import Parity

from hsrzoo.bands import VISIBLE_31


def size(module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_size_is_the_official_one():
    assert size(build(VISIBLE_31)) == 4_645_504
    assert size(HSCNNPlus(202)) == 4_831_552


def test_outputs_keys_and_weights_are_those_of_the_original(parity_root):
    original = Parity.read(parity_root, "hscnn_plus")
    network = build(VISIBLE_31)
    original.fill(network)  # raises at the first key or shape that differs
    assert original.sha256(network) == original.state_sha256
    errors = original.relative_errors(network)
    assert max(errors.values()) < 1e-4, errors


def test_with_and_without_gradient_the_cube_is_the_same():
    torch.manual_seed(0)
    network = HSCNNPlus(7, blocks=4)
    rgb = torch.rand(2, 3, 9, 6)
    with torch.no_grad():
        one_buffer = network(rgb)
    assert torch.allclose(network(rgb), one_buffer, rtol=1e-5, atol=1e-7)


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    network = HSCNNPlus(2, blocks=2).double()
    rgb = torch.rand(1, 3, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, (rgb,))
