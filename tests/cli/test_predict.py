"""``hsrzoo predict`` on one image: files, memory, tiles."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from PIL import Image
from spectral.io import envi

from hsrzoo.camera import Camera
from hsrzoo.cli.options import Bytes
from hsrzoo.cli.predict import command
from hsrzoo.colour.matrix import camera_from_srgb
from hsrzoo.colour.srgb import decode_srgb
from hsrzoo.errors import FormatError, InputError
from hsrzoo.io import load_cube
from hsrzoo.io.stream import part_of
from hsrzoo.prediction.predict import PredictOptions, Step, predict_file
from small_image import draw, whole
from tiled_networks import BANDS, Chained, Local, Silent, model

HERE = Path(__file__).parent
NAMES = ["a.hdr", "a.tif", "a.zarr"]


@pytest.fixture(autouse=True)
def zarr_is_there(request) -> None:
    if "a.zarr" in request.node.name:
        pytest.importorskip("zarr", minversion="3")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return draw(tmp_path)


@pytest.mark.parametrize("name", [*NAMES, "a.npz"])
@pytest.mark.parametrize("tile", [16, None])
def test_the_cube_in_the_file_is_that_of_the_whole_image(image, name, tile):
    steps: list[Step] = []
    report = predict_file(image, model(Chained, tile=tile), image.parent / name, progress=steps.append)
    cube, bands = load_cube(image.parent / name)
    assert np.abs(cube - whole(image)).max() < 2e-6 and bands == BANDS
    tiles = 1 if tile is None else 4 * 3
    assert (report.tiles, report.passes) == (tiles, 1 if tile is None else 4)
    assert report.bytes == cube.nbytes and not report.resumed and report.difference is None
    inner = [(p, i) for p in range(1, report.passes + 1) for i in range(1, tiles)]
    ends = [(p + 1, 0) for p in range(1, report.passes)]  # of a pass: the next one begins
    assert [(s.current, s.done) for s in steps[1:]] == sorted([*inner, *ends, (report.passes, tiles)])
    assert steps[0] == Step(1, report.passes, 0, tiles)
    assert steps[-1] == Step(report.passes, report.passes, tiles, tiles)
    left = {"a.hdr": {"a.hdr", "a.img"}}.get(name, {name})
    assert {p.name for p in image.parent.iterdir()} == left | {"image.npy"}


@pytest.mark.parametrize("name", NAMES)
def test_uint16_holds_the_unit_interval(image, name):
    options = PredictOptions(dtype="uint16")
    report = predict_file(image, model(Chained, tile=16), image.parent / name, options)
    cube, bands = load_cube(image.parent / name)
    assert np.abs(cube - np.clip(whole(image), 0, 1)).max() < 0.51 / 65535 and bands == BANDS
    assert report.bytes == cube.size * 2


def test_photographs_and_rasters_with_a_declared_range(image):
    pixels = np.load(image)
    Image.fromarray(pixels).save(image.with_suffix(".png"))
    deep = image.with_name("deep.npy")
    np.save(deep, pixels.astype(np.int32) * 16)
    cubes = []
    for path, value_range in ((image, None), (image.with_suffix(".png"), None), (deep, (0, 255 * 16))):
        out = image.parent / "out.hdr"
        options = PredictOptions(value_range=value_range, encoding="linear")
        predict_file(path, model(Local, tile=16), out, options)
        cubes.append(load_cube(out)[0])
    assert np.array_equal(cubes[0], cubes[1]) and np.allclose(cubes[0], cubes[2], atol=1e-6)
    with pytest.raises(InputError, match="no natural full scale"):
        predict_file(deep, model(Local, tile=16), image.parent / "b.hdr")


def test_approximate_tiles_tell_their_price(image):
    toy = model(Chained, tile=16, approximate=True)
    report = predict_file(image, toy, image.parent / "a.hdr")
    assert report.passes == 1 and report.difference is not None
    # the sample is the whole of this small image: the price is the true one
    gap = (load_cube(image.parent / "a.hdr")[0] - whole(image)).astype(np.float64)
    assert report.difference.grid.size == (50, 43) and report.difference.grid.tile == 16
    assert report.difference.largest == pytest.approx(np.abs(gap).max(), rel=1e-4)
    assert report.difference.rmse == pytest.approx(np.sqrt((gap**2).mean()), rel=1e-4)
    assert report.difference.rmse > 1e-3


def test_a_network_without_halo_runs_whole_unless_tiles_are_asked_for(image, monkeypatch):
    monkeypatch.setattr("hsrzoo.models.tiling.choice.SMALL", 0)
    monkeypatch.setattr("hsrzoo.prediction.run.available_memory", lambda _: 1)
    assert predict_file(image, model(Silent), image.parent / "a.hdr").tiles == 1
    with pytest.raises(InputError, match="exact tiles"):
        predict_file(image, model(Silent, tile=16), image.parent / "b.hdr")
    assert not part_of(image.parent / "b.hdr").exists()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_memory_stays_below_its_limit(forks, tmp_path):
    """0.35 megapixels of 64 features, 270 MB at once, within 120 MiB."""
    np.save(tmp_path / "large.npy", np.random.default_rng(0).integers(0, 255, (500, 700, 3), np.uint8))
    limit = 120 * 2**20
    done = forks.python(
        str(HERE / "memory_of_prediction.py"), tmp_path / "large.npy", tmp_path / "a.hdr", limit,
        cwd=tmp_path, env={"PYTHONPATH": str(HERE.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tiles, passes, taken = map(int, done.stdout.split())
    assert tiles > 1 and passes == 4
    assert 0.2 * limit < taken < limit, f"{taken / 2**20:.0f} MiB"


@pytest.mark.parametrize(
    ("out", "options", "error", "words"),
    [
        ("a.png", PredictOptions(), FormatError, "not that of a cube format"),
        ("a.npy", PredictOptions(), FormatError, "can only be read"),
        ("a.xyz", PredictOptions(), FormatError, r"Expected \.hdr, \.tif, \.h5, \.mat, \.npz or \.zarr\."),
        ("a.bsq", PredictOptions(), FormatError, "can only be read"),
        ("absent/a.npz", PredictOptions(), InputError, "mkdir -p"),
        ("absent/a.img", PredictOptions(), InputError, "mkdir -p"),
        ("a.hdr", PredictOptions(value_range=(0, 100)), InputError, "range"),
        ("a.tif", PredictOptions(value_range=(0, 100)), InputError, "range"),
        ("a.zarr", PredictOptions(value_range=(0, 100)), InputError, "range"),
        ("a.npz", PredictOptions(dtype="uint16"), InputError, "hold float32.*write .hdr"),
        ("absent/a.hdr", PredictOptions(), InputError, "mkdir -p"),
        ("a.hdr", PredictOptions(tta=True), InputError, "adaptation"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_written(image, out, options, error, words):
    with pytest.raises(error, match=words):
        predict_file(image, model(Local, tile=16), image.parent / out, options)
    assert {p.name for p in image.parent.iterdir()} == {"image.npy"}


def test_adaptation_is_refused_before_anything_is_written(image):
    adaptable = model(Local, tile=16, adapt=lambda module, rgb: module(rgb))
    with pytest.raises(InputError, match="needs the whole image"):
        predict_file(image, adaptable, image.parent / "a.hdr", PredictOptions(tta=True))
    assert {p.name for p in image.parent.iterdir()} == {"image.npy"}


@pytest.mark.parametrize("name", ["image.tif", "scene.hdr", "scene.img", "other.hdr"])
def test_a_cube_never_takes_the_place_of_its_image(tmp_path, name):
    """``scene.hdr`` describes scene.img; ``linked.tif`` is image.tif."""
    pixels = np.load(draw(tmp_path))
    tifffile.imwrite(tmp_path / "image.tif", pixels, photometric="rgb")
    (tmp_path / "linked.tif").symlink_to(tmp_path / "image.tif")
    envi.save_image(str(tmp_path / "scene.hdr"), pixels, interleave="bip", ext=".img")
    (tmp_path / "other.img").write_bytes((tmp_path / "scene.img").read_bytes())
    (tmp_path / "other.img.hdr").write_text((tmp_path / "scene.hdr").read_text())
    sources = {"image.tif": ["image.tif", "linked.tif"], "other.hdr": ["other.img.hdr"]}
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    for source in sources.get(name, ["scene.hdr"]):
        with pytest.raises(InputError, match="would take the place of"):
            predict_file(tmp_path / source, model(Local, tile=16), tmp_path / name)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_the_binarys_name_stands_for_the_envi_cube(image):
    report = predict_file(image, model(Local, tile=16), image.parent / "a.img", PredictOptions("uint16"))
    assert report.out == image.parent / "a.hdr" and report.tiles > 1
    assert {p.name for p in image.parent.iterdir()} == {"image.npy", "a.hdr", "a.img"}


@pytest.mark.skipif(not (find_spec("onnxscript") and find_spec("onnxruntime")), reason="needs onnx")
@pytest.mark.parametrize("name", ["a.hdr", "a.npz"])
def test_an_exported_file_is_run_on_the_whole_image(image, name):
    import hsrzoo
    from hsrzoo.export import export_onnx

    network, file, out = (
        hsrzoo.load("linear.cave", device="cpu"),
        image.parent / "l.onnx",
        image.parent / name,
    )
    export_onnx(network, file)
    call = [str(image), "--model", f"onnx:{file}", "--device", "cpu", "-o", str(out)]
    done = CliRunner().invoke(command, call)
    assert done.exit_code == 0 and "50 x 43 pixels, 31 bands" in done.stderr, done.output
    cube, bands = load_cube(out)
    assert bands == network.bands
    np.testing.assert_allclose(cube, network(np.load(image)).cube, atol=1e-5)
    assert not list(image.parent.glob("*.part*"))
    done = CliRunner().invoke(command, [*call, "--srgb", "--bands", "450,650", "--quicklook"])
    assert done.exit_code == 0 and "trained on cave" in done.stderr, done.output
    cube, bands = load_cube(out)
    assert bands.centres_nm == (450, 650) and out.with_suffix(".png").exists()
    light = decode_srgb(np.load(image) / 255) @ camera_from_srgb(Camera.named("nikon-d5100")).T
    expected = network(light.clip(0, 1).astype(np.float32)).cube[..., [5, 25]]
    np.testing.assert_allclose(cube, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "count"), [("4GiB", 2**32), ("512M", 2**29), ("1.5 kb", 1536), ("1000", 1000), ("2TB", 2**41)]
)
def test_sizes_of_memory(text, count):
    assert Bytes().convert(text, None, None) == count


@pytest.mark.parametrize("text", ["", "much", "-1G", "0", "4 Gigs", "1e9"])
def test_what_is_no_size_of_memory(text, image):
    result = CliRunner().invoke(
        command, [str(image), "--model", "linear", "-o", "x.hdr", "--max-memory", text]
    )
    assert result.exit_code == 2 and "4GiB" in result.stderr


def test_the_command_writes_a_file_and_says_how(run_hsrzoo, image, tmp_path):
    asked = ["predict", image, "--model", "linear.cave", "--device", "cpu", "--threads", "1"]
    done = run_hsrzoo(*asked, "-o", "a.tif", "--tile", "20", "--dtype", "uint16")
    assert done.returncode == 0 and done.stdout == "", done.stderr
    assert "50 x 43 pixels, 31 bands" in done.stderr and "9 tiles of 17 x 15 pixels" in done.stderr
    cube, bands = load_cube(tmp_path / "a.tif")
    assert cube.shape == (50, 43, 31) and len(bands) == 31
    small = run_hsrzoo(*asked, "-o", "b.tif", "--tile", "0")
    assert small.returncode == 2 and "The tile is too small" in small.stderr
    assert not (tmp_path / "b.tif").exists()


FULL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
from hsrzoo.cli.main import main
sys.argv = ["hsrzoo", *sys.argv[1:]]
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")
@pytest.mark.parametrize("name", ["a.hdr", "a.tif"])
def test_no_room_is_a_users_error_that_names_the_partial_file(forks, image, name):
    """50 x 43 pixels in 31 float32 bands are 267 kB; the system allows 100."""
    arguments = [str(image), "--model", "linear.cave", "--device", "cpu", "-o", str(image.parent / name)]
    done = forks.python("-c", FULL_DISK, "predict", *arguments, "--tile", "20", cwd=image.parent)
    part = part_of(image.parent / name)
    assert done.returncode == 2 and "no room left" in done.stderr and str(part) in done.stderr, done
    assert part.exists() and not (image.parent / name).exists()


def test_check_compares_tiles_with_the_whole_image(run_hsrzoo):
    done = run_hsrzoo("check", "linear", "--tiles", "20", "--size", "50", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["model"] == "linear.cave" and row["tiles"] == 9 and row["passes"] == 1
    assert row["largest difference"] < 1e-6 and row["result"] == "ok"


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("linear", ["--size", "50"], "--size belongs to --tiles"),
        ("linear", ["--tiles", "50", "--size", "50"], "nothing to compare"),
        ("linear", ["--tiles", "64", "--size", "50"], "nothing to compare"),
        ("mst-plus-plus", ["--tiles", "4"], "The tile is too small"),
    ],
)
def test_a_comparison_of_nothing_is_refused(name, options, words):
    from hsrzoo.cli.check import command as check

    found = CliRunner().invoke(check, [name, *options])
    assert found.exit_code and words in f"{found.stderr} {found.exception}"
    assert isinstance(found.exception, InputError) or found.exit_code == 2
