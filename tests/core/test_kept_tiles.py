"""Features that tiles keep between passes: the same bits, in memory or in a scratch file."""

from __future__ import annotations

import errno
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hsrzoo.io import load_cube
from hsrzoo.models import reconstructor
from hsrzoo.models.complexity import KeptUse, MemoryUse, kept_use
from hsrzoo.models.tiling import scratch
from hsrzoo.models.tiling.choice import (
    cut_for,
    needed_bytes,
)
from hsrzoo.models.tiling.kept import KeptTiles, share_out, tiles_kept
from hsrzoo.models.tiling.passes import into_memory
from hsrzoo.models.tiling.scratch import Scratch, ScratchFull
from hsrzoo.models.tiling.windows import PaddedImage
from hsrzoo.prediction import run as prediction
from hsrzoo.prediction.predict import Step, predict_file
from tiled_networks import (
    NEED,
    Chained,
    Entered,
    Local,
    image,
    model,
    run_tiles,
)

ROUNDING = 2e-6
ROOM = Path()
"""Stands for the folder of a scratch file."""


def kept_in(monkeypatch, folder, in_memory: int, in_scratch: int = 0) -> None:
    """All models keep so many tiles."""
    kept = KeptTiles(in_memory, in_scratch, folder if in_scratch else None)
    monkeypatch.setattr(reconstructor, "tiles_kept", lambda *_, **__: kept)


@pytest.mark.parametrize(
    ("kept", "calls"), [((0,), 4 * 9), ((4,), 9 + 3 * 5), ((9,), 9), ((2, 3), 9 + 3 * 4), ((0, 9), 9)]
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_tile_that_keeps_its_features_runs_once_for_the_same_bits(
    monkeypatch, tmp_path, kept, calls, precision
):
    rgb, cubes, maps = image(40, 40), [], []
    make = Scratch.empty
    monkeypatch.setattr(Scratch, "empty", lambda *a: maps.append([*tmp_path.iterdir()]) or make(*a))
    for numbers in ((0,), kept):
        kept_in(monkeypatch, tmp_path, *numbers)
        toy = model(Entered, tile=16, precision=precision)
        cubes.append(toy(rgb).cube)
        assert torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
    assert toy.module.calls == calls and toy.module.inside == 0
    assert np.array_equal(*cubes)
    # the RGB and the map of strips, in a file that nobody can leave behind
    assert len(maps) == 2 * sum(kept[1:]) and not any(maps) and not [*tmp_path.iterdir()]
    assert precision == "bf16" or np.abs(cubes[0] - model(Entered)(rgb).cube).max() < ROUNDING


@pytest.mark.parametrize("fails", [False, True])
def test_the_scratch_file_lies_beside_the_cube_until_the_end(monkeypatch, tmp_path, fails):
    rgb, said, folders = image(40, 40), [], []

    def planned(*_, folder, **__):
        folders.append(folder)
        return KeptTiles(2, 7, folder, 3e9)

    def progress(step):
        if fails and step == Step(4, 4, 4, 9):
            raise KeyboardInterrupt

    monkeypatch.setattr(prediction, "tiles_kept", planned)
    np.save(tmp_path / "rgb.npy", rgb)
    (tmp_path / "out").mkdir()
    toy = model(Entered, tile=16)
    with pytest.raises(KeyboardInterrupt) if fails else nullcontext():
        predict_file(tmp_path / "rgb.npy", toy, tmp_path / "out" / "a.hdr", None, progress, said.append)
    assert folders == [tmp_path / "out"] and "scratch file of about 3.0 GB" in "".join(said)
    left = {"a.img.part", "a.img.part.json"} if fails else {"a.hdr", "a.img"}
    assert {path.name for path in folders[0].iterdir()} == left
    if not fails:
        cube, _ = load_cube(tmp_path / "out" / "a.hdr")
        assert toy.module.inside == 0 and np.abs(cube - model(Entered)(rgb).cube).max() < ROUNDING


@pytest.mark.parametrize(("room", "left"), [(4, 0), (5, 1)])
def test_on_a_full_disk_tiles_run_again_instead(monkeypatch, tmp_path, room, left):
    """Two have room for the RGB and their map; of the third one the network is left at its map."""
    kept_in(monkeypatch, tmp_path, 0)
    expected = model(Entered, tile=16)(image(40, 40)).cube
    kept_in(monkeypatch, tmp_path, 2, 7)
    places = iter([True] * room)

    def reserve(*_: int) -> None:
        if not next(places, False):
            raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(scratch.os, "posix_fallocate", reserve, raising=False)
    toy = model(Entered, tile=16)
    assert np.array_equal(toy(image(40, 40)).cube, expected)
    assert toy.module.calls == 9 + left + 3 * 5 and toy.module.inside == 0


def test_a_waiting_network_leaves_its_modes_to_itself(monkeypatch):
    """Those that a network sets around itself, in inference mode and with another default dtype."""

    class Moded(Entered):
        @torch.inference_mode()
        def forward(self, rgb):
            torch.set_default_dtype(torch.float16)
            try:
                return super().forward(rgb)
            finally:
                torch.set_default_dtype(torch.float32)

        def coarse(self, x):
            assert torch.is_inference_mode_enabled() and torch.get_default_dtype() == torch.float16
            return super().coarse(x)

    def window(image, region):
        assert not torch.is_inference_mode_enabled() and torch.get_default_dtype() == torch.float32
        return make(image, region)

    make = PaddedImage.window
    monkeypatch.setattr(PaddedImage, "window", window)
    cube = model(Moded, tile=16)(image(40, 40)).cube
    assert not torch.is_inference_mode_enabled() and torch.get_default_dtype() == torch.float32
    assert np.abs(cube - model(Entered)(image(40, 40)).cube).max() < ROUNDING


@pytest.mark.parametrize("tile", [None, 16])
def test_a_network_in_tiles_sees_the_callers_context(tile):
    setting, seen = ContextVar("setting", default=0), set()

    class Seeing(Chained):
        def coarse(self, x):
            seen.add(setting.get())
            return super().coarse(x)

    token = setting.set(1)
    model(Seeing, tile=tile)(image(24, 24))
    setting.reset(token)
    assert seen == {1}


def test_places_in_a_scratch_file_are_used_again(monkeypatch, tmp_path):
    monkeypatch.setattr(scratch, "CHUNK", 1 << 16)
    file = Scratch(tmp_path)
    a, b = (file.empty((3, 1000), torch.float32).fill_(value) for value in (1, 2))
    file.let_go()
    assert a.is_contiguous() and (a == 1).all() and (b == 2).all()
    place = a.data_ptr()
    view = a[1:]
    del a
    assert file.empty((3000,), torch.float32).data_ptr() != place  # the view lives
    del view
    again = file.empty((1500,), torch.float64)
    assert again.data_ptr() == place and again.dtype == torch.float64 and (b == 2).all()
    big = file.empty((1 << 15,), torch.float32)  # in a chunk of its own
    big[-1] = 3
    maps = [weakref.ref(chunk) for chunk in file._chunks]
    file.close()
    assert big[-1] == 3 and (b == 2).all() and not [*tmp_path.iterdir()]
    del big, b, again
    assert len(maps) == 2 and not any(chunk() for chunk in maps)  # while the file is still known


def test_a_disk_that_is_nearly_full_is_left_to_others(monkeypatch, tmp_path):
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda _: SimpleNamespace(free=scratch.RESERVE))
    with pytest.raises(ScratchFull):
        Scratch(tmp_path).empty((1,), torch.float32)


def test_in_another_thread_tiles_run_again_instead():
    """It begins in the third pass, after two of nine tiles: seven and then nine run there."""
    toy, rgb = model(Entered, tile=16), image(40, 40)
    cube, keep = into_memory((40, 40), len(toy.bands))
    run = run_tiles(toy, rgb, 16, keep)
    for _ in range(9 + 9 + 2):
        next(run)
    with ThreadPoolExecutor(1) as other:
        other.submit(lambda: [*run]).result()
    assert np.array_equal(cube, model(Entered, tile=16)(rgb).cube) and toy.module.calls == 9 + 7 + 9


def test_features_are_freed_when_a_run_ends_early():
    """By an error in another tile, and where nobody goes on."""
    toy, rgb = model(Entered, tile=16), image(40, 40)
    run = run_tiles(toy, rgb, 16)
    for _ in range(12):
        next(run)
    assert toy.module.inside == 9
    run.close()
    assert toy.module.inside == 0 and torch.is_grad_enabled()
    with torch.no_grad():
        toy.module.down.weight[0] = float("inf")  # 0 where the image is black, and so not finite
    with pytest.raises(FloatingPointError):
        toy(rgb)
    assert toy.module.inside == 0 and torch.is_grad_enabled()


def test_all_networks_are_left_even_where_that_fails():
    class Failing(Entered):
        def forward(self, rgb):
            try:
                return super().forward(rgb)
            finally:
                raise OSError("left")

    toy = model(Failing, tile=16)
    run = run_tiles(toy, image(40, 40), 16)
    for _ in range(9):
        next(run)
    assert toy.module.inside == 9
    with pytest.raises(OSError, match="left"):
        run.close()
    assert toy.module.inside == 0


def test_features_take_what_memory_the_limit_leaves():
    def planned(statistics=3, max_memory=None, **how):
        toy = model(Chained, max_memory=max_memory, **how)
        own = {"halo": 6, "statistics": statistics, "memory_use": MemoryUse(1000, 0, 400)}
        return SimpleNamespace(**vars(toy), **own, kept_use=KeptUse(50, 40))

    grid = cut_for(planned(), (600, 800), 200)
    windows = [(tile.window.height, tile.window.width) for tile in grid.tiles]
    running = max(needed_bytes(planned(), window) for window in windows)
    for count in (1, 5, 12):
        features = 50 * sum(height * width for height, width in windows[:count])
        for more, found in ((-1, count - 1), (1, count)):
            limit, safe = (running + waste * features + more for waste in (1.1, 2))
            assert tiles_kept(planned(), grid, limit=limit) == KeptTiles(found)
            assert tiles_kept(planned(), grid, limit=limit + 100, result=100) == KeptTiles(found)
            assert tiles_kept(planned(max_memory=safe), grid, limit=1e12) == KeptTiles(found)
    assert tiles_kept(planned(), grid, limit=running / 2) == KeptTiles(0)
    assert tiles_kept(planned(statistics=0), grid, limit=1e12) == KeptTiles(0)
    assert tiles_kept(planned(approximate=True), grid, limit=1e12) == KeptTiles(0)
    small, wide = (cut_for(planned(), (400, 400), tile) for tile in (150, 15))  # halos count
    assert tiles_kept(model(Chained), small) == KeptTiles(9)  # nothing is measured
    assert tiles_kept(planned(), wide, limit=0) == KeptTiles(0)
    assert tiles_kept(planned(statistics=0, compile=True), small) == KeptTiles(0)


@pytest.mark.parametrize(
    ("room", "free", "expected"),
    [  # ten tiles of 100 pixels, each of 5000 bytes in memory, or 1000 and 6000 in the file
        (50_000, 1e9, KeptTiles(10)),
        (49_999, 1e9, KeptTiles(9, 1, ROOM, 6000.0)),
        (18_000, 1e9, KeptTiles(2, 8, ROOM, 48000.0)),
        (18_000, 2 * 30_000, KeptTiles(2, 5, ROOM, 30000.0)),
        (18_000, 2 * 5_999, KeptTiles(3)),  # no room for a single one on the disk
        (5_000, 1e9, KeptTiles(0, 5, ROOM, 30000.0)),
        (999, 1e9, KeptTiles(0)),
        (-1, 1e9, KeptTiles(0)),
    ],
)
def test_features_that_memory_has_no_room_for_go_to_the_disk(monkeypatch, room, free, expected):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    found = share_out([100] * 10, KeptUse(50, 40), room, ROOM)
    assert found == expected
    if room < 5_000:
        assert share_out([100] * 10, KeptUse(50, 40), room, None) == KeptTiles(0)


def test_what_a_waiting_network_holds_is_measured():
    """RGB and 6 channels in float32; at half resolution 6 channels and their sines, for the mean."""
    pixel = 4 * (3 + 6 + 12 / 4)
    assert kept_use(model(Chained).run, NEED) == KeptUse(pytest.approx(pixel, rel=1e-3), 12)
    # of its strips the RGB before and after
    assert kept_use(model(Entered).run, NEED).in_maps == 24
    assert kept_use(model(Local).run, NEED) == KeptUse(0, 0)
