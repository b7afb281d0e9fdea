"""Stored scenes, the cache on disk and workers: none of them changes a bit of what is drawn."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from hsrzoo.bands import BandSet
from hsrzoo.datasets.base import Scene
from hsrzoo.datasets.common import IndexedDataset
from hsrzoo.errors import TrainingError
from hsrzoo.training.loading import cache
from hsrzoo.training.loading.loader import Loader, seed_step
from hsrzoo.training.loading.stored import StoredScene, encode, gaps_of
from hsrzoo.training.loop import train

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked")


def of_16_bits() -> tuple[np.ndarray, np.ndarray]:
    """An image with all values of 8 bits and a cube with all of 16 bits, as readers give them."""
    levels = np.arange(1 << 16, dtype=np.float64).reshape(1, 256, 256)
    rgb = np.broadcast_to(levels % 256 / 255, (3, 256, 256))
    return rgb.astype(np.float32), (levels / 65535).astype(np.float32)


@pytest.mark.parametrize(
    ("value", "dtype"), [(None, "uint16"), (0.1, "float32"), (np.nan, "float32"), (1.5, "float32")]
)
def test_scenes_take_16_bits_where_that_loses_nothing(value: float | None, dtype: str) -> None:
    rgb, cube = of_16_bits()
    if value is not None:
        cube[0, 7, 9] = value
    values = encode(rgb, cube)
    assert values.dtype == dtype
    found = StoredScene.of(values, gaps_of(values))
    for ours, expected in zip(found.whole(), (rgb, cube), strict=True):
        assert ours.numpy().tobytes() == expected.tobytes()
    gaps = np.isnan(cube[0])
    assert found.gaps is None if not gaps.any() else np.array_equal(found.gaps.numpy(), gaps)


@pytest.mark.parametrize("exact", [True, False])
def test_crops_are_flipped_then_turned(exact: bool) -> None:
    rgb, cube = of_16_bits()
    scene = StoredScene.of(encode(rgb, cube) if exact else np.concatenate([rgb, cube]), None)
    rows, columns = slice(3, 11), slice(200, 208)
    whole = torch.from_numpy(np.concatenate([rgb, cube]))[:, rows, columns]
    for flips, turns in product(((), (1,), (2,), (1, 2)), range(4)):
        out = torch.empty(3, 8, 8), torch.empty(1, 8, 8)
        scene.write(rows, columns, out, flips, turns)
        assert torch.equal(torch.cat(out), torch.rot90(whole.flip(flips), turns, dims=(1, 2)))


def drawn(loader: Loader, *steps: int) -> list[bytes]:
    """Batches, and the states of the generators after each."""
    found = []
    for step in steps:
        batch, generator = loader.draw(step)
        states = generator.get_state(), torch.get_rng_state()
        found.append(b"".join(tensor.numpy().tobytes() for tensor in (*batch, *states)))
    loader.close()
    return found


@needs_fork
def test_batches_do_not_depend_on_the_number_of_workers(make_task) -> None:
    task, _ = make_task(augment=("flip", "rotate", "mixed-patch"))
    task.prepare()
    steps = 0, 1, 2, 3, 4, 5, 6, 7, 3, 4, 20  # more than are drawn ahead, and not in order
    here = drawn(Loader(task, 1), *steps)
    assert len(set(here)) == 9 and here[3] == here[8]
    rgb, cube = task.draw(seed_step(1, 20))
    assert here[-1].startswith(rgb.numpy().tobytes() + cube.numpy().tobytes())
    for workers in (1, 2):
        assert drawn(Loader(task, 1, workers), *steps) == here


@needs_fork
def test_a_run_with_workers_is_resumed_and_has_the_weights_of_one_without(
    make_task, tmp_path, same_bits
) -> None:
    task, recipe = make_task(steps=5)
    whole = train(task, recipe, tmp_path / "whole", progress=False).state_dict()
    for options in ({"workers": 2, "stop_after": 2}, {"workers": 1, "resume": True}):
        task, recipe = make_task(steps=5)
        parts = train(task, recipe, tmp_path / "parts", progress=False, **options).state_dict()
    assert same_bits(whole, parts)


@needs_fork
def test_an_error_in_a_worker_is_the_users(make_task, monkeypatch) -> None:
    task, _ = make_task()
    task.prepare()

    def fail(batch: object, generator: torch.Generator) -> None:
        raise TrainingError("Nothing to draw")

    monkeypatch.setattr(task, "fill", fail)
    with pytest.raises(TrainingError, match=r"^Nothing to draw\.$"):
        Loader(task, 0, 1).draw(0)


class OnDisk(IndexedDataset):
    """Three scenes of 5 x 20 x 24, a file each; s2 has a gap."""

    name = "on-disk"
    bands = BandSet.regular(400, 700, 75)
    index = {"train": ["s0", "s1", "s2"]}  # noqa: RUF012

    def __init__(self, folder: Path) -> None:
        self.folder, self.info, self.read_scenes = folder, {}, list[str]()
        for number, name in enumerate(self.index["train"]):
            cube = np.random.default_rng(number).integers(0, 1 << 16, (5, 20, 24)) / 65535
            if name == "s2":
                cube[:, :2, :3] = np.nan
            np.save(folder / f"{name}.npy", cube.astype(np.float32))

    def read(self, split: str, scene: str) -> Scene:
        self.read_scenes.append(scene)
        cube = np.load(self.folder / f"{scene}.npy")
        return Scene(scene, np.nan_to_num(cube[[4, 2, 0]]), cube)

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("s?.npy"))


def test_scenes_are_cached_once_and_again_when_a_file_changes(make_task, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HSRZOO_CACHE", str(tmp_path / "cache"))
    data, files = OnDisk(tmp_path), tmp_path / "cache" / "scenes"

    def read(use: bool | None = None) -> tuple[list[str], bytes]:
        """Scenes that were read from the data set, and a batch."""
        data.read_scenes.clear()
        task, _ = make_task(data=data, batch=9, cache=use)
        task.prepare()
        return sorted(data.read_scenes), drawn(Loader(task, 0), 0)[0]

    names, in_memory = read()
    assert names == data.index["train"] and not files.exists()  # a small set
    monkeypatch.setattr(cache, "MOST_IN_MEMORY", 1)
    assert read(use=False) == (names, in_memory) and not files.exists()
    assert read() == (names, in_memory)
    assert read() == read(use=True) == ([], in_memory)
    cached = sorted(files.glob("*/train-s?-????????.npy"))
    assert [np.load(file).dtype for file in cached] == ["uint16", "uint16", "float32"]
    cached[1].write_bytes(cached[1].read_bytes()[:500])
    assert read() == (["s1"], in_memory)
    os.utime(tmp_path / "s0.npy", ns=(1, 1))
    assert read() == (names, in_memory)
    assert len(list(files.iterdir())) == 2 and not list(files.glob("*/.*"))


def test_without_room_for_a_cache_scenes_are_held_in_memory(make_task, tmp_path, monkeypatch) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    monkeypatch.setenv("HSRZOO_CACHE", str(tmp_path / "cache"))
    data = OnDisk(tmp_path)
    task, _ = make_task(data=data, cache=True)
    with pytest.warns(UserWarning, match=r"cannot be cached.*held in memory") as warned:
        task.prepare()
    assert len(warned) == 1 and data.read_scenes == data.index["train"]
