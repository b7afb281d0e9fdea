"""Running an exported file: without torch, with clear words for files that are none of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import hsrzoo
from hsrzoo.bands import VISIBLE_31
from hsrzoo.colour.srgb import decode_srgb
from hsrzoo.errors import BandsError, FormatError, HsrzooError, InputError, PluginError
from hsrzoo.export import check, graph
from hsrzoo.io import load_cube
from hsrzoo.models.onnx_file import METADATA_KEY
from hsrzoo.models.onnx_runtime import OnnxModel, pad, to_unit
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.models.rgb import check_rgb
from hsrzoo.models.rgb import pad as torch_pad
from hsrzoo.spec import RgbInput

NOT_INSTALLED = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages}:
            raise ImportError(name + " is not installed")
sys.meta_path.insert(0, Refuse())
"""
ALL_BUT_THREE = {
    "torch", "timm", "safetensors", "huggingface_hub", "h5py", "rich", "click", "faiss",
    "scipy", "tifffile", "spectral", "accelerate", "tensorly", "onnx", "onnxscript", "zarr", "ray",
}  # fmt: skip
"""What the module says it does without; numpy, onnxruntime and pillow are left."""


def python(code: str, folder: Path, without: set[str]) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    code = NOT_INSTALLED.replace("{packages}", repr(without)) + code
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("without", "suffixes"), [(ALL_BUT_THREE, ("npy", "npz")), ({"torch"}, ("hdr", "tif", "h5"))],
    ids=["three packages", "no torch"],
)  # fmt: skip
def test_photographs_become_cubes_where_torch_is_not_installed(
    toy: Reconstructor, toy_file: Path, tmp_path: Path, without: set[str], suffixes: tuple[str, ...]
) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (21, 34, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    done = python(
        "from hsrzoo.models.onnx_runtime import main\n"
        f"for suffix in {suffixes}:\n"
        f"    assert main(['photo.png', '--model', {str(toy_file)!r}, '-o', 'cube.' + suffix]) == 0\n"
        "import hsrzoo, numpy\n"
        f"cube = hsrzoo.load('onnx:' + {str(toy_file)!r}).predict(numpy.zeros((3, 9, 9), 'float32'))\n"
        "assert cube.shape == (5, 9, 9) and 'torch' not in sys.modules\n",
        tmp_path,
        without,
    )
    assert done.returncode == 0, done.stderr
    assert f"cube.{suffixes[0]}: 21 x 34 pixels, 5 bands" in done.stderr and done.stdout == ""
    expected = np.asarray(toy(decode_srgb(photo / 255).astype(np.float32)).cube)
    for suffix in suffixes:
        if suffix == "npy":
            cube, bands = np.load(tmp_path / "cube.npy"), toy.bands
        else:
            cube, bands = load_cube(tmp_path / f"cube.{suffix}")
        assert np.abs(cube - expected).max() < 1e-5 and bands == toy.bands


def test_the_former_name_of_the_module_still_runs_without_torch(toy_file: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    asked = ["hsrzoo.onnx_runtime", "photo.png", "--model", str(toy_file), "-o", "cube.npy"]
    code = f"import runpy\nsys.argv = {asked}\nrunpy.run_module('hsrzoo.onnx_runtime', run_name='__main__')"
    done = python(code, tmp_path, ALL_BUT_THREE)
    assert done.returncode == 0, done.stderr
    assert "use python -m hsrzoo.models.onnx_runtime" in done.stderr and done.stdout == ""
    assert np.load(tmp_path / "cube.npy").shape == (8, 8, 5)


def test_a_format_whose_library_is_missing_is_told(toy_file: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    asked = ["photo.png", "--model", str(toy_file), "-o", "cube.hdr"]
    code = f"from hsrzoo.models.onnx_runtime import main\nsys.exit(main({asked}))"
    done = python(code, tmp_path, ALL_BUT_THREE)
    assert done.returncode == 2 and "spectral is not installed. Install what" in done.stderr


def test_the_command_tells_errors_in_a_sentence(toy_file: Path, tmp_path: Path) -> None:
    done = python(
        "from hsrzoo.models.onnx_runtime import main\n"
        f"sys.exit(main(['no.png', '--model', {str(toy_file)!r}, '-o', 'cube.npy']))",
        tmp_path,
        {"torch"},
    )
    assert done.returncode == 2 and done.stderr.startswith("Error: There is no such file")


def spoiled(toy_file: Path, folder: Path, **changes: object) -> Path:
    """The file with other metadata; ``everything`` replaces them all."""
    proto = onnx.load(toy_file)
    facts = {**graph.facts_of(proto), **changes}
    (entry,) = proto.metadata_props
    entry.value = json.dumps(facts) if "everything" not in changes else str(changes["everything"])
    path = folder / "spoiled.onnx"
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": 99}, "newer hsrzoo"),
        ({"everything": "{"}, "cannot be read as JSON"),
        ({"everything": "[]"}, "incomplete"),
        ({"config": None}, "incomplete.*config: NoneType"),
        ({"config": {"training": 3}}, "incomplete.*config.training: int"),
        ({"config": {"codebook": {"sources": 3}}}, "incomplete.*config.codebook.sources: int"),
        ({"bands": {"centres_nm": ["x"]}}, "no valid bands"),
        ({"bands": {"centres_nm": [500.0]}}, "of another form"),
        ({"input": {"multiple": 10**9, "min_size": 1}}, "impossible input"),
        ({"input": {"multiple": 0, "min_size": 1}}, "impossible input"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_metadata_that_cannot_be_ours_are_refused(
    toy_file: Path, tmp_path: Path, changes: dict, words: str
) -> None:
    with pytest.raises(FormatError, match=words):
        OnnxModel(spoiled(toy_file, tmp_path, **changes))


def test_damaged_and_foreign_files_are_refused(toy_file: Path, tmp_path: Path) -> None:
    data = toy_file.read_bytes()
    middle = len(data) // 2
    for name, content in {
        "cut": data[:-500],
        "noise": os.urandom(4000),
        "bytes": data[:middle] + b"\xff" * 64 + data[middle + 64 :],
        "text": b"not a network",
    }.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        try:
            model = OnnxModel(path)
        except HsrzooError as error:
            assert isinstance(error, FormatError)
        else:  # only weights were hit: another file, and its identity says so
            assert name == "bytes" and model.identity != OnnxModel(toy_file).identity
    empty = tmp_path / "empty.onnx"
    empty.touch()
    with pytest.raises(FormatError, match="is empty"):
        OnnxModel(empty)
    with pytest.raises(InputError, match="No such file"):
        OnnxModel(tmp_path / "none.onnx")
    foreign = onnx.load(toy_file)
    del foreign.metadata_props[:]
    onnx.save(foreign, empty)
    with pytest.raises(FormatError, match=f"without the metadata '{METADATA_KEY}'"):
        OnnxModel(empty)


def test_a_missing_onnxruntime_is_named(toy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(PluginError, match=r'pip install "hsrzoo\[onnx\]"'):
        OnnxModel(toy_file)


def test_load_gives_the_file_under_its_own_name_and_identity(toy: Reconstructor, toy_file: Path) -> None:
    name = f"onnx:{toy_file}"
    model = hsrzoo.load(name, bands=toy.bands, device="cpu")
    assert (model.name, model.device, model.spec.name) == (name, "cpu", "toy")
    assert model.identity not in (None, toy.identity) and model.weights_sha256 == toy.weights_sha256
    rgb = check.example(11, 7)
    assert np.abs(model.predict(rgb) - toy.predict(rgb)).max() < 1e-5
    with pytest.raises(BandsError):
        hsrzoo.load(name, bands=VISIBLE_31)
    for choice in ({"precision": "fp16"}, {"compile": True}, {"tile": 64}):
        with pytest.raises(InputError, match="run as it was exported"):
            hsrzoo.load(name, **choice)
    with pytest.raises(InputError, match="cannot use the device 'tpu'"):
        hsrzoo.load(name, device="tpu")
    with pytest.raises(InputError, match="no test-time adaptation"):
        model.predict(rgb, tta=True)
    assert not hasattr(model, "module")
    with pytest.raises(InputError, match=r"no torch network.*python -m hsrzoo\.models\.onnx_runtime"):
        _ = model.module


def test_a_benchmark_runs_files_with_the_threads_it_was_given(toy_file: Path, tmp_path: Path) -> None:
    done = python(
        "from hsrzoo_benchmark.plan.options import Options\n"
        "from hsrzoo_benchmark.session import open_session\n"
        f"options = Options(('onnx:' + {str(toy_file)!r},), None, (), threads=3)\n"
        "session = open_session(options).models[0].session\n"
        "assert session.get_session_options().intra_op_num_threads == 3\n",
        tmp_path,
        set(),
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "need", [RgbInput(), RgbInput(multiple=8, min_size=8), RgbInput(multiple=4, min_size=12)]
)
def test_padding_is_torchs(need: RgbInput) -> None:
    for height, width in ((1, 1), (3, 9), (8, 16), (5, 13), (12, 31)):
        rgb = np.random.default_rng(height).random((1, 3, height, width), dtype=np.float32)
        assert np.array_equal(pad(rgb, need), torch_pad(torch.from_numpy(rgb), need).numpy())


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_images_are_scaled_as_elsewhere(dtype: str) -> None:
    top = {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    rgb = (np.random.default_rng(0).random((5, 6, 3)) * top).astype(dtype)
    expected = check_rgb(rgb)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(to_unit(rgb, None), expected)
    assert np.array_equal(
        to_unit(rgb, (0, 2 * top)), check_rgb(rgb, (0, 2 * top))[0].permute(1, 2, 0).numpy()
    )


GREY = np.full((4, 4, 3), 0.5, np.float32)
REFUSED = {
    "flat": (np.zeros((4, 4), np.uint8), None),
    "empty": (np.zeros((0, 4, 3), np.uint8), None),
    "int32": (np.zeros((4, 4, 3), np.int32), None),
    "bool": (np.zeros((4, 4, 3), bool), None),
    "range": (np.full((4, 4, 3), 1.5, np.float32), None),
    "nan": (np.full((4, 4, 3), np.nan, np.float32), None),
    "list": ([[0]], None),
    "one number as range": (GREY, 1.0),
    "three numbers as range": (GREY, (0, 1, 2)),
    "words as range": (GREY, "ab"),
    "range of no end": (GREY, (0, np.inf)),
    "range of no number": (GREY, (np.nan, 1)),
    "range upside down": (GREY, (1, 0)),
    "range too wide": (GREY, (-1e308, 1e308)),
    "other range": (GREY, (0, 0.25)),
}


@pytest.mark.parametrize(("rgb", "value_range"), REFUSED.values(), ids=REFUSED)
def test_images_are_refused_with_the_words_of_torchs_door(
    toy_file: Path, rgb: np.ndarray, value_range: tuple[float, float] | None
) -> None:
    with pytest.raises(InputError) as here:
        OnnxModel(toy_file)(rgb, value_range)
    with pytest.raises(InputError) as there:
        check_rgb(rgb, value_range)
    assert str(here.value) == str(there.value)


def test_memory_that_ends_is_a_memory_error(toy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = OnnxModel(toy_file)

    class Full:
        def run(self, *_: object) -> None:
            raise Exception("[ONNXRuntimeError] : 6 : std::bad_alloc")

    model.session = Full()
    with pytest.raises(MemoryError, match="bad_alloc"):
        model.predict(check.example(8, 8))
