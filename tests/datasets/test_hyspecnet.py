"""HySpecNet-11k in its three layouts and two formats, 128 x 128 patches shrunk to a few pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.enmap import native_bands
from hsrzoo.errors import DatasetError, DatasetMissingError, FormatError, InputError, UnknownNameError

KEPT = [*range(126), *range(141, 160), *range(167, 224)]  # without bands 127-141 and 161-167, 1-based
TILE = "ENMAP01-____L2A-DT0000004950_20221103T162438Z_001_V010110_20221118T145147Z"
PRODUCT = [f"{TILE}-Y0146027{i}_X05670694" for i in range(4)]
NUMBERED = [f"tile_001-patch_0{i}" for i in range(4)]
LAYOUTS = {
    "product": (PRODUCT, lambda name: f"patches/{TILE}/{name}"),
    "numbered": (NUMBERED, lambda name: f"patches/tile_001/{name}"),
    "flat": (PRODUCT, lambda name: "."),
}


def stored(seed: int) -> np.ndarray:
    """int16 (224, 6, 7), x 10000, one pixel without data."""
    cube = np.random.default_rng(seed).integers(100, 8000, (224, 6, 7), dtype=np.int16)
    cube[:, 2, 3] = -32768
    return cube


def preprocessed(seed: int) -> np.ndarray:
    """As the authors' script writes them: float32 (202, 6, 7) in [0, 1], no data as 0."""
    return (np.clip(stored(seed)[KEPT], 0, 10000) / np.float32(1e4)).astype(np.float32)


def write(folder: Path, name: str, seed: int, kind: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(folder / f"{name}-QL_PIXELMASK.TIF", np.zeros((6, 7), np.uint8))
    if kind == "tiff":
        file = folder / f"{name}-SPECTRAL_IMAGE.TIF"
        tifffile.imwrite(
            file, stored(seed), photometric="minisblack", planarconfig="separate", metadata=None
        )
        return file
    file = folder / f"{name}-DATA.npy"
    np.save(file, preprocessed(seed) if kind == "float" else stored(seed))
    return file


def write_lists(root: Path, layout: str, splits: dict[str, list[str]]) -> None:
    """Lists as they are published: one path a line that ends in -DATA.npy."""
    for split_set in ("easy", "hard"):
        folder = root / "hyspecnet-11k/splits" / split_set
        folder.mkdir(parents=True, exist_ok=True)
        for split, names in splits.items():
            paths = [
                f"{LAYOUTS[layout][1](name)}/{name}-DATA.npy".removeprefix("patches/") for name in names
            ]
            (folder / f"{split}.csv").write_text("".join(f"{path}\n" for path in paths))


def tree(root: Path, layout: str = "numbered", kind: str = "tiff") -> list[str]:
    """Four patches, two of them to train on; returns their names."""
    names, place = LAYOUTS[layout]
    for seed, name in enumerate(names):
        write(root / "hyspecnet-11k" / place(name), name, seed, kind)
    write_lists(root, layout, {"train": names[:2], "val": names[2:3], "test": names[3:]})
    return names


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["tiff", "int16", "float"])
def test_every_layout_and_format_gives_the_same_reflectance(tmp_path, layout, kind):
    names = tree(tmp_path, layout, kind)
    data = open_dataset("hyspecnet-11k", tmp_path)
    assert [data.scenes(split) for split in data.splits()] == [names[:2], names[2:3], names[3:]]
    assert data.bands == native_bands().select(KEPT)
    scene = data.load("valid", names[2])
    known = np.ones((6, 7), bool)
    known[2, 3] = False
    assert scene.cube.shape == (202, 6, 7) and scene.cube.dtype == np.float32
    assert np.allclose(scene.cube[:, known], stored(2)[KEPT][:, known] / 1e4, rtol=1e-6)
    assert scene.rgb[:, known].all() and not scene.rgb[:, 2, 3].any()
    # the authors' script has written 0 where there was no data
    assert np.isnan(scene.cube[:, 2, 3]).all() if kind != "float" else not scene.cube[:, 2, 3].any()
    assert data.verify().problems == []


def test_paths_in_lists_need_not_be_those_on_disk(tmp_path):
    names = tree(tmp_path, "flat")
    write_lists(tmp_path, "product", {"train": names[:2], "val": names[2:3], "test": names[3:]})
    assert open_dataset("hyspecnet-11k", tmp_path).load("test", names[3]).cube.shape == (202, 6, 7)


def test_lists_in_an_archive_of_their_own_and_hidden_files(tmp_path):
    names = tree(tmp_path, "flat")
    root = tmp_path / "hyspecnet-11k"
    (root / "lists").mkdir()
    (root / "splits").rename(root / "lists/Splits")
    for file in (root / "lists/Splits").rglob("*.csv"):
        file.write_bytes(file.read_text().encode("utf-16"))
    for file in list(root.rglob("*.TIF")):
        (root / "lists" / f"._{file.name}").write_bytes(b"1")
    data = open_dataset("hyspecnet-11k", tmp_path)
    assert data.scenes("train") == names[:2] and len(data.tiles) == 4


def test_the_tiff_is_read_where_both_are_there(tmp_path):
    names = tree(tmp_path, kind="tiff")
    tree(tmp_path, kind="float")
    assert np.isnan(open_dataset("hyspecnet-11k", tmp_path).load("test", names[3]).cube).any()


def test_all_bands_come_from_whole_patches_only(tmp_path):
    names = tree(tmp_path)
    file = write(tmp_path / "hyspecnet-11k" / LAYOUTS["numbered"][1](names[0]), names[0], 0, "float")
    data = open_dataset("hyspecnet-11k", tmp_path, bands="all")
    assert data.load("train", names[0]).cube.shape == (224, 6, 7)
    file.with_name(file.name.replace("-DATA.npy", "-SPECTRAL_IMAGE.TIF")).unlink()
    data = open_dataset("hyspecnet-11k", tmp_path, bands="all")
    with pytest.raises(FormatError, match=r"-DATA\.npy.*bands=202"):
        data.load("train", names[0])


def test_the_set_of_splits_is_an_option_and_part_of_the_protocol(tmp_path):
    names = tree(tmp_path)
    hard = tmp_path / "hyspecnet-11k/splits/hard"
    (hard / "train.csv").write_text(f"{names[0]}-DATA.npy,{names[3]}-DATA.npy\n")
    (hard / "test.csv").write_text(f"{names[1]}-DATA.npy\n")
    data = open_dataset("hyspecnet-11k", tmp_path, split_set="hard")
    assert data.scenes("train") == [names[0], names[3]] and data.scenes("test") == [names[1]]
    easy = open_dataset("hyspecnet-11k", tmp_path)
    assert data.info["split_set"] == "hard" and data.fingerprint() != easy.fingerprint()
    with pytest.raises(UnknownNameError, match="easy"):
        open_dataset("hyspecnet-11k", tmp_path, split_set="eazy")


def test_lists_that_name_absent_patches_say_how_many_and_which(tmp_path):
    names = tree(tmp_path)
    absent = [f"tile_002-patch_{i:02d}" for i in range(1, 6)]
    write_lists(tmp_path, "numbered", {"train": names[:2] + absent})
    with pytest.raises(
        DatasetError, match=r"train\.csv.*all 7.*5 absent: tile_002-patch_01, .*partial=true"
    ):
        open_dataset("hyspecnet-11k", tmp_path)
    data = open_dataset("hyspecnet-11k", tmp_path, partial="true")
    assert data.scenes("train") == names[:2]
    notes = data.verify().notes
    assert "train: 5 listed patches are absent" in notes
    assert any(note.startswith("4 of the authors' 11483 patches") for note in notes)
    with pytest.raises(InputError, match="true or false"):
        open_dataset("hyspecnet-11k", tmp_path, partial="maybe")


def test_a_split_of_which_nothing_is_there_is_an_error_even_so(tmp_path):
    tree(tmp_path)
    write_lists(tmp_path, "numbered", {"test": ["tile_003-patch_01"]})
    with pytest.raises(DatasetError, match="1 absent: tile_003-patch_01") as found:
        open_dataset("hyspecnet-11k", tmp_path, partial=True)
    assert "partial=true" not in str(found.value)


def test_patches_in_several_lists_are_an_error(tmp_path):
    names = tree(tmp_path)
    write_lists(tmp_path, "numbered", {"train": names, "test": names})
    first = f"5 in two: {names[2]} in train and valid, {names[0]} in train and test, {names[1]} in train "
    with pytest.raises(DatasetError, match=first):
        open_dataset("hyspecnet-11k", tmp_path)


def test_a_missing_list_is_named(tmp_path):
    tree(tmp_path)
    (tmp_path / "hyspecnet-11k/splits/easy/val.csv").unlink()
    with pytest.raises(DatasetError, match=r"easy/val\.csv"):
        open_dataset("hyspecnet-11k", tmp_path)


@pytest.mark.parametrize("kind", ["tiff", "int16", "float"])
def test_a_truncated_patch_is_named(tmp_path, kind):
    names = tree(tmp_path, kind=kind)
    data = open_dataset("hyspecnet-11k", tmp_path)
    file = write(tmp_path / "hyspecnet-11k" / LAYOUTS["numbered"][1](names[0]), names[0], 0, kind)
    file.write_bytes(file.read_bytes()[:-500])
    with pytest.raises(FormatError, match=file.name):
        data.load("train", names[0])


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (stored(0)[:200], "200 bands"),
        (stored(0)[0], r"shape \(6, 7\)"),
        (stored(0).astype(np.float32), "up to .*Store it as int16"),
    ],
)
def test_arrays_that_are_no_patches_are_refused(tmp_path, array, told):
    names = tree(tmp_path, kind="int16")
    np.save(tmp_path / "hyspecnet-11k" / LAYOUTS["numbered"][1](names[0]) / f"{names[0]}-DATA.npy", array)
    with pytest.raises(FormatError, match=told):
        open_dataset("hyspecnet-11k", tmp_path).load("train", names[0])


def test_two_copies_of_a_patch_are_an_error(tmp_path):
    names = tree(tmp_path)
    write(tmp_path / "hyspecnet-11k/copy", names[0], 0, "tiff")
    with pytest.raises(DatasetError, match="share a name"):
        open_dataset("hyspecnet-11k", tmp_path)


def test_an_absent_set_says_where_it_is_to_be_had(tmp_path):
    with pytest.raises(DatasetMissingError, match=r"hyspecnet-11k.*hyspecnet\.rsim\.berlin"):
        open_dataset("hyspecnet-11k", tmp_path)
