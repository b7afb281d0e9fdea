"""R3ST against the original network."""

from __future__ import annotations

import pytest
import torch
from parity import Parity

from hsrzoo.bands import VISIBLE_31
from hsrzoo_baselines.r3st import R3ST, build


def size(module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_size_is_the_official_one_and_that_reported_at_202_bands():
    assert size(build(VISIBLE_31)) == 1_643_619
    assert size(R3ST(202)) == 1_786_746


def test_outputs_keys_and_weights_are_those_of_the_original(parity_root):
    original = Parity.read(parity_root, "r3st")
    network = R3ST(31)
    original.fill(network)
    assert original.sha256(network) == original.state_sha256
    errors = original.relative_errors(network)
    assert max(errors.values()) < 1e-5, errors


@pytest.mark.parametrize("letter", ["a", "b", "c"])
def test_reflectance_is_that_of_the_original(parity_root, letter):
    original = Parity.read(parity_root, "r3st")
    network = R3ST(31).eval()
    original.fill(network)
    expected = original.tensors[f"aux_{letter}"]
    with torch.no_grad():
        found = network.reflectance(original.tensors[f"input_{letter}"])
    assert (found - expected).norm() < 1e-5 * expected.norm()


def test_with_and_without_gradient_the_cube_is_the_same():
    torch.manual_seed(0)
    network, rgb = R3ST(7).eval(), torch.rand(2, 3, 9, 14)
    with torch.no_grad():
        expected = network(rgb)
    assert torch.allclose(network(rgb), expected, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        alone = torch.cat([network(image[None]) for image in rgb])
    assert torch.allclose(alone, expected, rtol=1e-4, atol=1e-6)


def test_fewer_bands_than_masks_are_enough():
    with torch.no_grad():
        assert R3ST(1).eval()(torch.rand(1, 3, 8, 8)).shape == (1, 1, 8, 8)
