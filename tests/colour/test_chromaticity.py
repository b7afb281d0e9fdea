"""The table of training colours: shares, spreads and distances of pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hsrzoo.colour.chromaticity import SIDE, ChromaticityTable, Moments, brightness, cells, packed, unpacked
from hsrzoo.errors import InputError

RED, GREEN, BLUE = ((0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.8))


def scene(
    colour: tuple[float, ...], *spectra: tuple[float, ...], times: int = 100
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of one colour at several exposures, with every one of ``spectra`` in proportion."""
    gain = np.linspace(0.2, 1, times)
    rgb = np.concatenate([gain[:, None] * colour for _ in spectra])
    q = np.concatenate([gain * sum(colour) + 0.003 for _ in spectra])
    return rgb, q[:, None] * np.repeat(np.array(spectra), times, axis=0)


@pytest.fixture(scope="module")
def table() -> ChromaticityTable:
    plain = scene(RED, (0.3, 0.3), times=300)
    ambiguous = scene(GREEN, (0.2, 0.3), (0.4, 0.3))
    return ChromaticityTable.build([plain, ambiguous] * 4)


def test_every_scene_has_the_same_share_whatever_its_size(table: ChromaticityTable) -> None:
    found = table.share[cells(torch.tensor([RED, GREEN, BLUE]))]
    assert found.tolist() == pytest.approx([0.5, 0.5, 0])
    assert float(table.share.sum()) == pytest.approx(1)
    assert table.scenes == 8


def test_colours_with_several_spectra_have_the_larger_spread(table: ChromaticityTable) -> None:
    red, green = table.spread_at(torch.tensor([RED, GREEN]))
    # four scenes of two spectra, 0.1 around their mean, and the wider neighbourhoods
    assert 0.05 < green[0] < 0.11
    assert green[0] > 3 * red[0]
    assert float(green[1]) == pytest.approx(0, abs=1e-3)


def test_spread_is_in_proportion_to_brightness(table: ChromaticityTable) -> None:
    pixels = torch.tensor([GREEN]) * torch.tensor([[1.0], [0.5]])
    found = table.spread_at(pixels)
    assert torch.allclose(found / brightness(pixels)[:, None], found[:1] / brightness(pixels[:1]))


def test_errors_of_a_colour_count_by_scene_and_others_fall_back() -> None:
    pixels = torch.tensor([RED, BLUE] * 200)
    scenes = []
    for error in (0.1, 0.2, 0.4):
        scenes.append(Moments())
        scenes[-1].add(pixels[::2], error * brightness(pixels[::2]).numpy()[:, None])
    before = np.full((SIDE**2, 1), 0.7)
    of_all = scenes[0].plus(scenes[1]).plus(scenes[2])
    red, blue = cells(pixels[:2]).tolist()
    found = of_all.root_mean_square(before)
    assert 0.2 < found[red, 0] < 0.45  # root of the mean square 0.265, and the wider neighbourhoods
    assert found[blue, 0] == pytest.approx(0.7, abs=0.02)
    small = of_all.minus(scenes[2]).root_mean_square(before)[red, 0]
    assert small == pytest.approx(scenes[0].plus(scenes[1]).root_mean_square(before)[red, 0])
    assert small < found[red, 0]


def test_unknown_colours_are_far_and_known_ones_near(table: ChromaticityTable) -> None:
    red, blue = table.distance_at(torch.tensor([RED, BLUE])).tolist()
    assert red < 1 / SIDE
    assert blue == pytest.approx(0.7, abs=2 / SIDE)


def test_a_scene_of_its_own_spectra_widens_the_spread() -> None:
    one, other = scene(RED, (0.2,)), scene(RED, (0.4,))
    found = ChromaticityTable.build([one, other] * 2).spread_at(torch.tensor(RED))
    assert float(found) == pytest.approx(0.1, rel=0.05)


def test_look_ups_depend_on_the_pixel_alone(table: ChromaticityTable) -> None:
    image = torch.rand(5, 7, 3, generator=torch.Generator().manual_seed(0))
    whole = table.spread_at(image)
    assert whole.shape == (5, 7, 2)
    assert torch.equal(table.spread_at(image[2:4, 3:]), whole[2:4, 3:])
    assert torch.equal(cells(image).flatten(), cells(image.reshape(-1, 3)))


@pytest.mark.parametrize("pixel", [(0, 0, 0), (-0.1, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1e6)])
def test_every_pixel_has_a_cell_and_dark_ones_are_neutral(pixel: tuple[float, ...]) -> None:
    cell = int(cells(torch.tensor(pixel)))
    assert 0 <= cell < SIDE**2
    if max(pixel) <= 0:
        assert cell == int(cells(torch.full((3,), 0.4)))


def test_what_is_stored_gives_the_same_table(table: ChromaticityTable) -> None:
    stored = packed(table.spread)
    again = replace(table, spread=unpacked(stored, len(table.share)))
    pixels = torch.rand(2000, 3, generator=torch.Generator().manual_seed(0))
    pixels[::3, torch.arange(3)] *= torch.tensor([1.0, 0, 0])  # the corners too
    assert torch.allclose(again.spread_at(pixels), table.spread_at(pixels), rtol=1e-3, atol=1e-6)
    assert stored.dtype == torch.float16 and len(stored) == SIDE * (SIDE + 1) // 2


@pytest.mark.parametrize(
    ("shape", "count"),
    [((496, 2), 960), ((5, 2), SIDE**2), ((496,), SIDE**2)],
    ids=["no square", "another size", "no bands"],
)
def test_what_is_no_table_is_refused(shape: tuple[int, ...], count: int) -> None:
    with pytest.raises(InputError, match="no table of colours"):
        unpacked(torch.zeros(shape), count)


@pytest.mark.parametrize(
    "scenes",
    [
        [],
        [(np.zeros((0, 3)), np.zeros((0, 2)))],
        [(np.ones((4, 3)), np.ones((5, 2)))],
        [(np.ones(3), np.ones(2))],
    ],
    ids=["no scene", "no pixel", "other counts", "no matrix"],
)
def test_what_is_no_pairs_of_pixels_is_refused(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    with pytest.raises(InputError):
        ChromaticityTable.build(scenes)
