"""The benches of noise, JPEG, cameras and metamers on a made-up data set that renders its RGB."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hsrzoo
from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import Camera
from hsrzoo.colour.responses import STANDARD
from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.base import Scene
from hsrzoo.perturb import perturb
from hsrzoo.registry import DATASETS
from hsrzoo.spec import PerturbationContext
from hsrzoo_benchmark.command import BENCHES
from hsrzoo_benchmark.protocol import Condition, Protocol, resolve_protocol
from hsrzoo_benchmark.results import groups
from hsrzoo_benchmark.results.figures import figures
from hsrzoo_benchmark.run import brightness, metamer, scores
from hsrzoo_benchmark.session import Options, run_bench
from hsrzoo_benchmark.tables import terminal
from make_fixtures import make_cave_tree

MODELS = ("linear", "mean-spectrum")
IMAGING = ("noise", "jpeg", "camera")
MATRIX = Camera.named("nikon-d5100").matrix(VISIBLE_31)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_cave_tree(tmp_path)
    return tmp_path


def options(root: Path, benches: tuple[str, ...], **changes: Any) -> Options:
    defaults: dict[str, Any] = {
        "models": MODELS, "dataset": "cave", "metrics": ("rmse",), "data_options": {},
        "store": root / "results", "data_root": root,
    }  # fmt: skip
    return Options(benches=benches, **{**defaults, **changes})


def rows_of(root: Path) -> list[dict[str, Any]]:
    files = sorted((root / "results").rglob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_every_condition_has_a_row_but_the_own_camera(root: Path, capsys) -> None:
    assert set(IMAGING) | {"metamer"} <= set(BENCHES)
    assert run_bench(options(root, IMAGING), None) == 0
    rows = rows_of(root)
    severities = {bench: {r["severity"] for r in rows if r["bench"] == bench} for bench in IMAGING}
    assert severities == {
        "noise": {"low", "medium", "high"},
        "jpeg": {"95", "65", "35"},
        "camera": set(STANDARD) - {"nikon-d5100"},
    }
    assert len(rows) == 9 * 2 * len(MODELS)  # two scenes
    assert {"snr_db", "full_well"} <= {k for r in rows if r["bench"] == "noise" for k in r["info"]}
    assert all(r["info"]["rendered_by"] == "nikon-d5100" for r in rows)
    assert "nothing would change" in " ".join(capsys.readouterr().err.split())


def test_photographs_leave_metamers_and_cameras_out(tmp_path: Path, save_model, capsys) -> None:
    run = options(
        tmp_path, ("camera", "metamer", "noise"), models=(save_model("net"),), dataset="toy",
        data_options={"scenes": "1"},
    )  # fmt: skip
    assert run_bench(run, None) == 0
    rows = rows_of(tmp_path)
    assert {row["bench"] for row in rows} == {"noise"}
    assert {row["info"]["rendered_by"] for row in rows} == {None}
    assert "a photograph" in " ".join(capsys.readouterr().err.split())


def test_metamer_rows_score_one_prediction_against_both_truths(root: Path) -> None:
    assert run_bench(options(root, ("metamer",)), None) == 0
    row = next(r for r in rows_of(root) if (r["model"], r["severity"]) == ("linear.cave", "1"))
    scene = open_dataset("cave", root).load("valid", row["scene"])
    new, _ = perturb(
        "metamer", "1", scene, 0, 8, PerturbationContext(VISIBLE_31, Camera.named("nikon-d5100"), 8)
    )
    pred = hsrzoo.load("linear", device="cpu").predict(new.rgb).astype(np.float64)
    _, _, base = np.linalg.svd(MATRIX)
    null = base[3:]  # (28, 31), orthonormal
    shares = []
    for truth in (scene.cube, new.cube):
        unseen, guess = (np.tensordot(null, cube, axes=1).reshape(28, -1) for cube in (truth, pred))
        spread = unseen - unseen.mean(axis=1, keepdims=True)
        shares.append(1 - np.sum((unseen - guess) ** 2) / np.sum(spread**2))
    metrics = row["metrics"]
    assert metrics["rmse_clean"] == pytest.approx(np.sqrt(np.mean((scene.cube - pred) ** 2)), rel=1e-5)
    assert metrics["rmse"] == pytest.approx(np.sqrt(np.mean((new.cube - pred) ** 2)), rel=1e-5)
    assert (metrics["unseen_clean"], metrics["unseen"]) == pytest.approx(shares, rel=1e-4)
    assert metrics["colour_memory"] == pytest.approx(max(shares[0], 0) - max(shares[1], 0), abs=1e-4)


def test_only_metamers_carry_the_memory(root: Path) -> None:
    assert run_bench(options(root, ("accuracy", "jpeg", "metamer")), None) == 0
    for row in rows_of(root):
        assert (set(metamer.COLUMNS) <= set(row["metrics"])) == (row["perturbation"] == "metamer")


def test_brightness_has_a_floor_where_the_truth_stays_and_scales_it_in_rows_of_its_own(
    root, capsys
) -> None:
    assert run_bench(options(root, ("brightness",)), None) == 0
    table = capsys.readouterr().out
    rows = rows_of(root)
    assert {r["perturbation"] for r in rows} == {"gamma", "gain", "gain-both"}
    for row in rows:
        assert (brightness.COLUMN in row["metrics"]) == (row["perturbation"] != "gain-both")
    expected = []
    for name in open_dataset("cave", root).scenes("valid"):
        scene = open_dataset("cave", root).load("valid", name)
        seen = np.round(scene.rgb.astype(np.float64) ** (1 / 0.9) * 255) / 255
        ratio = seen.sum(axis=0) / np.maximum(scene.rgb.sum(axis=0), 1e-9)
        ratio[scene.rgb.sum(axis=0) == 0] = 1
        expected.append(np.sqrt(np.mean((scene.cube * ratio - scene.cube) ** 2)))
        own = [r for r in rows if (r["scene"], r["severity"]) == (name, "paper-minus10")]
        assert len(own) == len(MODELS)
        for row in own:
            assert row["metrics"][brightness.COLUMN] == pytest.approx(expected[-1], rel=1e-4)
    assert brightness.LABEL.split()[0] in table  # the terminal breaks the line
    found = figures(groups.groups(groups.read(root / "results").scores))
    floors = [f for f in found if f["model"] == brightness.LABEL]
    assert len(floors) == 8 and {f["metric"] for f in floors} == {"rmse"}  # 4 of gamma, 4 of gain
    (floor,) = (f for f in floors if f["condition"] == "gamma paper-minus10")
    assert floor["mean"] == pytest.approx(np.mean(expected), rel=1e-4)
    assert floor["rank"] is None and floor["wins"] is None and floor["weights_sha256"] is None


def test_existing_conditions_keep_their_hash(root: Path) -> None:
    """The rows in records/ are found by them."""
    dataset = open_dataset("cave", root)
    hashes = {
        str(condition): resolve_protocol(
            "full-frame", dataset, DATASETS.get("cave"), condition=condition
        ).group[:12]
        for condition in (Condition(), Condition("mixed-patch", "32"), Condition("gain", "0.5"))
    }
    assert hashes == {"clean": "19a6c28d3e42", "mixed-patch 32": "e9091d396792", "gain 0.5": "0c9b99a2a42e"}


def perfect(scale: float) -> dict[str, float]:
    """What a model has that knows the clean spectra and metamers ``scale`` times as far as a unit."""
    random = np.random.default_rng(0)
    clean = random.uniform(0.2, 0.6, (31, 20, 20))
    projector = np.eye(31) - np.linalg.pinv(MATRIX) @ MATRIX
    change = np.tensordot(projector, random.normal(size=(31, 20, 20)), axes=1)
    return metamer.memory(clean, clean + scale * change, clean, MATRIX)


def test_colour_memory_is_what_was_explained_and_is_no_more() -> None:
    none, all_of_it = perfect(0.0), perfect(1.0)
    assert none["unseen_clean"] == none["unseen"] == 1 and none["colour_memory"] == 0
    assert all_of_it["unseen"] < 0.1  # the variance of the metamers is nearly all new
    assert all_of_it["colour_memory"] == pytest.approx(1 - max(all_of_it["unseen"], 0))


def test_a_model_that_knows_only_what_the_camera_saw_has_no_colour_memory() -> None:
    random = np.random.default_rng(1)
    clean, truth = random.uniform(0, 1, (2, 31, 9, 9))
    seen = np.tensordot(np.linalg.pinv(MATRIX) @ MATRIX, clean, axes=1)
    found = metamer.memory(clean, truth, seen, MATRIX)
    assert found["unseen_clean"] < 0 and found["colour_memory"] == 0


def test_values_without_data_count_nowhere() -> None:
    random = np.random.default_rng(2)
    clean, truth, pred = random.uniform(0, 1, (3, 31, 6, 7))
    holes = [cube.copy() for cube in (clean, truth, pred)]
    for cube in holes[:2]:
        cube[3, :, 6] = np.nan
    holes[2][:, :, 6] = 9
    assert metamer.memory(*holes, MATRIX) == pytest.approx(
        metamer.memory(clean[..., :6], truth[..., :6], pred[..., :6], MATRIX)
    )


def test_what_is_not_defined_is_nan() -> None:
    cube = np.full((31, 4, 4), 0.5)
    assert np.isnan(metamer.memory(cube, cube, cube, MATRIX)["colour_memory"])
    clean = np.random.default_rng(3).uniform(0, 1, (31, 4, 4))
    assert np.isnan(metamer.memory(clean, clean, np.full_like(clean, np.nan), MATRIX)["colour_memory"])


def test_the_table_sets_clean_beside_metamers(root: Path, capsys) -> None:
    assert run_bench(options(root, ("metamer",), as_json=True), None) == 0
    figures = json.loads(capsys.readouterr().out)
    (table,) = terminal.memory_tables(figures)
    assert [row["model"] for row in table.rows] == ["linear.cave", "mean-spectrum.cave"]
    assert all(set(row) >= set(table.columns) for row in table.rows)
    means = {(f["model"], f["metric"], f["condition"]): f["mean"] for f in figures}
    for row in table.rows:
        for metric in ("rmse_clean", "rmse", "unseen_clean", "unseen", "colour_memory"):
            assert float(row[f"{metric} metamer 1"].split()[0]) == pytest.approx(
                means[row["model"], metric, "metamer 1"], abs=5e-3
            )
    assert run_bench(options(root, ("metamer",)), None) == 0
    printed = capsys.readouterr()
    assert "colour memory: cave/valid, protocol full-frame" in printed.out
    assert "likeness of metamers" in " ".join(printed.err.split())


def test_how_rgb_was_made_is_read_from_the_protocol() -> None:
    rendered = Protocol("p", bands=VISIBLE_31, rgb_bits=16, dataset={"response": "cie-1931"})
    assert scores.rendering(rendered) == PerturbationContext(VISIBLE_31, Camera.named("cie-1931"), 16)
    for info in ({}, {"response": None}, {"response": "three bands"}):
        assert scores.rendering(Protocol("p", bands=VISIBLE_31, dataset=info)) is None


def test_resampled_models_are_scored_on_the_bands_they_share() -> None:
    narrow = BandSet.regular(450, 650, 10)
    clean, truth, wide = np.random.default_rng(4).uniform(0, 1, (3, 31, 5, 5)).astype(np.float32)
    protocol = Protocol(
        "p", bands=VISIBLE_31, resampled_from=narrow, perturbation="metamer", severity="1",
        dataset={"response": "nikon-d5100"}, metrics=(("rmse", "1", ""),),
    )  # fmt: skip
    scenes = [Scene("s", np.zeros((3, 5, 5), np.float32), cube) for cube in (clean, truth)]
    found, per_band, bands = scores.score(*scenes, wide[5:26], protocol)
    matrix = Camera.named("nikon-d5100").matrix(narrow)
    expected = metamer.memory(clean[5:26], truth[5:26], wide[5:26], matrix)
    assert len(per_band["rmse"]) == 31 and np.flatnonzero(np.isfinite(per_band["rmse"])).tolist() == [
        *range(5, 26)
    ]
    assert bands == 21 and {key: found[key] for key in expected} == pytest.approx(expected, rel=1e-5)


def test_any_perturbation_is_a_benchmark_and_other_names_offer_the_nearest(root: Path, run_hsrzoo) -> None:
    arguments = ("bench", "--model", "linear", "--dataset", "cave", "--data-root", root)
    done = run_hsrzoo(
        *arguments, "--metrics", "rmse", "--store", root / "results", "--bench", "gain-both", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert {row["severity"] for row in rows_of(root)} == {"0.5", "0.9", "1.1", "2"}
    refused = run_hsrzoo(*arguments, "--bench", "metamers")
    assert refused.returncode == 2 and "Nearest: metamer" in refused.stderr
