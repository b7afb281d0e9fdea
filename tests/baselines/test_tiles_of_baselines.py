"""What the baselines need of an image in tiles: as much around a tile as they say, and exact sums."""

from __future__ import annotations

import pytest
import torch
from tiles import reach, run_in_tiles, statistics

from hsrzoo_baselines.floors import PixelRegression
from hsrzoo_baselines.hscnn_plus import HSCNNPlus
from hsrzoo_baselines.mst_plus_plus import MSTPlusPlus
from hsrzoo_baselines.mst_plus_plus_layers import MULTIPLE
from hsrzoo_baselines.mst_plus_plus_published import PublishedMSTPlusPlus


def seeded(make, *arguments):
    torch.manual_seed(0)
    return make(*arguments).eval()


def image(height: int, width: int, batch: int = 1):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(5))


def up(size: int) -> int:
    return -(-size // MULTIPLE) * MULTIPLE


@pytest.mark.parametrize("stages", [1, 2])
def test_halo_of_mst_is_how_far_a_nan_spreads(stages):
    network = seeded(MSTPlusPlus, 4, stages)
    side = up(2 * network.halo + 12)
    rgb = image(side, side)
    known = statistics(network, rgb)
    assert len(known) == 5 * stages
    # coarser levels make it differ between the four places that a pixel can have on their grid
    found = [reach(network, rgb, known, side // 2 + i) for i in range(4)]
    assert max(most for most, _ in found) == network.halo


def test_halo_of_three_stages_of_mst_is_the_reach_by_hand():
    def lowest(row: int) -> int:
        """First row that a stage reads for this one; pairs of blocks reach 3, a floor is a level up."""
        middle = (row - 1 - 3) // 2 - 3
        middle = 2 * (middle // 2 - 3) - 1 - 3
        return 2 * middle - 1 - 3 - 1

    def depth(row: int) -> int:
        first = row - 1  # conv_out
        for _ in range(3):
            first = min(lowest(r) for r in range(first, first + 4))
        return row - (first - 1)  # conv_in

    assert max(depth(row) for row in range(1000, 1008)) == MSTPlusPlus(4).halo == 112


@pytest.mark.parametrize("blocks", [1, 6])
def test_halo_of_hscnn_is_how_far_a_nan_spreads(blocks):
    network = seeded(HSCNNPlus, 4, blocks)
    assert reach(network, image(40, 40), [], 20) == (network.halo, network.halo)
    assert HSCNNPlus(4).halo == 31


def test_floors_look_at_single_pixels():
    network = PixelRegression(4, degree=3)
    assert reach(network, image(5, 5), [], 2) == (PixelRegression.halo, 0) == (0, 0)


@pytest.mark.parametrize(("bands", "stages"), [(31, 1), (4, 2)])
def test_tiles_of_mst_are_exact(bands, stages):
    network = seeded(MSTPlusPlus, bands, stages)
    rgb = image(160, 136)
    with torch.no_grad():
        whole = network(rgb)
    tiled, passes = run_in_tiles(network, rgb, (0, 40, 160), (0, 72, 136), up(network.halo))
    assert passes == 5 * stages + 1
    assert (tiled - whole).abs().max() < 1e-5


def test_tiles_of_mst_with_too_small_a_halo_are_not():
    network = seeded(MSTPlusPlus, 4, 1)
    rgb = image(128, 128)
    with torch.no_grad():
        whole = network(rgb)
    tiled, _ = run_in_tiles(network, rgb, (0, 64, 128), (0, 128), MULTIPLE)
    assert (tiled - whole).abs().max() > 1e-5


def test_tiles_of_hscnn_are_exact_in_one_pass():
    network = seeded(HSCNNPlus, 5, 4)
    rgb = image(37, 41)
    with torch.no_grad():
        whole = network(rgb)
    tiled, passes = run_in_tiles(network, rgb, (0, 9, 37), (0, 30, 41), network.halo)
    assert passes == 1
    assert (tiled - whole).abs().max() < 1e-5


def test_published_mst_cannot_be_tiled_exactly():
    assert not hasattr(PublishedMSTPlusPlus(4, 1), "halo")
