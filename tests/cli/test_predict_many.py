"""``hsrzoo predict`` over many images, in this process and on workers that are killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError, InputError
from hsrzoo.prediction.batch import find_images, jobs_for_folder

PLUGIN = Path(__file__).with_name("deadly_plugin.py")


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Three small images and a broken one."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in "abd":
        Image.fromarray(random.integers(0, 256, (40, 52, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    (folder / "c.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image either")
    return folder


@pytest.fixture
def save_model(tmp_path: Path) -> Callable[..., str]:
    """``save_model("name", deadly=3)`` -> the name of a network with known weights."""
    import torch

    from hsrzoo.models.weights import save_folder
    from hsrzoo.registry import MODELS, load_plugin_file
    from hsrzoo.spec import build_module

    load_plugin_file(PLUGIN)

    def save(name: str, **arguments: object) -> str:
        spec, bands = MODELS.get("deadly-net"), BandSet.regular(400, 700, 100)
        torch.manual_seed(0)
        module = build_module(spec, bands, {})
        save_folder(tmp_path / name, module, spec, bands, arguments=arguments, training={"dataset": "toy"})
        return f"local-dir:{tmp_path / name}"

    return save


def predict(*arguments: object) -> Result:
    from hsrzoo.cli.predict import command

    result = CliRunner().invoke(command, [str(a) for a in (*arguments, "--device", "cpu")])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_broken_image_is_named_and_stops_no_other(photographs: Path, tmp_path: Path, save_model) -> None:
    model, out = save_model("net"), tmp_path / "cubes"
    result = predict(photographs, "--model", model, "-o", out, "--format", "tiff")
    assert result.exit_code == 1 and result.stdout == ""
    assert f"Failed: {photographs / 'c.png'} " in result.stderr  # named once
    assert "3 of 4 images done, 1 failed" in result.stderr
    assert sorted(p.name for p in out.iterdir()) == ["a.tif", "b.tif", "d.tif"]
    for name in "abd":
        alone = tmp_path / f"{name}.tif"
        assert predict(photographs / f"{name}.png", "--model", model, "-o", alone).exit_code == 0
        assert alone.read_bytes() == (out / f"{name}.tif").read_bytes()


def test_the_same_command_makes_only_what_is_missing(photographs: Path, tmp_path: Path, save_model) -> None:
    call = (
        photographs / "*.png",
        "--model",
        save_model("net"),
        "-o",
        tmp_path / "cubes",
        "--format",
        "npz",
    )
    predict(*call)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "cubes").iterdir()}
    (tmp_path / "cubes" / "a.npz").unlink()
    Image.new("RGB", (8, 8)).save(photographs / "c.png")  # mended
    result = predict(*call)
    assert result.exit_code == 0 and "2 cubes: skipped (exist" in result.stderr
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "cubes").iterdir()}
    changed = {p.name for p in after if after[p] != before.get(p)}
    assert changed == {"a.npz", "c.npz"}
    assert predict(*call, "--overwrite").exit_code == 0
    assert all(p.stat().st_mtime_ns > after[p] for p in after)


def test_tasks_on_a_machine_of_a_cluster_share_its_memory(tmp_path: Path, monkeypatch) -> None:
    from hsrzoo.prediction import batch
    from hsrzoo.prediction.predict import PredictOptions

    monkeypatch.setattr(batch, "cores", lambda: 8)
    monkeypatch.setattr(batch, "_open", lambda opening: None)
    monkeypatch.setattr(batch, "_predict", lambda job, model, options: options.share)
    job = batch.Job(tmp_path / "a.png", tmp_path / "a.tif")
    for threads, share in ((None, 0.5), (1, 0.5 / 8), (3, 0.25), (16, 0.5)):
        task = batch.Task(job, None, PredictOptions(share=0.5), threads)  # type: ignore[arg-type]
        assert batch.predict_one(task) == share


def test_images_are_found_by_name_folder_and_pattern(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("deep").mkdir()
    for name in ("b.png", "a.JPG", "c.txt", "f.jp2", "a.CR2", "g.CR3", "g.dng", "deep/d.tif", "deep/e.npy"):
        Path(name).touch()

    def found(*names: str) -> list[str]:
        return [path.as_posix() for path in find_images(names)]

    assert found(".") == ["a.JPG", "b.png", "f.jp2", "g.CR3"]
    assert found("b.png", ".", "./b.png") == ["b.png", "a.JPG", "f.jp2", "g.CR3"]
    assert found("**/*.[tn]*", "missing.png") == ["c.txt", "deep/d.tif", "deep/e.npy", "missing.png"]
    for nothing in ("*.bmp", "empty"):
        Path("empty").mkdir(exist_ok=True)
        with pytest.raises(InputError, match="There is no image in"):
            find_images([nothing])


def test_two_images_never_become_one_file(tmp_path: Path) -> None:
    jobs = jobs_for_folder([Path("x/a.png"), Path("b.jpg")], tmp_path, "zarr")
    assert [job.out for job in jobs] == [tmp_path / "a.zarr", tmp_path / "b.zarr"]
    with pytest.raises(InputError, match="would both become"):
        jobs_for_folder([Path("x/a.png"), Path("y/a.png")], tmp_path, "envi")
    with pytest.raises(InputError, match=r"would both become .*a\.interval90\.hdr"):
        jobs_for_folder([Path("a.png"), Path("a.interval90.png")], tmp_path, "envi", 0.9)
    for names, level in (
        (["a.tif"], None),
        (["a.png", "a.unfamiliar.tif"], 0.5),
        (["a.metamer-lower.tif", "a.png"], "metamer"),
    ):
        with pytest.raises(InputError, match="would overwrite an image"):
            jobs_for_folder([tmp_path / name for name in names], tmp_path, "tiff", level)
    with pytest.raises(FormatError, match="envi, tiff, zarr"):
        jobs_for_folder([Path("a.png")], tmp_path, "png")


def test_impossible_calls_are_refused_before_any_work(
    photographs: Path, tmp_path: Path, save_model
) -> None:
    model = ("--model", save_model("net"))
    a, b = photographs / "a.png", photographs / "b.png"
    with pytest.raises(InputError, match="go into a folder"):
        predict(a, b, *model, "-o", tmp_path / "cubes.hdr")
    with pytest.raises(InputError, match="read as images next time"):
        predict(photographs, *model, "-o", photographs)
    refused = predict(a, *model, "-o", tmp_path / "a.hdr", "--workers", 2)
    assert refused.exit_code == 2 and "several images" in refused.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"net", "photographs"}
