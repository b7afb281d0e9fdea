"""HSCNN+ against the original network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from parity import Parity

import hsrzoo
from hsrzoo.bands import VISIBLE_31
from hsrzoo.errors import InputError
from hsrzoo_baselines import hscnn_plus
from hsrzoo_baselines.hscnn_plus import HSCNNPlus, build


def size(module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_size_is_the_official_one():
    assert size(build(VISIBLE_31)) == 4_645_504
    assert size(HSCNNPlus(202)) == 4_831_552


@pytest.mark.parametrize("structure", ["optimised", "published"])
def test_outputs_keys_and_weights_are_those_of_the_original(parity_root, structure):
    original = Parity.read(parity_root, "hscnn_plus")
    network = build(VISIBLE_31, structure=structure)
    original.fill(network)  # raises at the first key or shape that differs
    assert original.sha256(network) == original.state_sha256
    errors = original.relative_errors(network)
    assert max(errors.values()) < 1e-5, errors


def test_with_and_without_gradient_the_cube_is_the_same():
    torch.manual_seed(0)
    network = HSCNNPlus(7, blocks=4)
    rgb = torch.rand(2, 3, 9, 6)
    with torch.no_grad():
        one_buffer = network(rgb)
    assert torch.allclose(network(rgb), one_buffer, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rows", [3, 5, 8, 64])
@pytest.mark.parametrize("size", [(1, 1), (7, 1), (1, 9), (23, 6), (24, 32)])
def test_wavefront_gives_the_cube_of_the_published_structure(monkeypatch, rows, size):
    """Strips of one row and more, fewer rows than blocks, a last strip that is not full."""
    monkeypatch.setattr(hscnn_plus, "LEAST_ROWS", rows)
    monkeypatch.setattr(hscnn_plus, "PIXELS_AT_ONCE", {"cpu": 1, "other": 1})
    torch.manual_seed(0)
    wavefront, published = HSCNNPlus(5, blocks=6), HSCNNPlus(5, blocks=6, published=True)
    published.load_state_dict(wavefront.state_dict())
    rgb = torch.rand(2, 3, *size)
    with torch.no_grad():
        expected = published.double()(rgb.double())
        assert (wavefront(rgb) - expected).norm() < 1e-6 * expected.norm()


def test_unknown_structure_is_refused():
    with pytest.raises(InputError, match="published"):
        build(VISIBLE_31, structure="original")


def test_reference_has_the_weights_of_the_default():
    reference = hsrzoo.load("hscnn-plus:reference", device="cpu")
    default = hsrzoo.load("hscnn-plus", device="cpu")
    assert reference.module.published and not default.module.published
    assert reference.weights_sha256 == default.weights_sha256
    rgb = np.random.default_rng(0).random((3, 20, 17), dtype=np.float32)
    assert np.allclose(reference.predict(rgb), default.predict(rgb), rtol=1e-4, atol=1e-5)


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    network = HSCNNPlus(2, blocks=2).double()
    rgb = torch.rand(1, 3, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, (rgb,))
