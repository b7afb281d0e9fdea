"""HSCNN+: the order in which strips of all blocks are computed."""

from __future__ import annotations

import pytest
import torch

from hsrzoo_baselines import hscnn_plus
from hsrzoo_baselines.hscnn_plus import HSCNNPlus


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
