"""Images in tiles: the same cube as whole, in as many passes as there are dependent statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hsrzoo.errors import InputError, PluginError
from hsrzoo.io.raster import ArrayPixels
from hsrzoo.layers.whole_image import Region, in_strips
from hsrzoo.models.complexity import MemoryUse, memory_use, peak_bytes
from hsrzoo.models.rgb import normalise, pad
from hsrzoo.models.steps.base import BoundSteps
from hsrzoo.models.steps.normalise import Normalise
from hsrzoo.models.tiling import choice
from hsrzoo.models.tiling.choice import (
    LARGEST_TILE,
    SPARE,
    WHOLE_SPARE,
    needed_bytes,
    plan,
    whole_bytes,
)
from hsrzoo.models.tiling.grid import cut
from hsrzoo.models.tiling.seams import nan_reach
from hsrzoo.models.tiling.visits import Shares
from hsrzoo.models.tiling.windows import PaddedImage
from hsrzoo.prediction.outside import Outside
from hsrzoo.spec import RgbInput
from tiled_networks import (
    BANDS,
    NEED,
    Chained,
    Counting,
    Fickle,
    Local,
    Shortsighted,
    Silent,
    image,
    model,
    run_tiles,
)

ROUNDING = 2e-6


@pytest.mark.parametrize("network", [Local, Chained, Counting])
@pytest.mark.parametrize("size", [(37, 51), (1, 50), (40, 24), (5, 7)])
@pytest.mark.parametrize("normalisation", ["none", "minmax-image"])
def test_tiles_give_the_cube_of_the_whole_image(network, size, normalisation):
    need = RgbInput(normalise=normalisation, multiple=4, min_size=8)
    rgb = image(*size)
    whole = model(network, need)(rgb).cube
    for tile in (8, 18, 31, 1000):
        tiled = model(network, need, tile=tile)
        assert np.abs(tiled(rgb).cube - whole).max() < ROUNDING
        again = tiled.predict(np.ascontiguousarray(rgb.transpose(2, 0, 1)))
        assert np.array_equal(again.transpose(1, 2, 0), tiled(rgb).cube)


def test_a_batch_in_tiles_is_a_batch():
    batch = torch.from_numpy(np.stack([image(20, 30), image(20, 30)[::-1]])).permute(0, 3, 1, 2)
    tiled, whole = model(Chained, tile=8)(batch).cube, model(Chained)(batch).cube
    assert tiled.shape == whole.shape == (2, len(BANDS), 20, 30)
    assert (tiled - whole).abs().max() < ROUNDING


def test_each_dependent_statistic_costs_a_pass():
    rgb = image(40, 40)
    for network, statistics in ((Local, 0), (Counting, 1), (Chained, 3)):
        toy = model(network)
        works = list(run_tiles(toy, rgb, 16))
        assert toy.statistics == statistics == len(works[-1].known)
        assert works[-1].passes == statistics + 1 and works[-1].finished
        assert len(works) == (statistics + 1) * 9
    stretched = model(Chained, RgbInput(normalise="minmax-image", multiple=4, min_size=8))
    assert list(run_tiles(stretched, rgb, 16))[-1].passes == 5


def test_a_run_taken_up_anywhere_makes_the_same_bits():
    toy, rgb = model(Chained), image(37, 29)

    def cube_of(parts):
        cube = np.full((len(BANDS), 37, 29), np.nan, np.float32)
        for top, left, part in parts:
            cube[:, top : top + part.shape[1], left : left + part.shape[2]] = part
        return cube

    parts: list = []
    works = list(run_tiles(toy, rgb, 12, lambda *part: parts.append(part)))
    expected = cube_of(parts)
    assert np.isfinite(expected).all()
    for work in works[:-1]:
        done = parts[: work.done] if work.shares is None and len(work.known) == 3 else []
        rest: list = []
        *_, last = run_tiles(toy, rgb, 12, lambda *part, rest=rest: rest.append(part), work)
        assert np.array_equal(cube_of([*done, *rest]), expected)
        for mine, theirs in zip(last.known, works[-1].known, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_shares_are_joined_in_double_precision_and_keep_their_kind():
    large, small = torch.tensor([2.0**25]), torch.tensor([1.0])
    joined = Shares.of((large, torch.tensor(2**40), large), ("sum", "sum", "max"))
    for _ in range(3):
        joined = joined.join(Shares.of((small, torch.tensor(1), small), ("sum", "sum", "max")))
    total, count, most = joined.totals(torch.device("cpu"))
    assert total.dtype == torch.float32 and total.item() == 2**25 + 4  # 3 rounds to the next float32
    assert count.dtype == torch.int64 and count.item() == 2**40 + 3
    assert most.item() == 2**25
    (half,) = Shares.of((small.half(),), ("sum",)).totals(torch.device("cpu"))
    assert half.dtype == torch.float32


def test_a_network_that_asks_differently_in_each_tile_is_refused():
    rgb = np.zeros((16, 32, 3), np.float32)
    rgb[:, 28:] = 1
    with pytest.raises(PluginError, match="other statistics in one tile"):
        model(Fickle, tile=8)(rgb)
    with pytest.raises(PluginError, match="other statistics in one tile"):
        model(Fickle, tile=8)(rgb[:, ::-1])


def test_a_halo_that_is_too_small_leaves_seams():
    rgb = image(40, 40)
    assert np.abs(model(Shortsighted, tile=8)(rgb).cube - model(Shortsighted)(rgb).cube).max() > 1e-3


def test_without_a_halo_only_approximate_tiles_are_possible():
    rgb = image(40, 40)
    with pytest.raises(InputError, match=r"exact tiles.*Declare `halo`.*--approximate-tiles"):
        model(Silent, tile=16)(rgb)
    assert np.array_equal(model(Silent, tile=40)(rgb).cube, model(Silent)(rgb).cube)
    near = model(Silent, tile=16, approximate=True)(rgb).cube
    assert np.abs(near - model(Silent)(rgb).cube).max() < ROUNDING  # half a tile is more than it sees


def test_approximate_tiles_have_statistics_of_their_own():
    rgb = image(64, 64)
    toy = model(Chained, tile=16, approximate=True)
    (*_, last) = run_tiles(toy, rgb, 16)
    assert last.passes == 1
    cube = toy(rgb).cube
    # the first window is 24 pixels wide: 16 and the declared halo, 6, rounded up to the multiple of 4
    window = torch.from_numpy(rgb[:24, :24]).permute(2, 0, 1)[None]
    with torch.no_grad():
        alone = toy.module(window)[0, :, :16, :16].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(cube[:16, :16], alone, atol=ROUNDING)
    assert np.abs(cube - model(Chained)(rgb).cube).max() > 1e-2


@pytest.mark.parametrize("tile", [0, -8, 4, 7, True, 16.0])
def test_tiles_that_no_network_could_take_are_refused(tile):
    with pytest.raises(InputError, match="at least 8 pixels"):
        model(Local, tile=tile)


def test_a_precision_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="fp32, bf16, fp16"):
        model(Local, precision="fp8")


@pytest.mark.parametrize("memory", [0, -1, float("inf"), float("nan"), "4GiB"])
def test_memory_must_be_a_number_of_bytes(memory):
    with pytest.raises(InputError, match="bytes above 0"):
        model(Local, max_memory=memory)


def test_a_halo_must_be_a_number_of_pixels():
    class Odd(Local):
        halo = 2.5

    with pytest.raises(InputError, match="impossible halo"):
        model(Odd, tile=8)(image(20, 20))


def test_adaptation_needs_one_tile():
    adapt = {"adapt": lambda module, rgb: 2 * module(rgb)}
    rgb = image(20, 20)
    with pytest.raises(InputError, match="needs the whole image"):
        model(Local, tile=8, **adapt)(rgb, tta=True)
    whole = model(Local, **adapt)(rgb, tta=True).cube
    np.testing.assert_array_equal(model(Local, tile=20, **adapt)(rgb, tta=True).cube, whole)
    with pytest.raises(InputError, match="no test-time adaptation"):
        model(Local, tile=20)(rgb, tta=True)


def test_bad_pixels_are_found_in_tiles_too():
    rgb = image(40, 40)
    rgb[39, 39, 0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        model(Local, tile=16)(rgb)
    with pytest.raises(InputError, match=r"\(H, W, 3\)"):
        model(Local, tile=16)(rgb[..., :2])
    deep = (image(20, 20) * 4095).astype(np.uint16)
    declared = model(Local, tile=8)(deep, value_range=(0, 4095)).cube
    np.testing.assert_allclose(declared, model(Local)(deep, value_range=(0, 4095)).cube, atol=ROUNDING)


def test_a_compiled_network_gives_way_where_tiles_need_statistics(monkeypatch):
    toy = model(Chained, tile=16, compile=True)
    monkeypatch.setattr(toy.network, "_compiled", lambda padded: pytest.fail("the compiled network ran"))
    rgb = image(40, 40)
    with pytest.warns(UserWarning, match="the uncompiled one runs"):
        cube = toy(rgb).cube
    np.testing.assert_allclose(cube, model(Chained)(rgb).cube, atol=ROUNDING)


@pytest.mark.parametrize("need", [RgbInput(), NEED, RgbInput("minmax-image", 8, 24), RgbInput(multiple=7)])
@pytest.mark.parametrize("size", [(1, 1), (3, 30), (25, 16), (9, 41)])
def test_windows_are_parts_of_the_padded_image(need, size):
    rgb = (image(*size) * 255).astype(np.uint8)
    unit = torch.from_numpy(rgb.astype(np.float64) / 255).float().permute(2, 0, 1)[None]
    expected = pad(normalise(unit, need.normalise), need)
    padded = PaddedImage(ArrayPixels(rgb), need)
    assert padded.padded == tuple(expected.shape[-2:])
    height, width = padded.padded
    seen_by_network = BoundSteps([Normalise(need)], padded).image
    for region in (
        Region(0, 0, height, width),
        Region(height // 2, width // 3, height - height // 2, width - width // 3),
        Region(height - 1, width - 1, 1, 1),
    ):
        rows = slice(region.top, region.top + region.height)
        part = expected[:, :, rows, region.left : region.left + region.width]
        assert torch.equal(seen_by_network.window(region), part)


@pytest.mark.parametrize(("length", "tile", "halo"), [(64, 24, 5), (64, 64, 9), (8, 8, 0), (132, 20, 40)])
def test_tiles_cover_the_image_once_on_the_networks_grid(length, tile, halo):
    grid = cut((length, length), (length, length), NEED, tile, halo)
    seen = np.zeros((length, length), int)
    for t in grid.tiles:
        own, window = t.own, t.window
        seen[own.top : own.top + own.height, own.left : own.left + own.width] += 1
        assert own.height <= tile and window.height >= NEED.min_size
        assert all(v % NEED.multiple == 0 for v in (own.top, own.height, window.top, window.height))
        assert window.top == 0 or own.top - window.top >= halo
        end = window.top + window.height
        assert end == length or end - own.top - own.height >= halo
    assert (seen == 1).all()
    heights = [t.own.height for t in grid.tiles if t.own.left == 0]
    assert len(set(heights[:-1])) <= 1 and heights[-1] <= heights[0]


def test_peak_bytes_are_those_of_the_live_tensors():
    def network(rgb):
        a = F.pad(rgb, (1, 1, 1, 1))  # 3 channels, a border
        b = torch.cat([rgb, rgb])  # 6
        del a
        c = b.repeat(1, 2, 1, 1)  # 12
        del b
        view = c[:, :3]
        return view + 1  # c and 3 x 2 channels

    pixels, border = 20 * 30, 22 * 32
    assert peak_bytes(network, 20, 30) == 4 * max(3 * border + 6 * pixels, 18 * pixels)
    assert memory_use(network) == MemoryUse(0, 0, 4 * 18, 1024)  # a strip has 32 rows of them


@pytest.mark.parametrize("size", [(64, 2048), (2048, 64), (96, 1000), (300, 300)])
def test_strips_of_wide_images_are_counted(size):
    """Features of 256 channels live on strips, which have 32 rows at least."""

    def wide(x):
        return x.repeat(1, 64, 1, 1)[:, :5] * 2

    class Striped(Local):
        def forward(self, rgb):
            return in_strips(wide, F.pad(rgb, (0, 0, 0, 0, 0, 1)))

    toy = model(Striped)
    peak = peak_bytes(toy.run, *size)
    assert peak <= 1.05 * toy.memory_use.bytes(*size) < 3 * peak
    assert needed_bytes(toy, size) - SPARE >= peak


def test_an_image_in_one_piece_is_planned_with_what_convolutions_copy():
    """oneDNN copies 3 channels as 16, and 18 as 32; with channels last it copies nothing."""

    class Convolved(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = (torch.nn.Conv2d(n, 18, 1, bias=False) for n in (3, 18))

        def forward(self, x):
            return self.two(self.one(x))

    plain, last = memory_use(Convolved()), memory_use(Convolved().to(memory_format=torch.channels_last))
    assert plain.per_pixel == last.per_pixel == 4 * 36
    assert plain.buffers_per_pixel == 4 * 32 and last.buffers_per_pixel < plain.buffers_per_pixel

    toy, pixels = model(Local), 1000 * 2000
    use = toy.memory_use
    tensors = use.bytes(1000, 2000)
    found = whole_bytes(toy, (1000, 2000)) - WHOLE_SPARE
    assert tensors + 24 * pixels < found <= 1.05 * tensors + (24 + use.buffers_per_pixel) * pixels
    assert plan(toy, (1000, 2000), limit=whole_bytes(toy, (1000, 2000))).whole
    assert not plan(model(Local, max_memory=1.1 * (found + WHOLE_SPARE)), (1000, 2000)).whole


def test_tiles_that_nobody_asked_for_are_not_huge():
    memory = needed_bytes(model(Local), (1500, 1500))
    limited = plan(model(Local, max_memory=memory), (4000, 5000))
    assert limited.tile == LARGEST_TILE and not limited.whole
    assert plan(model(Local), (4000, 5000), limit=memory).tile == LARGEST_TILE
    assert plan(model(Local, max_memory=memory, tile=1400), (4000, 5000)).tile == 1400
    assert plan(model(Local), (1400, 1400), limit=memory).whole


@pytest.fixture
def spared(monkeypatch):
    """An image in one piece is given as much room as a tile."""
    monkeypatch.setattr(choice, "WHOLE_SPARE", SPARE)


def test_the_tile_is_the_largest_that_fits(spared):
    toy = model(Chained, max_memory=SPARE + 1.5e6)
    grid = plan(toy, (600, 600))
    side = grid.tile + 2 * grid.halo
    assert needed_bytes(toy, (side, side)) <= SPARE + 1.5e6 < needed_bytes(toy, (side + 4, side + 4))
    assert not grid.whole and max(grid.step) <= grid.tile
    assert plan(model(Chained, max_memory=1e9), (600, 600)).whole
    both = plan(model(Chained, max_memory=SPARE + 1.5e6, tile=16), (600, 600))
    assert both.tile == 16


def test_memory_that_is_too_small_for_any_tile_says_how_much_it_needs(spared):
    with pytest.raises(InputError, match=r"at least 2\d\d MiB for its smallest tile"):
        model(Chained, max_memory=1e6)(image(100, 100))
    # the cube itself, 600 x 600 x 5 float32, is a part of what a call takes
    with pytest.raises(InputError, match="does not fit"):
        model(Chained, max_memory=SPARE + 2e6)(image(600, 600))


def test_a_poisoned_pixel_tells_the_reach():
    assert (
        nan_reach(model(Local).module, NEED) == 4
    )  # 1 of the first layer, 3 of the strided one and upsampling
    assert nan_reach(model(Chained).module, NEED) is None
    layer = torch.nn.Conv2d(3, 5, 7, padding=3)
    assert nan_reach(layer, RgbInput()) == 3


def test_values_outside_of_a_reflectance_are_counted_band_by_band():
    """A cube of a photograph is gigabytes: a mask of all its values must not lie beside it."""
    counted = []

    def count(rgb):
        cube = rgb.repeat(1, 10, 1, 1)[0]
        cube.mul_(2)  # 1 everywhere
        cube[0, 0, :3], cube[29, 1, :2] = -0.5, 1.5
        for part in (cube, cube.numpy()):
            outside = Outside()
            outside.count(part)
            counted.append(outside)
        return cube

    peak = peak_bytes(count, 40, 50)
    assert counted == [Outside(values=30 * 2000, below=3, above=2)] * 2
    assert peak < 1.1 * 30 * 2000 * 4  # the cube
