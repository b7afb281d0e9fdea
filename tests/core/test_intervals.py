"""Prediction intervals: the conformal threshold, the scale, the file, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import hsrzoo
from hsrzoo.bands import BandSet
from hsrzoo.colour.chromaticity import ChromaticityTable, cells_and_brightness
from hsrzoo.datasets.base import Scene
from hsrzoo.errors import BandsError, HsrzooError, InputError, WeightsError
from hsrzoo.models.locate import folder_of
from hsrzoo.models.names import parse_name
from hsrzoo.models.push import checked_weights
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.models.weights import read_config
from hsrzoo.registry import MODELS
from hsrzoo.uncertainty.apply import intervals_of
from hsrzoo.uncertainty.conformal import joint_scores, scene_score, smallest_count, thresholds
from hsrzoo.uncertainty.file import read_intervals, save_intervals
from hsrzoo.uncertainty.folds import cross_validation, pattern_record, training_split
from hsrzoo.uncertainty.intervals import percentiles
from hsrzoo.uncertainty.scale import FoldedScale, fit_weights, scale_of, scale_terms
from hsrzoo.utils.files import UNCERTAINTY
from random_scenes import Random, calibrate

# ------------------------------------------------------------------ calibration by scene


@pytest.mark.parametrize(("level", "count"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19)])
def test_a_level_needs_so_many_scenes(level: float, count: int) -> None:
    assert smallest_count(level) == count
    assert thresholds(np.arange(count, dtype=float)[:, None], level).tolist() == [
        0 if count == 1 else count - 1
    ]
    for fewer in range(count):
        with pytest.raises(InputError, match=f"Too few scenes.*{count} or more"):
            thresholds(np.ones((fewer, 1)), level)


def test_the_threshold_is_the_score_of_a_place_by_hand() -> None:
    scores = np.stack([np.arange(20.0, 0, -1), np.arange(20.0)], axis=1)  # 1 to 20 and 0 to 19
    assert thresholds(scores, 0.9).tolist() == [19, 18]  # the 19th smallest: ceil(21 * 0.9)
    assert thresholds(scores, 0.5).tolist() == [11, 10]


def test_the_score_covers_so_many_pixels_and_values_without_data_do_not_count() -> None:
    ratio = np.array([[1.0], [2.0], [3.0], [4.0], [np.nan]])
    assert scene_score(ratio, 0.5) == 3
    assert scene_score(ratio, 0.9) == 4


def test_scenes_are_ranked_by_all_their_values_and_bands_keep_their_factors() -> None:
    rng = np.random.default_rng(0)
    ratios = [gain * rng.random((400, 3)) * (1, 10, 0) for gain in (0.5, 1, 2)]
    of_bands = np.stack([scene_score(ratio, 0.8) for ratio in ratios])
    found = joint_scores(ratios, of_bands, 0.8)
    assert np.allclose(found[:, 1] / found[:, 0], 10, rtol=0.1)
    for ratio, score in zip(ratios, found, strict=True):
        inside = (ratio <= score)[:, :2]  # a band without errors covers for no other
        assert inside.mean() == pytest.approx(0.8, abs=0.002)
    assert (joint_scores([ratio * 0 for ratio in ratios], of_bands * 0, 0.8) == 0).all()


def test_weights_of_the_scale_find_the_term_that_made_the_errors() -> None:
    rng = torch.Generator().manual_seed(0)
    scenes = []
    for _ in range(3):
        terms = torch.rand(4, 500, 1, generator=rng) + 0.1
        scenes.append((terms[1].sqrt() * torch.rand(500, 1, generator=rng), tuple(terms)))
    found = fit_weights(scenes)
    assert found[1] == pytest.approx(0.81, abs=0.05)  # its 90 % quantile is 0.9 times the root
    assert max(found[0], *found[2:]) < 0.05


@pytest.mark.parametrize("weights", [(0.02, 0.5, 0.01, 1e-4), (0.0, 1.0, 0.0, 0.0)])
@pytest.mark.parametrize("agrees", [True, False], ids=["second", "no second"])
def test_the_folded_scale_is_that_of_the_terms(weights: tuple[float, ...], agrees: bool) -> None:
    rng = np.random.default_rng(0)
    table = ChromaticityTable.build([(rng.random((300, 3)), rng.random((300, 5))) for _ in range(3)])
    rgb, cube, other = (
        torch.rand(200, size, generator=torch.Generator().manual_seed(1)) for size in (3, 5, 5)
    )
    second = other if agrees else None
    factors = torch.tensor([0.5, 1, 2, 3, 4])
    cell, q = cells_and_brightness(rgb)
    found = FoldedScale.build(table.spread, weights, factors).at(cell, q, cube, second)
    expected = scale_of(weights, scale_terms(table, rgb, cube, second)) * factors
    assert torch.allclose(found, expected.expand_as(found), rtol=1e-5, atol=0)


def test_percentiles_count_the_pixels_of_every_scene_alike() -> None:
    held = [np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.3, 0.3])]
    assert percentiles(np.array([0, 0.3, 0.35, 1.0]), held).tolist() == [0, 0.25, 0.875, 1]


def test_intervals_cover_scenes_that_nothing_was_made_from(model: Reconstructor) -> None:
    data, shares = Random(), []
    for name in data.scenes("valid"):
        scene = data.load("valid", name)
        found = model(scene.rgb.transpose(1, 2, 0), interval=0.9)
        truth = scene.cube.transpose(1, 2, 0)
        shares.append(np.mean((found.lower <= truth + 1e-6) & (truth <= found.upper + 1e-6), axis=(0, 1)))
    assert 0.9 <= np.mean(shares, axis=0)[-1] <= 0.99
    assert np.min(shares) >= 0.8
    assert float(np.mean(found.upper[..., :3] - found.lower[..., :3])) < 1e-3  # the camera sees them


# ------------------------------------------------------------------ what is returned


def test_ends_lie_around_the_cube_and_not_below_0(model: Reconstructor) -> None:
    rgb = np.random.default_rng(0).random((6, 5, 3), dtype=np.float32)
    plain, found = model(rgb), model(rgb, interval=0.9)
    assert plain.lower is plain.upper is plain.unfamiliar is plain.level is None
    assert np.array_equal(found.cube, plain.cube)
    assert found.lower.shape == found.upper.shape == found.cube.shape
    assert (found.lower >= 0).all()
    assert (found.lower <= found.cube.clip(0)).all()
    assert (found.cube <= found.upper).all()
    assert found.unfamiliar.shape == (6, 5)
    assert found.level == 0.9
    wider = model(rgb, interval=0.95)
    assert (wider.upper >= found.upper).all()


def test_a_batch_tiles_and_strips_give_the_same(
    model: Reconstructor, calibrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rgb = np.random.default_rng(1).random((13, 9, 3), dtype=np.float32)
    whole = model(rgb, interval=0.8)
    batch = model(torch.from_numpy(rgb).permute(2, 0, 1)[None], interval=0.8)
    monkeypatch.setattr("hsrzoo.uncertainty.apply.AT_ONCE", 20)
    monkeypatch.setattr("hsrzoo.uncertainty.intervals.AT_ONCE", 10)
    tiled = hsrzoo.load(f"local-dir:{calibrated}", device="cpu", tile=4)(rgb, interval=0.8)
    for name in ("lower", "upper"):
        assert np.allclose(getattr(tiled, name), getattr(whole, name), atol=1e-4)
        assert np.allclose(getattr(batch, name)[0].permute(1, 2, 0), getattr(whole, name), atol=1e-4)
    assert np.array_equal(tiled.unfamiliar, whole.unfamiliar)
    assert np.array_equal(batch.unfamiliar[0], whole.unfamiliar)
    batch.unfamiliar.mul_(2)  # no tensor of inference mode


def test_a_black_image_has_finite_intervals_and_is_familiar(model: Reconstructor) -> None:
    found = model(np.zeros((3, 4, 3), np.uint8), interval=0.9)
    assert np.isfinite(found.upper).all()
    assert (found.unfamiliar < 0.99).all()


def test_a_colour_that_no_training_pixel_has_is_unlike(model: Reconstructor) -> None:
    rgb = np.array([[[0, 1, 0], [0.3, 0.3, 0.3]]], np.float32)
    assert (model(rgb, interval=0.9).unfamiliar[0] > 0.99).tolist() == [True, False]


# ------------------------------------------------------------------ file


def test_the_same_file_is_written_again_and_goes_with_a_push(calibrated: Path, tmp_path: Path) -> None:
    found = read_intervals(calibrated / UNCERTAINTY)
    save_intervals(tmp_path / "again", found)
    assert (tmp_path / "again").read_bytes() == (calibrated / UNCERTAINTY).read_bytes()
    assert (calibrated / UNCERTAINTY).stat().st_size < 300_000
    pushed = checked_weights(f"local-dir:{calibrated}")
    assert pushed.intervals == calibrated / UNCERTAINTY


def test_an_interrupted_calibration_goes_on(
    calibrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(calibrated, tmp_path / "weights")
    (folder / UNCERTAINTY).unlink()
    read, stopped = [], "s03"
    with pytest.raises(InputError):  # a refused run keeps nothing that another would have to go on from
        calibrate(folder, "--split", "train")
    kept = folder / (UNCERTAINTY + ".part")
    assert not kept.exists()

    def load(self: Random, split: str, scene: str) -> Scene:
        read.append((split, scene))
        if scene == stopped and split.startswith("fold"):
            raise KeyboardInterrupt
        return self.read("train", scene)

    monkeypatch.setattr(Random, "load", load)
    with pytest.raises(AssertionError):
        calibrate(folder, "--second", "none", "--folds", "3,4")
    done = [scene for split, scene in read if split.startswith("fold")]
    assert len(list(kept.glob("*.npz"))) == len(done) - 1 == 7
    with pytest.raises(InputError, match="interrupted run with other options"):
        calibrate(folder, "--second", "none")
    with monkeypatch.context() as later, pytest.raises(InputError, match="with other options"):
        later.setattr("hsrzoo.uncertainty.file.SCHEMA", 99)  # of a version with another scale
        calibrate(folder, "--second", "none", "--folds", "3,4")
    read.clear()
    stopped = ""
    calibrate(folder, "--second", "none", "--folds", "3,4")
    assert [scene for split, scene in read if split.startswith("fold")] == ["s03"]
    assert not kept.exists()
    found = read_intervals(folder / UNCERTAINTY).scores
    stopped = ""
    (folder / UNCERTAINTY).unlink()
    calibrate(folder, "--second", "none", "--folds", "3,4")
    assert torch.equal(read_intervals(folder / UNCERTAINTY).scores, found)


def test_the_report_has_every_scene_and_a_split_can_be_used(calibrated: Path, tmp_path: Path) -> None:
    out = tmp_path / "split.safetensors"
    text = calibrate(calibrated, "--split", "valid", "-o", str(out), "--second", "none", "--json")
    rows = json.loads(text[text.index("[") : text.rindex("]") + 1])
    assert [row["scene"] for row in rows] == Random.index["valid"]
    assert all(0.3 < row["coverage 0.8"] <= 1 for row in rows)
    assert "coverage 0.9" not in rows[0]  # 8 others are too few
    found = read_intervals(out)
    assert found.second is None
    assert found.factors(0.9).shape == (4,)
    with pytest.raises(InputError, match="19 or more"):
        found.factors(0.95)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("level", [0.7, 90, 0, True, float("nan"), "90", [0.9]])
def test_other_levels_are_refused(model: Reconstructor, level: Any) -> None:
    with pytest.raises(InputError, match=r"a probability: 0\.5 \(50 %\), 0\.8 .*, 0\.95 \(95 %\)"):
        model(np.zeros((2, 2, 3), np.uint8), interval=level)


def test_a_level_of_float32_is_that_level(model: Reconstructor) -> None:
    rgb = np.full((2, 2, 3), 99, np.uint8)
    expected, found = model(rgb, interval=0.9), model(rgb, interval=np.float32(0.9))
    assert found.level == 0.9
    assert np.array_equal(found.upper, expected.upper)


@pytest.mark.parametrize(
    ("arch", "training", "refitted"),
    [
        ("linear", {}, True),
        ("gmsr", {}, False),
        ("linear", {"extra": [{"dataset": "enmap"}]}, False),  # to CAVE alone it would be another model
        ("poly", {"init": {"name": "poly.cave"}}, False),
    ],
)
def test_weights_without_a_calibration_name_the_command(
    arch: str, training: dict[str, Any], refitted: bool, tmp_path: Path
) -> None:
    training = {"dataset": "cave", **training}
    model: Any = SimpleNamespace(name=f"{arch}.cave", spec=MODELS.get(arch), config={"training": training})
    folds = "" if refitted else rf"--fold-models 'runs/{arch}\.fold-\{{fold\}}/weights' "
    if not refitted:
        with pytest.raises(
            InputError, match=rf" {arch} --dataset cave --split without-fold-0.*--fold-models 'runs/"
        ):
            cross_validation(model, SimpleNamespace(name="cave"), None, None)
    command = rf"calibrate intervals {arch}\.cave --dataset cave {folds}-o \S+/uncertainty\.safetensors"
    with pytest.raises(WeightsError, match=command):
        intervals_of(model, tmp_path, "0" * 64)
    with pytest.raises(WeightsError, match="random weights"):
        intervals_of(model, None, None)


@pytest.mark.parametrize("arch", ["linear", "edsr"])
def test_weights_of_too_few_scenes_for_folds_name_what_works_instead(arch: str, tmp_path: Path) -> None:
    def message(scenes: int) -> str:
        training = {"dataset": "mine", "scenes": [f"s{i}" for i in range(scenes)]}
        model: Any = SimpleNamespace(name=arch, spec=MODELS.get(arch), config={"training": training})
        with pytest.raises(WeightsError) as found:
            intervals_of(model, tmp_path, "0" * 64)
        return str(found.value)

    assert "--split" not in message(5)
    command = (
        rf"of 9 scenes or more for 90 %: hsrzoo calibrate intervals {arch} --dataset mine --split SPLIT"
    )
    assert re.search(rf"needs 5 training scenes, and these weights have 4\..* {command} -o", message(4))
    assert ("with intervals: linear.cave, linear.general." in message(1)) == (arch == "linear")


def test_a_data_set_without_folds_names_its_splits(model: Reconstructor) -> None:
    data = Random()
    data.index = {"train": ["s00"], "valid": ["v00"]}
    with pytest.raises(
        InputError, match=r"random has no folds.*of 9 scenes.*known: train \(1\), valid \(1\)"
    ):
        cross_validation(model, data, "runs/{fold}", None)


def test_ways_to_run_a_model_that_were_not_calibrated_are_refused(calibrated: Path) -> None:
    rgb, name = np.zeros((2, 2, 3), np.uint8), f"local-dir:{calibrated}"
    with pytest.raises(InputError, match="test-time adaptation"):
        hsrzoo.load(name, device="cpu")(rgb, tta=True, interval=0.9)
    with pytest.raises(InputError, match="statistics of their own"):
        hsrzoo.load(name, device="cpu", approximate=True, tile=8)(rgb, interval=0.9)
    model = hsrzoo.load(name, device="cpu")
    model.loaded = replace(model.loaded, execution=replace(model.execution, consistency="canon-5d"))
    with pytest.raises(InputError, match="camera consistency for canon-5d"):
        model(rgb, interval=0.9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights_sha256": "0" * 64}, "other weights"),
        ({"arguments": {"width": 3}}, "this variant"),
        ({"response": "canon-5d"}, "of the camera of its training pairs"),
    ],
)
def test_a_calibration_of_another_model_is_refused(
    calibrated: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    folder = shutil.copytree(calibrated, tmp_path / "weights")
    found = read_intervals(folder / UNCERTAINTY)
    save_intervals(folder / UNCERTAINTY, found.with_record(change))
    with pytest.raises(HsrzooError, match=message):
        hsrzoo.load(f"local-dir:{folder}", device="cpu")(np.zeros((2, 2, 3), np.uint8), interval=0.9)


def test_a_damaged_calibration_is_refused_with_a_sentence(calibrated: Path, tmp_path: Path) -> None:
    whole, path = (calibrated / UNCERTAINTY).read_bytes(), tmp_path / "file"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="not a complete safetensors file"):
        read_intervals(path)
    found = read_intervals(calibrated / UNCERTAINTY)
    for part, message in (
        (replace(found, scores=found.scores[:, :3]), "do not fit each other"),
        (replace(found, unfamiliar=torch.zeros(9)), "no table of colours"),
        (found.with_record({"scenes": 5}), "is incomplete"),
        (None, "written by an older hsrzoo"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            if part is None:
                patch.setattr("hsrzoo.uncertainty.file.SCHEMA", 1)
            save_intervals(path, part or found)
        with pytest.raises(WeightsError, match=message):
            read_intervals(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "few", "--second", "none"], None),
        (["--split", "train"], "trained on scenes that it is to be calibrated on"),
        (["--split", "valid", "--folds", "1"], "--split excludes"),
        (["--fold-models", "runs/weights"], "no place for the number of a fold"),
        (["--fold-models", "runs/{fold}"], "fit linear --dataset random .*-fold-0 --out runs/0.$"),
        (["--folds", "7"], "no split of random named 'fold-7'"),
        (["--folds", "0,0"], "are no folds"),
        (["--second", "mst-plus-plus"], "trained, not fitted"),
        (["--second", "nothing"], "no model named"),
    ],
)
def test_calibrations_that_cannot_be_made_say_why(
    calibrated: Path, tmp_path: Path, arguments: list[str], message: str | None
) -> None:
    arguments = [*arguments, "-o", str(tmp_path / "out.safetensors")]
    if message is None:  # two scenes: 50 % alone
        text = calibrate(calibrated, *arguments)
        assert "Intervals of 80 % need 4 scenes or more" in text and "Intervals of 50 %" not in text
        with pytest.raises(InputError, match="The highest level of 2 is 50 %"):
            read_intervals(tmp_path / "out.safetensors").factors(0.8)
        return
    with pytest.raises((HsrzooError, AssertionError), match=message):
        calibrate(calibrated, *arguments)


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        (None, None),
        ("/home/ann/runs/mcga-s2.fold-{fold}/weights", "mcga-s2.fold-{fold}/weights"),
        ("local-dir:../runs/{fold}", "{fold}"),
        (r"C:\runs\fold-{fold}", "fold-{fold}"),
        ("hf-hub:org/mcga-s2.fold-{fold}", "hf-hub:org/mcga-s2.fold-{fold}"),
    ],
)
def test_a_calibration_does_not_name_folders_of_the_machine(pattern: str | None, kept: str | None) -> None:
    assert pattern_record(pattern) == kept


def test_images_of_another_camera_are_refused_before_anything_is_fitted() -> None:
    bands = BandSet((500.0, 600.0))
    known = {"dataset": "cave", "split": "train", "dataset_info": {"response": "nikon-d5100"}}
    model: Any = SimpleNamespace(name="poly.cave", config={"training": known}, bands=bands)
    for response in ("nikon-d5100", None):
        data: Any = SimpleNamespace(name="cave", info={"response": response}, bands=bands)
        assert training_split(model, data) == "train"
    data.info = {"response": "canon-eos-5d"}
    with pytest.raises(InputError, match="Open the data set with that camera"):
        training_split(model, data)
    data.info, data.bands = {}, BandSet((500.0, 610.0))
    with pytest.raises(BandsError):
        training_split(model, data)


# ------------------------------------------------------------------ bundled


@pytest.mark.parametrize(
    "name",
    ["linear.cave", "poly.cave", "pixel-mlp.cave", "mst-plus-plus.cave", "mcga-s2.cave", "mcga-plus.cave"],
)
def test_bundled_calibrations_are_those_of_their_weights(name: str) -> None:
    folder = folder_of(parse_name(name))
    config, path = read_config(folder), folder / UNCERTAINTY
    found = read_intervals(path)
    assert path.stat().st_size < 100_000
    assert found.about["weights_sha256"] == config["weights_sha256"]
    assert found.about["arguments"] == config["arguments"]
    assert found.scenes == 20
    left_out = found.about["left_out"]["0.9"]
    assert 0.88 <= np.mean(left_out["coverage"]) <= 0.97
    assert min(left_out["coverage"]) >= 0.8
    if name.startswith(("mst-plus-plus", "mcga-plus")):
        assert np.mean(left_out["width"]) <= 0.055
