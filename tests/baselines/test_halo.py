"""The halo that a network declares is how far an input pixel reaches, all statistics of the image known."""

from __future__ import annotations

import pytest
import torch
from networks import BOTH_STRUCTURES, NETWORKS, build, cases, round_up, spec_of
from tiles import reach, statistics

from hsrzoo.models.steps.network import declared_halo


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_declared_halo(network):
    with torch.device("meta"):
        assert declared_halo(build(network.name)) == network.halo


def test_published_structure_of_mst_cannot_be_tiled_exactly():
    assert [hasattr(build("mst-plus-plus", 4, **how), "halo") for how in BOTH_STRUCTURES] == [True, False]


@pytest.mark.parametrize(("name", "row"), cases("reach"))
def test_halo_is_how_far_a_nan_spreads(name, row):
    network, multiple = build(name, 4, **row.arguments), spec_of(name).input.multiple
    at = round_up(network.halo + 2, multiple)
    side = at + round_up(network.halo + 2 + max(row.places), multiple)
    rgb = torch.rand(1, 3, side, side)
    part = round_up(32, multiple)
    known = statistics(network, rgb[..., :part, :part])  # any finite ones will do, and these are quick
    assert len(known) == row.statistics
    found = [reach(network, rgb, known, at + place) for place in row.places]
    assert max(most for most, _ in found) == network.halo
    if row.places == (0,):  # without coarser levels a pixel reaches as far in every direction
        assert found == [(network.halo, network.halo)]


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

    assert max(depth(row) for row in range(1000, 1008)) == build("mst-plus-plus", 4).halo


def test_halo_of_four_levels_of_hinet_covers_the_reach_by_hand():
    def lowest(row: int, level: int) -> int:
        """First row that a U-Net reads for this one; blocks reach 2, a floor is a level up."""
        if level == 1:
            return row - 2
        return 2 * lowest((row - 2) // 2, level - 1) - 1 - 2

    def depth(row: int, levels: int) -> int:
        second = lowest(row - 1, levels)  # last
        return row - (lowest(second - 2, levels) - 2)  # the gate; conv_01 and conv_in

    def most(levels: int) -> int:
        return max(depth(row, levels) for row in range(1000, 1016))

    assert [most(levels) for levels in (2, 3)] == [build("hinet", 4, depth=n).halo for n in (2, 3)]
    assert most(4) == 117 <= build("hinet", 4).halo  # no row has the worst place on every grid


@pytest.mark.parametrize(("groups", "blocks"), [(1, 1), (1, 3), (2, 2), (3, 1)])
def test_halo_of_mirnet_is_the_reach_by_hand(groups, blocks):
    def block(low: int, high: int) -> tuple[int, int]:
        """First and last row that a block reads for these of its output."""
        low, high = low - 1, high + 1
        for _ in range(2):  # doublings
            low, high = (low - 1) // 2, (high + 1) // 2
        low, high = low - 4, high + 4
        for _ in range(2):  # halvings, and the unit before each
            low, high = 2 * low - 2 - 4, 2 * high + 2 + 4
        return low, high

    def depth(row: int) -> int:
        low, high = row - 1, row + 1
        for _ in range(groups):
            low, high = low - 1, high + 1
            for _ in range(blocks):
                low, high = block(low, high)
        return max(row - low, high - row) + 1

    network = build("mirnet", 4, groups=groups, blocks=blocks)
    assert max(depth(row) for row in range(1000, 1004)) == network.halo
