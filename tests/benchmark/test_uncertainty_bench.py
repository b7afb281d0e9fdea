"""``--bench uncertainty``: columns by hand, conditions, and the table."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import Camera
from hsrzoo.datasets.base import Scene
from hsrzoo.errors import WeightsError
from hsrzoo.models.onnx_runtime import OnnxModel
from hsrzoo.perturb import perturb
from hsrzoo.spec import PerturbationContext
from hsrzoo_benchmark.plan.conditions import conditions_of
from hsrzoo_benchmark.protocol import Protocol
from hsrzoo_benchmark.reproduce import intervals
from hsrzoo_benchmark.reproduce.evidence import Evidence
from hsrzoo_benchmark.results.groups import groups
from hsrzoo_benchmark.run import scores, uncertainty
from hsrzoo_benchmark.run.uncertainty import COLUMNS, sparsification
from hsrzoo_benchmark.site import coverage
from hsrzoo_benchmark.site.page_data import _columns
from hsrzoo_benchmark.tables.terminal import interval_tables
from result_rows import rows, typed

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.uniform(0.3, 0.7, (31, 6, 8)).astype(np.float32)
RGB = RANDOM.random((3, 6, 8)).astype(np.float32)


class Known:
    """Intervals of +- 0.1 times a factor at every level, wherever ``scale`` says nothing else."""

    scenes = 20

    def __init__(self, scale: np.ndarray | None = None) -> None:
        self.given = np.full(TRUTH.shape, 0.1, np.float32) if scale is None else scale

    def factors(self, level: float) -> np.ndarray:
        return np.full(31, {0.5: 0.5, 0.8: 0.8, 0.9: 1.0, 0.95: 2.0}[level])

    def scale(self, rgb: Any, cube: Any) -> Any:
        import torch

        return torch.from_numpy(self.given)[None]

    def unfamiliar_at(self, rgb: Any) -> Any:
        import torch

        return torch.linspace(0.951, 1, 48).reshape(1, 6, 8)


def measured(pred: np.ndarray, known: Known, truth: np.ndarray = TRUTH) -> tuple[dict[str, float], Any]:
    model: Any = SimpleNamespace(require_intervals=lambda level: known)
    scene = Scene("a", RGB, truth)
    protocol = Protocol(
        "full-frame", bands=VISIBLE_31, perturbation="uncertainty", severity="clean",
        metrics=(("rmse", "1", ""),),
    )  # fmt: skip
    columns, per_band, _ = scores.score(scene, scene, pred, protocol, model)
    return columns, per_band["coverage"]


def test_coverage_width_and_score_are_those_of_a_loop() -> None:
    error = RANDOM.uniform(-0.15, 0.15, TRUTH.shape).astype(np.float32)
    truth = TRUTH.copy()
    truth[4, :2] = np.nan
    truth[5] = np.nan
    found, per_band = measured(TRUTH + error, Known(), truth)
    there = ~np.isnan(truth)
    inside = np.abs(error) <= 0.1
    assert found["coverage"] == pytest.approx(inside[there].mean())
    assert found["width"] == pytest.approx(0.2, rel=1e-5)
    outside = (np.abs(error) - 0.1).clip(0)[there]
    assert found["interval_score"] == pytest.approx(0.2 + 20 * outside.mean(), rel=1e-4)
    assert per_band[3] == pytest.approx(inside[3].mean())
    assert per_band[4] == pytest.approx(inside[4, 2:].mean())
    assert np.isnan(per_band[5])
    assert 0 < found["ause"] < 1  # of the pixels and bands that have data
    gaps = [
        abs((np.abs(error) <= 0.1 * factor)[there].mean() - level)
        for level, factor in ((0.5, 0.5), (0.8, 0.8), (0.9, 1), (0.95, 2))
    ]
    assert found["calibration_error"] == pytest.approx(np.mean(gaps), abs=1e-6)
    assert found["unlike"] == pytest.approx(np.mean(np.linspace(0.951, 1, 48) > 0.99))


def test_the_lower_end_is_not_below_0() -> None:
    found, _ = measured(np.zeros_like(TRUTH), Known())
    assert found["width"] == pytest.approx(0.1)


def test_a_scale_that_orders_pixels_as_their_errors_has_no_area() -> None:
    error = np.tile(RANDOM.uniform(0.01, 0.1, (6, 8)).astype(np.float32), (31, 1, 1))
    right, _ = measured(TRUTH + error, Known(error))
    wrong, _ = measured(TRUTH + error, Known(0.2 - error))
    assert right["ause"] == pytest.approx(0, abs=1e-6)
    assert right["scale_correlation"] == pytest.approx(1, abs=1e-3)
    assert wrong["ause"] > 0.3
    assert wrong["scale_correlation"] == pytest.approx(-1, abs=1e-3)
    assert right["ause_brightness"] == wrong["ause_brightness"] > 0


def test_the_sparsification_curve_by_hand() -> None:
    squares = np.array([4.0, 1.0, 0.0, 1.0])
    found = sparsification(squares, np.array([3.0, 2.0, 0.0, 1.0]))
    mean = np.sqrt(6 / 4)
    expected = [mean] * 3 + [np.sqrt(2 / 3)] * 5 + [np.sqrt(0.5)] * 5 + [0] * 7
    assert np.allclose(found, np.array(expected) / mean)


def test_conditions_are_the_scenes_exposures_cameras_and_metamers() -> None:
    names = [str(condition) for condition in conditions_of("uncertainty")]
    assert names[:3] == [f"uncertainty {s}" for s in ("clean", "gain-both-0.5", "gain-both-2")]
    assert all(name.startswith("uncertainty-rendered ") for name in names[3:])
    assert names[-1] == "uncertainty-rendered metamer-1"


def test_conditions_change_a_scene_as_their_perturbations_do() -> None:
    camera = Camera.named("nikon-d5100")
    scene = Scene("a", camera.render(TRUTH, VISIBLE_31, bits=8).astype(np.float32), TRUTH)
    context = PerturbationContext(VISIBLE_31, camera, 8)
    same, _ = perturb("uncertainty", "clean", scene, 0, 8)
    assert np.array_equal(same.rgb, scene.rgb)
    assert np.array_equal(same.cube, scene.cube)
    half, _ = perturb("uncertainty", "gain-both-0.5", scene, 0, 8)
    assert np.allclose(half.cube, scene.cube / 2)
    other, info = perturb("uncertainty-rendered", "sigma-sdmerill", scene, 0, 8, context)
    expected, _ = perturb("camera", "sigma-sdmerill", scene, 0, 8, context)
    assert np.array_equal(other.rgb, expected.rgb)
    assert info["response"] == "sigma-sdmerill"


def test_a_model_without_a_calibration_is_left_out_with_the_reason() -> None:
    def refuse(level: float) -> None:
        raise WeightsError("not calibrated")

    model: Any = SimpleNamespace(require_intervals=refuse)
    assert "not calibrated" in str(uncertainty.reason_without_intervals(model))
    model = SimpleNamespace(require_intervals=lambda level: Known())
    assert uncertainty.reason_without_intervals(model) is None
    exported: Any = object.__new__(OnnxModel)
    exported.name = "onnx:a.onnx"
    assert "exported files are not scored" in str(uncertainty.reason_without_intervals(exported))


def test_the_table_has_the_worst_scene_beside_the_mean() -> None:
    common = {
        "bench": "uncertainty", "dataset": "cave", "split": "valid", "protocol": "full-frame", "hash": "h",
        "condition": "uncertainty clean", "severity_value": None, "model": "m", "tta": False, "scenes": 4,
        "seeds": 1, "rank": None, "wins": None, "low": None, "high": None, "nan_scenes": 0,
        "reported": None, "rgb_mean_change": None, "trained_on": "cave", "also_trained_on": None,
        "seen_in_training": False,
    }  # fmt: skip
    columns = (*COLUMNS, uncertainty.WORST)
    figures = [{**common, "metric": name, "mean": 0.1 + i / 100} for i, name in enumerate(columns)]
    [table] = interval_tables(figures)
    keys = list(table.columns)
    assert keys[keys.index("coverage") + 1] == uncertainty.WORST
    assert set(columns) <= set(keys)
    assert len(table.rows) == 1
    assert all(table.rows[0][name] for name in columns)


def made_rows(model: str, coverage: list[float], condition: tuple[str, str], **changes: Any) -> list[Any]:
    columns = {name: [0.1, 0.2, 0.3, 0.4] for name in COLUMNS}
    named = dict(zip(("perturbation", "severity"), condition, strict=True))
    bands = BandSet((500.0, 600.0))
    protocol = Protocol("full-frame", bands=bands, metrics=(("rmse", "1", ""),), **named).to_json()
    made = rows(
        model, [0.1] * 4, condition=condition, metrics={**columns, "coverage": coverage},
        per_band={"coverage": [0.6, float("nan")]}, **changes,
    )  # fmt: skip
    return [{**row, "protocol": protocol} for row in made]


MADE = (
    made_rows("mcga-plus.cave", [0.95, 0.9, 0.92, 0.93], ("uncertainty", "clean")),
    made_rows("mcga-plus.cave", [0.7, 0.5, 0.6, 0.7], ("uncertainty-rendered", "metamer-1")),
    made_rows("mcga-plus.cave", [0.8] * 4, ("uncertainty", "clean"), dataset="berlin", split="whole"),
    made_rows("mcga-plus.cave", [0.1] * 4, ("uncertainty", "gain-both-2"), dataset="berlin"),
)


def test_the_page_names_in_words_where_coverage_is_below_75_percent(tmp_path: Path) -> None:
    evidence = Evidence(typed(*MADE))
    _, warning, table = intervals.sections(evidence)
    assert warning.endswith(": cave/valid, metamers: mcga-plus.cave 62.5 %.")
    camera = made_rows("poly.cave", [0.5] * 4, ("uncertainty-rendered", "cie-1931"))
    assert intervals.low_coverages(Evidence(typed(*MADE, camera))) == {
        "mcga-plus.cave": {"cave/valid, metamers": pytest.approx(0.625)},
        "poly.cave": {"cave/valid, camera cie-1931, not mapped": pytest.approx(0.5)},
    }
    assert [line.count("| mcga-plus.cave |") for line in table.splitlines()] == [0, 0, 1, 1, 1]
    assert "| cave/valid | mcga-plus.cave | 4 | 92.5 % | 90.0 % | 60.0 % |" in table
    assert "| 60 % |" in intervals.by_band(evidence)[1]
    assert intervals.sections(Evidence([])) == intervals.warnings(Evidence([])) == []
    found = intervals.coverages(evidence)
    assert list(found["mcga-plus.cave"]) == ["cave/valid", "cave/valid, metamers", "berlin/whole"]
    assert coverage.describe(found).endswith("berlin/whole 80 % (mcga-plus.cave)")
    assert coverage.draw(found, tmp_path / "a.svg").stat().st_size > 1000


def test_the_site_has_columns_and_a_picture_of_intervals() -> None:
    [group] = groups(typed(MADE[0]))
    heads = [column["heading"] for column in _columns(group)]
    assert heads[:3] == ["covered by 90 %", "worst scene", "mean width ↓"]
    assert coverage.coverages([group]) == {
        ("cave", "valid"): {"mcga-plus.cave": {"as they are": [0.95, 0.9, 0.92, 0.93]}}
    }
