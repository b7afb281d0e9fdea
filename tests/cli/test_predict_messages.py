"""What ``hsrzoo predict`` tells about a cube's origin, its size, the time left and interruptions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from hsrzoo.cli import output
from hsrzoo.cli.predict import Bar, _kept, command
from hsrzoo.io.metadata import metadata_of, origin
from hsrzoo.io.stream import part_of, state_of
from hsrzoo.models.loading import load
from hsrzoo.prediction import predict as predict_module
from hsrzoo.prediction.batch import Job
from hsrzoo.prediction.predict import PredictOptions, Step, predict_file
from hsrzoo.zoo import PHOTOGRAPHS, read_zoo
from tiled_networks import Local, model


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 44, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_cube_and_quick_look_tell_their_origin(photo):
    out = photo.with_name("cube.tif")
    report = predict_file(photo, load("linear.cave", device="cpu"), out, PredictOptions(quicklook=True))
    facts = metadata_of(out).facts
    assert "cave (CAVE" in facts["training_data"] and "camera nikon-d5100" in facts["training_data"]
    assert report.picture is not None
    with Image.open(report.picture) as picture:
        assert picture.text == {**facts, "Software": "hsrzoo"}
    message = origin(facts)
    for words in (
        "Model: linear.cave; training data: cave (CAVE",
        "encoding of the input: sRGB, decoded by IEC 61966-2-1 (assumed)",
        "camera of the input: linear sRGB, 3 x 3 matrix to the camera nikon-d5100",
    ):
        assert words in message


def test_the_origin_of_the_weights_is_no_condition_of_going_on(photo):
    """Partial cubes of versions that did not write it are gone on with."""
    out = photo.with_name("a.tif")

    def progress(step: Step) -> None:
        if step.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_file(photo, model(Local, tile=16), out, PredictOptions(save_seconds=0), progress)
    assert "training_data" not in state_of(part_of(out)).read_text()


@pytest.mark.parametrize(
    ("name", "dtype", "message"),
    [
        (
            "a.hdr",
            "float32",
            "The cube will have 0.7 GB; --dtype uint16 halves it and limits values to [0, 1]",
        ),
        ("a.zarr", "float32", "The cube will have 0.7 GB before compression; --dtype uint16 halves it"),
        ("a.tif", "uint16", "The cube will have 0.7 GB"),
        ("a.npz", "float32", "The cube will have 0.7 GB"),
        ("a.hdr", "small", None),
    ],
)
def test_the_size_of_a_large_cube_is_said(name, dtype, message):
    size = 400_000_000 if dtype == "small" else 700_000_000
    found = predict_module._size_note(
        size, Path(name), PredictOptions("uint16" if dtype == "uint16" else "float32")
    )
    assert found == message or (name == "a.zarr" and found is not None and found.startswith(message))


def test_the_size_is_said_before_the_cube_is_made(photo, monkeypatch):
    monkeypatch.setattr(predict_module, "_LARGE", 1000)
    said: list[str] = []
    out = photo.with_name("a.hdr")

    def progress(_: Step) -> None:
        assert any(text.startswith("The cube will have") for text in said)

    predict_file(photo, model(Local), out, progress=progress, say=said.append)
    assert out.exists()


def test_the_time_left_of_a_single_image_is_known_for_slow_tiles():
    clock = [0.0]
    progress = output.progress()
    progress.get_time = lambda: clock[0]
    bar = Bar(progress, progress.add_task("", total=None))
    for done in range(3):
        bar.show(Step(1, 2, done, 50))
        clock[0] += 60
    assert progress.tasks[0].time_remaining == 98 * 60


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "a.hdr",
            "Kept: the finished tiles in {folder}/a.img.part. Run the same command again to continue.",
        ),
        ("a.npz", "No part of a cube is kept: .npz files are written at once, .hdr"),
    ],
)
def test_an_interrupted_run_says_what_is_kept(photo, monkeypatch, name, message):
    def interrupted(self: Bar, step: Step) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Bar, "show", interrupted)
    call = [str(photo), "-o", str(photo.with_name(name)), "--model", "linear.cave", "--device", "cpu"]
    result = CliRunner().invoke(command, call)
    assert result.exit_code != 0
    assert message.format(folder=photo.parent) in result.stderr


def test_an_interrupted_run_of_many_images_counts_what_is_kept(tmp_path):
    jobs = [Job(tmp_path / f"{i}.png", tmp_path / f"{i}.tif") for i in range(4)]
    for out in (jobs[0].out, jobs[1].out, part_of(jobs[2].out)):
        out.touch()
    part = part_of(jobs[2].out)
    kept = f"Kept: 2 of 4 cubes and the finished tiles in {part}. Run the same command again"
    assert _kept(jobs, PredictOptions(overwrite=False)) == f"{kept} to continue."
    assert _kept(jobs, PredictOptions()) == f"{kept} without --overwrite to continue."
    part_of(jobs[3].out).touch()
    assert "the finished tiles of 2 cubes" in _kept(jobs, PredictOptions())
    assert _kept(jobs[3:], PredictOptions()).startswith("Kept: the finished tiles in")
    assert "the complete cube" in _kept(jobs[:1], PredictOptions())


def test_without_a_model_the_recommended_one_runs_and_is_named(photo: Path) -> None:
    out = photo.with_name("cube.npz")
    done = CliRunner().invoke(command, [str(photo), "-o", str(out)])
    assert done.exit_code == 0, done.output
    advice = read_zoo().recommended[PHOTOGRAPHS]
    assert f"Model: {advice['model']}, recommended for photographs" in " ".join(done.stderr.split())
    assert metadata_of(out).facts["model"] == advice["model"]
