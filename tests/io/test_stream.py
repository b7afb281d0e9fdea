"""Cubes written tile by tile: what other readers see, what is left of a run that stops, lack of room."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError, InputError, StoreError
from hsrzoo.io import load_cube, save_cube, stream
from hsrzoo.io.open_stream import check_out, open_stream
from hsrzoo.io.stream import CubeShape, part_of, state_of
from hsrzoo.io.zarr import chunk_side

NAMES = ["a.hdr", "a.tif", "a.zarr"]
WIDE = BandSet.of([418.24, 423.874, 902.5, 898.25], [7.0, 6.5, 10.0, 9.75])
STEP = (24, 40)


@pytest.fixture(autouse=True)
def zarr_is_there(request) -> None:
    if "a.zarr" in request.node.name:
        pytest.importorskip("zarr", minversion="3")


def cube_of(height: int, width: int, bands: int) -> np.ndarray:
    """Values from -0.2 to 1.2: uint16 must cut them."""
    return np.random.default_rng(3).uniform(-0.2, 1.2, (height, width, bands)).astype(np.float32)


def tiles(cube: np.ndarray):
    """(top, left, block) of all tiles of STEP, the last first: order must not matter."""
    height, width = cube.shape[:2]
    corners = [(y, x) for y in range(0, height, STEP[0]) for x in range(0, width, STEP[1])]
    for y, x in reversed(corners):
        yield y, x, cube[y : y + STEP[0], x : x + STEP[1]]


def begin(path: Path, cube: np.ndarray, bands: BandSet, dtype: str = "float32", step=STEP):
    shape = CubeShape(*cube.shape[:2], bands, dtype)  # type: ignore[arg-type]
    return open_stream(path, shape, step=step, metadata={"model": "toy"})


def write(path: Path, cube: np.ndarray, bands: BandSet, dtype: str = "float32") -> Path:
    with begin(path, cube, bands, dtype) as target:
        target.create()
        for top, left, block in tiles(cube):
            target.write(top, left, block)
        target.finish()
    return path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bands", [WIDE, BandSet.of([550.125]), BandSet.of([450, 550, 650])], ids=len)
def test_tiles_come_back_as_one_cube_with_its_bands(tmp_path, name, bands):
    cube = cube_of(50, 70, len(bands))
    back, found = load_cube(write(tmp_path / name, cube, bands))
    assert np.array_equal(back, cube) and found == bands
    names = {"a.hdr", "a.img"} if name == "a.hdr" else {name}
    assert {p.name for p in tmp_path.iterdir()} == names


@pytest.mark.parametrize("name", NAMES)
def test_uint16_comes_back_in_the_unit_interval(tmp_path, name):
    cube = cube_of(50, 70, 4)
    back, found = load_cube(write(tmp_path / name, cube, WIDE, "uint16"))
    assert found == WIDE and back.min() == 0 and back.max() == pytest.approx(1, abs=1e-7)
    expected = np.rint(np.clip(cube, 0, 1) * np.float32(65535)) / 65535
    np.testing.assert_allclose(back, expected, atol=1e-7)
    assert np.abs(back - np.clip(cube, 0, 1)).max() <= 0.5 / 65535 + 1e-7


def test_other_programs_find_the_scale(tmp_path):
    import spectral

    cube = cube_of(50, 70, 4)
    image = spectral.open_image(str(write(tmp_path / "a.hdr", cube, WIDE, "uint16")))
    assert image.metadata["reflectance scale factor"] == "65535" and image.interleave == spectral.BIP
    assert image.bands.centers == list(WIDE.centres_nm) and image.bands.band_unit == "Nanometers"
    with tifffile.TiffFile(write(tmp_path / "a.tif", cube, WIDE, "uint16")) as tiff:
        page = tiff.pages.first
        xml = page.tags[42112].value
        assert page.dtype == np.uint16 and page.shape == (50, 70, 4) and page.is_contiguous
    assert f'<Item name="SCALE" sample="3" role="scale">{1 / 65535!r}</Item>' in xml
    assert '<Item name="wavelength" sample="1">423.874</Item>' in xml


def test_zarr_says_what_its_axes_and_attributes_are(tmp_path):
    zarr = pytest.importorskip("zarr", minversion="3")
    array = zarr.open_array(str(write(tmp_path / "a.zarr", cube_of(50, 70, 4), WIDE, "uint16")), mode="r")
    assert array.metadata.dimension_names == ("y", "x", "band") and array.dtype == np.uint16
    assert array.attrs["wavelengths_nm"] == list(WIDE.centres_nm)
    assert array.attrs["scale_factor"] == 1 / 65535 and array.attrs["metadata"]["model"] == "toy"


def test_a_zarr_cube_saved_at_once_or_within_a_group_is_read(tmp_path):
    zarr = pytest.importorskip("zarr", minversion="3")
    cube = cube_of(300, 20, 4)
    save_cube(tmp_path / "a.zarr", cube, WIDE)
    back, bands = load_cube(tmp_path / "a.zarr")
    assert np.array_equal(back, cube) and bands == WIDE
    group = zarr.open_group(str(tmp_path / "g.zarr"), mode="w")
    group.create_array("x", data=cube.transpose(2, 0, 1))
    assert np.array_equal(load_cube(tmp_path / "g.zarr", key="x", axes="chw")[0], cube)
    with pytest.raises(FormatError, match="no array 'y'"):
        load_cube(tmp_path / "g.zarr", key="y")
    (tmp_path / "a.zarr" / "zarr.json").write_text("not JSON")
    with pytest.raises(FormatError, match="Zarr"):
        load_cube(tmp_path / "a.zarr")


@pytest.mark.parametrize("name", NAMES)
def test_two_runs_make_the_same_bytes(tmp_path, name):
    def content(folder: str) -> dict[str, bytes]:
        root = tmp_path / folder
        root.mkdir()
        write(root / name, cube_of(50, 70, 4), WIDE)
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    assert content("one") == content("two")


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_goes_on_with_its_partial_file_and_with_no_other(tmp_path, name):
    cube = cube_of(50, 70, 4)
    blocks = list(tiles(cube))
    with begin(tmp_path / name, cube, WIDE) as target:
        assert not target.reopen()
        target.create()
        for block in blocks[:3]:
            target.write(*block)
    assert not (tmp_path / name).exists()
    with begin(tmp_path / name, cube, WIDE, "uint16") as other:
        assert not other.reopen()
    with begin(tmp_path / name, cube_of(60, 70, 4), WIDE) as other:
        assert not other.reopen()
    with begin(tmp_path / name, cube, WIDE) as target:
        assert target.reopen()
        for block in blocks[3:]:
            target.write(*block)
        target.finish()
    assert np.array_equal(load_cube(tmp_path / name)[0], cube)


def test_a_zarr_chunk_that_was_cut_short_is_written_anew(tmp_path):
    pytest.importorskip("zarr", minversion="3")
    cube = cube_of(50, 70, 4)
    with begin(tmp_path / "a.zarr", cube, WIDE) as target:
        target.create()
        for block in tiles(cube):
            target.write(*block)
        for chunk in target.part.glob("c/*/*/*"):
            chunk.write_bytes(chunk.read_bytes()[:5])
            chunk.with_suffix(".0123.partial").write_bytes(b"left by a process that died")
        for block in tiles(cube):
            target.write(*block)
        target.finish()
    assert np.array_equal(load_cube(tmp_path / "a.zarr")[0], cube)
    assert not list((tmp_path / "a.zarr").rglob("*.partial"))


@pytest.mark.parametrize(
    ("step", "more", "side"),
    [
        (1024, True, 256), (700, True, 175), (1016, True, 254), (257, True, 257), (8, True, 8),
        (1000, False, 256), (20, False, 20),
    ],
)  # fmt: skip
def test_chunks_divide_the_tiles(step, more, side):
    assert chunk_side(step, more) == side


def test_an_old_cube_stays_until_the_new_one_is_whole(tmp_path):
    for name in ("a.hdr", "a.tif"):
        old, new = cube_of(50, 70, 4), cube_of(50, 70, 4) + 1
        write(tmp_path / name, old, WIDE)
        with begin(tmp_path / name, new, WIDE) as target:
            target.create()
            target.write(*next(tiles(new)))
            assert np.array_equal(load_cube(tmp_path / name)[0], old)
        write(tmp_path / name, new, WIDE)
        assert np.array_equal(load_cube(tmp_path / name)[0], new)


def test_an_old_zarr_folder_is_replaced_and_any_other_is_left_alone(tmp_path):
    pytest.importorskip("zarr", minversion="3")
    write(tmp_path / "a.zarr", cube_of(50, 70, 4), WIDE)
    new = cube_of(30, 30, 4)
    write(tmp_path / "a.zarr", new, WIDE)
    assert np.array_equal(load_cube(tmp_path / "a.zarr")[0], new)
    (tmp_path / "mine.zarr").mkdir()
    (tmp_path / "mine.zarr" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not a Zarr folder"):
        check_out(tmp_path / "mine.zarr")
    assert (tmp_path / "mine.zarr" / "thesis.tex").exists()


def test_large_cubes_become_bigtiff_without_being_written(tmp_path):
    shape = CubeShape(10_000, 10_000, BandSet.regular(400, 700, 10), "uint16")
    with open_stream(tmp_path / "a.tif", shape, step=(1000, 1000), metadata={}) as target:
        offset = target._header()  # type: ignore[attr-defined]  # the tags alone: 6 GB are not reserved
    found = target.part.stat()
    assert found.st_size >= shape.bytes > 6e9 and found.st_blocks * 512 < 3e6
    with target.part.open("rb") as file:
        assert file.read(4) == b"II\x2b\x00"  # 43: BigTIFF
    assert offset > 100


def test_names_that_cannot_be_written_are_refused_at_once(tmp_path):
    with pytest.raises(FormatError, match=r"\.hdr, \.tif"):
        check_out(tmp_path / "a.h5")
    with pytest.raises(InputError, match="mkdir -p"):
        check_out(tmp_path / "absent" / "a.tif")
    (tmp_path / "a.tif").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        check_out(tmp_path / "a.tif")
    assert part_of(Path("x/a.hdr")) == Path("x/a.img.part")
    assert state_of(part_of(Path("a.zarr"))) == Path("a.zarr.part.json")


def test_zarr_without_its_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(StoreError, match=r"hsrzoo\[zarr\]"):
        check_out(tmp_path / "a.zarr")


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_nan_is_written_as_float_and_refused_as_integer(tmp_path, dtype):
    cube = cube_of(24, 40, 4)
    cube[3, 4, 2] = np.nan
    if dtype == "uint16":
        with pytest.raises(InputError, match="uint16 cannot"):
            write(tmp_path / "a.tif", cube, WIDE, dtype)
    else:
        assert np.isnan(load_cube(write(tmp_path / "a.tif", cube, WIDE))[0][3, 4, 2])


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_keeps_and_names_the_partial_file(tmp_path, monkeypatch, name):
    cube = cube_of(50, 70, 4)
    with begin(tmp_path / name, cube, WIDE) as target:
        target.create()
        blocks = list(tiles(cube))
        target.write(*blocks[0])
        monkeypatch.setattr(type(target), "_write", full_disk)
        with pytest.raises(StoreError, match=r"no room left.*\.part: make room.*same command") as caught:
            target.write(*blocks[1])
        assert caught.value.exit_code == 2 and str(target.part) in str(caught.value)
        monkeypatch.undo()
        assert target.part.exists() and not (tmp_path / name).exists()


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from hsrzoo.bands import BandSet
from hsrzoo.errors import StoreError
from hsrzoo.io.open_stream import open_stream
from hsrzoo.io.stream import CubeShape

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
cube = CubeShape(50, 70, BandSet.of([500, 600]))
target = open_stream(Path(sys.argv[1]), cube, step=(24, 40), metadata={})
try:
    with target:
        target.create()
        for y in range(0, 48, 24):
            target.write(y, 0, np.random.default_rng(0).random((24, 40, 2), np.float32))
    print("written")
except StoreError as error:
    print(error, target.part.exists())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")
def test_lack_of_room_is_known_before_the_work_begins(forks, tmp_path):
    """The system refuses 28,000 bytes: at once, and what it gave is given back."""
    done = forks.python("-c", LIMITED, tmp_path / "a.hdr", cwd=tmp_path)
    assert "There is no room left for a.img" in done.stdout and done.stdout.endswith("True\n"), done
    assert (tmp_path / "a.img.part").stat().st_size == 0


def test_a_system_that_cannot_reserve_still_makes_the_file(tmp_path, monkeypatch):
    def unsupported(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported, raising=False)
    cube = cube_of(50, 70, 4)
    assert np.array_equal(load_cube(write(tmp_path / "a.hdr", cube, WIDE))[0], cube)
    monkeypatch.delattr(os, "posix_fallocate")
    assert np.array_equal(load_cube(write(tmp_path / "b.tif", cube, WIDE))[0], cube)
    assert stream.SUFFIXES == (".hdr", ".tif", ".tiff", ".zarr")
