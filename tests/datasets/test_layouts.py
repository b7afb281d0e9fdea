"""Folders as people keep them: archives' own folders, upper case, leftovers of operating systems."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.samson import SOURCES
from hsrzoo.errors import DatasetError, DatasetMissingError
from hsrzoo.io import save_cube
from make_fixtures import make_arad_tree, make_cave_tree, smooth_cube

CUBE = smooth_cube(VISIBLE_31, 6, 8, 1)
LONG = BandSet.regular(420, 720, 10)


def nest(folder: Path, into: str) -> None:
    """Move what ``folder`` holds into ``folder/into``, and leave what operating systems leave."""
    content = list(folder.iterdir())
    (folder / into).mkdir(parents=True)
    for entry in content:
        entry.rename(folder / into / entry.name)
    leave(folder)


def leave(folder: Path) -> None:
    """Leftovers that look like data."""
    for name in ("Thumbs.db", ".DS_Store", "._scene.mat", "__MACOSX/complete_ms_data/beads_ms/._scene.mat"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0\5\26\7")


def write_cave(root: Path) -> None:
    make_cave_tree(root, train=["cd"], valid=["beads"], height=6, width=8)


def write_flat_cave(root: Path) -> None:
    make_cave_tree(root, train=["cd"], valid=["beads"], height=6, width=8, flat=True)


def write_arad(root: Path) -> None:
    make_arad_tree(root, train=1, valid=1, height=6, width=8)


def write_icvl(root: Path) -> None:
    (root / "icvl").mkdir()
    with h5py.File(root / "icvl/scene.mat", "w", userblock_size=512) as stored:
        stored["rad"] = np.rint(CUBE.transpose(0, 2, 1) * 4095)


def write_harvard(root: Path) -> None:
    (root / "harvard").mkdir()
    content = {"ref": CUBE.transpose(1, 2, 0), "lbl": np.ones((6, 8), np.uint8)}
    savemat(root / "harvard/img1.mat", content)


def write_kaist(root: Path) -> None:
    (root / "kaist/train").mkdir(parents=True)
    save_cube(root / "kaist/train/scene01.h5", CUBE.transpose(1, 2, 0), LONG)


def write_folder(root: Path) -> None:
    for split in ("train", "valid"):
        for kind in ("cube", "rgb"):
            (root / f"folder/{split}/{kind}").mkdir(parents=True)
        save_cube(root / f"folder/{split}/cube/{split}.npz", CUBE.transpose(1, 2, 0), VISIBLE_31)
        Image.new("RGB", (8, 6), (40, 50, 60)).save(root / f"folder/{split}/rgb/{split}.png")


def write_samson(root: Path) -> None:
    (root / "samson").mkdir()
    matrix = np.linspace(0, 1, 156 * 95 * 95).reshape(156, -1)
    savemat(root / "samson" / SOURCES["samson"].file, {"V": matrix, "nRow": 95, "nCol": 95})


SETS = {
    "cave": write_cave,
    "arad": write_arad,
    "icvl": write_icvl,
    "harvard": write_harvard,
    "kaist": write_kaist,
    "folder": write_folder,
    "samson": write_samson,
}


@pytest.mark.parametrize("into", ["archive", "archive/{name}"])
@pytest.mark.parametrize("name", SETS)
def test_sets_in_the_folder_of_their_archive_are_found(tmp_path, name, into):
    """The same scenes, files and fingerprint as without it."""
    SETS[name](tmp_path)
    before = open_dataset(name, tmp_path)
    known = {split: before.scenes(split) for split in before.splits()}, before.fingerprint()
    nest(tmp_path / name, into.format(name=name))
    if name != "folder":
        (tmp_path / name).rename(tmp_path / name.upper())
    after = open_dataset(name, tmp_path)
    assert ({split: after.scenes(split) for split in after.splits()}, after.fingerprint()) == known
    assert after.verify().problems == []


def test_the_complete_download_of_cave(tmp_path):
    write_flat_cave(tmp_path)
    nest(tmp_path / "cave", "complete_ms_data")
    dataset = open_dataset("cave", tmp_path)
    assert (dataset.scenes("train"), dataset.scenes("valid")) == (["cd"], ["beads"])
    assert dataset.verify().problems == []


def test_splits_of_cave_that_were_unpacked_each(tmp_path):
    write_cave(tmp_path)
    for split in ("train", "valid"):
        nest(tmp_path / "cave" / split, "complete_ms_data")
    (tmp_path / "cave/valid").rename(tmp_path / "cave/Valid")
    dataset = open_dataset("cave", tmp_path)
    assert (dataset.scenes("train"), dataset.scenes("valid")) == (["cd"], ["beads"])
    assert dataset.verify().problems == []


def test_a_folder_that_holds_something_else_is_not_called_empty(tmp_path):
    (tmp_path / "cave/other/deep").mkdir(parents=True)
    leave(tmp_path / "cave")
    with pytest.raises(DatasetMissingError, match="Got a folder with other"):
        open_dataset("cave", tmp_path)
    (tmp_path / "cave/other/deep").rmdir()
    (tmp_path / "cave/other").rmdir()
    with pytest.raises(DatasetMissingError, match="Got an empty folder"):
        open_dataset("cave", tmp_path)


def test_two_copies_of_a_set_are_an_error_that_names_them(tmp_path):
    for copy in ("one", "two"):
        write_flat_cave(tmp_path / copy)
        (tmp_path / "cave" / copy).parent.mkdir(exist_ok=True)
        (tmp_path / copy / "cave").rename(tmp_path / "cave" / copy)
    with pytest.raises(DatasetError, match=r"Several folders below .*\. Expected one\. Got one, two\."):
        open_dataset("cave", tmp_path)


@pytest.mark.parametrize(
    ("write", "name"), [(write_flat_cave, "cave"), (write_arad, "arad"), (write_icvl, "icvl")]
)
def test_upper_case_suffixes(tmp_path, write, name):
    write(tmp_path)
    for file in (tmp_path / name).rglob("*.*"):
        if file.suffix != ".txt":
            file.rename(file.with_suffix(file.suffix.upper()))
    assert open_dataset(name, tmp_path).verify().problems == []


LINES = ["ARAD_1K_0001", "ARAD_1K_0002"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("form", ["{}", "{}.mat", "{}.JPG", "Train_RGB/{}.jpeg", "Train_RGB\\{}.Mat"])
def test_lists_of_arad(tmp_path, encoding, form):
    make_arad_tree(tmp_path, train=2, valid=1, height=6, width=8)
    text = "\r\n".join(form.format(line) for line in LINES) + "\r\n"
    (tmp_path / "arad/split_txt/train_list.txt").write_bytes(text.encode(encoding))
    dataset = open_dataset("arad", tmp_path)
    assert dataset.scenes("train") == LINES
    assert dataset.verify().problems == []


def test_both_archives_of_arad(tmp_path):
    """Files of the valid split in folders of their own."""
    write_arad(tmp_path)
    for kind in ("Spec", "RGB"):
        (tmp_path / f"arad/Valid_{kind}").mkdir()
        for file in (tmp_path / f"arad/Train_{kind}").glob("*0901*"):
            file.rename(tmp_path / f"arad/Valid_{kind}" / file.name)
        nest(tmp_path / f"arad/Train_{kind}", f"Train_{kind}")
    assert open_dataset("arad", tmp_path).verify().problems == []


def test_both_archives_of_harvard(tmp_path):
    write_harvard(tmp_path)
    folder = tmp_path / "harvard"
    for archive, name in (("CZ_hsdb", "img1"), ("CZ_hsdbi", "imgc1")):
        (folder / archive).mkdir()
        (folder / archive / f"{name}.mat").write_bytes((folder / "img1.mat").read_bytes())
    (folder / "img1.mat").unlink()
    dataset = open_dataset("harvard", tmp_path)
    assert dataset.scenes("valid") == ["img1", "imgc1"]
    assert dataset.verify().problems == []


@pytest.mark.parametrize("binary", [True, False])
def test_icvl_without_the_raw_data_beside_it(tmp_path, binary):
    """Headers of 519 bands, with or without their binaries, beside the .mat files."""
    write_icvl(tmp_path)
    (tmp_path / "icvl/scene.hdr").write_text("ENVI\nsamples = 8\nlines = 6\nbands = 519\n")
    (tmp_path / "icvl/other.hdr").write_text("ENVI\nsamples = 8\nlines = 6\nbands = 519\n")
    if binary:
        (tmp_path / "icvl/scene.raw").write_bytes(b"\0" * 100)
        (tmp_path / "icvl/scene.img").write_bytes(b"\0" * 100)
    dataset = open_dataset("icvl", tmp_path)
    assert dataset.scenes("valid") == ["scene"]
    assert dataset.verify().problems == []


def test_a_header_without_its_binary_is_no_second_cube(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "folder/train/cube/train.hdr").write_text("ENVI\n")
    assert open_dataset("folder", tmp_path).verify().problems == []


def test_folders_of_pairs_in_upper_case(tmp_path):
    write_folder(tmp_path)
    for split in ("train", "valid"):
        for kind in ("cube", "rgb"):
            (tmp_path / "folder" / split / kind).rename(tmp_path / "folder" / split / kind.upper())
    dataset = open_dataset("folder", tmp_path)
    assert dataset.scenes("train") == ["train"] and dataset.verify().problems == []


def test_several_folders_of_cubes_are_named(tmp_path):
    for capture in ("a", "b"):
        (tmp_path / "mine" / capture).mkdir(parents=True)
        save_cube(tmp_path / f"mine/{capture}/scene.npz", CUBE.transpose(1, 2, 0), VISIBLE_31)
    with pytest.raises(DatasetError, match=r"Several folders below .*mine hold data.*Got a, b\..*"):
        open_dataset("folder", tmp_path, path="mine", response="nikon-d5100")
    dataset = open_dataset("folder", tmp_path, path="mine/b", response="nikon-d5100")
    assert dataset.scenes("valid") == ["scene"]


def test_wavelengths_above_or_in_the_folder_of_the_archive(tmp_path):
    (tmp_path / "mine/cubes").mkdir(parents=True)
    savemat(tmp_path / "mine/cubes/scene.mat", {"cube": CUBE.transpose(1, 2, 0)})
    text = "".join(f"{centre}\n" for centre in VISIBLE_31.centres_nm)
    for place in ("mine", "mine/cubes"):
        (tmp_path / place / "wavelengths.csv").write_text(text)
        assert open_dataset("folder", tmp_path, path="mine", response="nikon-d5100").bands == VISIBLE_31
        (tmp_path / place / "wavelengths.csv").unlink()
