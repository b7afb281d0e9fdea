"""In tiles with the declared halo around them, a network gives the cube of the whole image."""

from __future__ import annotations

import pytest
import torch
from networks import build, cases, round_up, spec_of
from tiles import run_in_tiles

BOUND = 1e-5
"""Greatest absolute difference between the cubes in tiles and whole."""


def image(height: int, width: int, batch: int = 1) -> torch.Tensor:
    """Noise whose brightness grows to the right, so that tiles differ in mean and variance."""
    noise = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(5))
    return noise * torch.linspace(0.1, 1, width)


@pytest.mark.parametrize(("name", "row"), cases("tiles"))
def test_tiles_are_exact(name, row):
    network = build(name, row.bands, **row.arguments)
    rgb = image(row.rows[-1], row.columns[-1], row.batch)
    with torch.no_grad():
        whole = network(rgb)
    halo = round_up(network.halo, spec_of(name).input.multiple)
    tiled, passes = run_in_tiles(network, rgb, row.rows, row.columns, halo)
    assert passes == row.passes
    assert (tiled - whole).abs().max() < BOUND


def test_tiles_with_too_small_a_halo_are_not():
    network, rgb = build("mst-plus-plus", 4, stages=1), image(128, 128)
    with torch.no_grad():
        whole = network(rgb)
    tiled, _ = run_in_tiles(network, rgb, (0, 64, 128), (0, 128), 8)
    assert (tiled - whole).abs().max() > BOUND
