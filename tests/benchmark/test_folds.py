"""Cross-validation: rows of five weights of a model are one result, and none of them saw its scenes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

import site_rows
from hsrzoo.errors import StoreError, WeightsError
from hsrzoo.results import POOLED, newest_weights, pool_folds
from hsrzoo_benchmark.plan.cells import Source, reason_not_scored
from hsrzoo_benchmark.reproduce import report
from hsrzoo_benchmark.reproduce.evidence import Evidence
from hsrzoo_benchmark.results import groups
from hsrzoo_benchmark.results.figures import figures
from hsrzoo_benchmark.site.page_data import describe
from hsrzoo_benchmark.site.scenes import sections
from hsrzoo_benchmark.tables import markdown
from result_rows import folds, rows, typed
from site_rows import scored

MST, MCGA = "mst-plus-plus.cave-cv", "mcga-s2.cave-cv"
VALUES = np.random.default_rng(0).uniform(0.02, 0.04, (5, 4)).tolist()
OTHERS = np.add(VALUES, [0.001, 0.002, 0.001, 0.002]).tolist()


def test_five_weights_are_one_result_over_all_scenes(tmp_path: Path) -> None:
    site_rows.store(tmp_path, [folds(MST, VALUES, scored), folds(MCGA, OTHERS, scored)])
    (group,) = groups.groups(groups.read(tmp_path).scores)
    assert group.place == ("cave", POOLED) and not group.apart
    first, second = (figure for figure in figures([group]) if figure["metric"] == "rmse")
    assert (first["model"], first["scenes"], first["weights_sha256"]) == (MST, 20, None)
    interval = stats.t.interval(0.95, 19, np.mean(VALUES), stats.sem(np.ravel(VALUES)))
    assert (first["mean"], first["low"], first["high"]) == pytest.approx((np.mean(VALUES), *interval))
    assert (first["rank"], second["rank"]) == (1, 2)  # the difference is the same in every fold: paired
    text = next(iter(describe(groups.read(tmp_path), [group])["entries"].values()))["facts"]
    assert dict(text)["weights sha256"] == "; ".join(f"w{MST}{k}" for k in range(5))


def test_weights_of_a_fold_replace_those_of_the_same_fold_alone() -> None:
    again = folds(MST, OTHERS, weights_sha256="new", model_sha256="new", day=2)[4:8]
    found = pool_folds(newest_weights(typed(folds(MST, VALUES), again, rows(MST, [0.5] * 4))))
    new = {row.scene for row in found if row.model_sha256 == "new"}
    assert new == {row["scene"] for row in again} and len(found) == 24
    assert {row.split for row in found} == {POOLED, "valid"}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"seen_in_training": True}, "trained on its scenes"),
        ({"training": {"recipe_sha256": "another"}}, "another recipe"),
    ],
)
def test_weights_that_do_not_belong_together_are_left_out(change: dict[str, Any], why: str) -> None:
    stored = folds(MST, VALUES)
    stored[:4] = [{**row, **change} for row in stored[:4]]
    with pytest.warns(UserWarning, match=rf"{MST} on fold-0 \({why}"):
        assert len(pool_folds(typed(stored))) == 16


@pytest.mark.parametrize("again", [20, 4])
def test_weights_that_a_later_version_scored_again_are_of_the_same_recipe(again: int) -> None:
    gain = folds(
        MST, VALUES, condition=("gain-both", "2"), training={"recipe_sha256": "of a later version"}, day=2
    )[:again]
    assert len(pool_folds(typed(folds(MST, VALUES), gain))) == 20 + again


def test_a_store_in_which_no_row_counts_is_an_error(tmp_path: Path) -> None:
    site_rows.store(tmp_path, [rows(MST, [0.1] * 4)])  # whose protocol has no metrics
    with pytest.raises(StoreError, match=f"No row in {tmp_path} counts"):
        groups.read(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        {"training": {"dataset": "cave", "scenes": ["a", "b"]}},
        {"training": {"dataset": "cave", "scenes": ["b"], "extra": [{"dataset": "cave", "scenes": ["a"]}]}},
        {"training": {}, "codebook": {"stage1": [{"dataset": "cave", "scenes": ["a", "b"]}]}},
    ],
)
def test_a_fold_is_not_scored_with_weights_that_saw_it(config: dict[str, Any]) -> None:
    dataset: Any = SimpleNamespace(name="cave", bands=SimpleNamespace(require_same=lambda *_: None))
    spec: Any = SimpleNamespace(name="cave", fit=None)
    model: Any = SimpleNamespace(name=MST, config=config, bands=None, spec=spec, weights_sha256="w")

    def reason(split: str, scene: str) -> Any:
        return reason_not_scored(model, Source(dataset, spec, split, (scene,), "f"), resample=False)

    refused = reason("fold-1", "a")
    assert isinstance(refused, WeightsError) and "--split without-fold-1" in str(refused)
    assert reason("fold-1", "c") is None and reason("train", "a") is None  # there, a row is marked


def test_tables_of_bundled_weights_begin_with_cross_validation(tmp_path: Path) -> None:
    own, few, trial = scored("mst-plus-plus.cave", [0.1] * 4), VALUES[:2], "mst-plus-plus.trial"
    cross_validated = [folds(MST, VALUES, scored), folds(MCGA, few, scored), folds(trial, VALUES, scored)]
    site_rows.store(tmp_path, [own, *cross_validated])
    text = markdown.render(groups.of_bundled(groups.read(tmp_path)))
    assert text.startswith("cave/cv, 20 scenes, protocol full-frame (hash 000000000000)")
    table, _, rest = text.partition("cave/valid, 4 scenes")
    assert f"| {MST} | {np.mean(VALUES):#.4g} (" in table and "trial" not in text and MST not in rest
    assert "| mst-plus-plus.cave | 0.1000 (" in rest and f"| {MCGA}" not in table
    assert f"Scored on other folds: {MCGA}." in table


def test_the_report_has_paired_differences_of_models_with_all_folds() -> None:
    evidence = Evidence(typed(folds(MST, VALUES), folds(MCGA, OTHERS), folds("gmsr.cave-cv", VALUES[:3])))
    text = report.pages(evidence)["results/networks.md"]
    assert "Scores over the 20 training scenes" in text
    gap = stats.t.interval(0.95, 19, 0.0015, stats.sem(np.subtract(OTHERS, VALUES).ravel()))
    line = next(line for line in text.splitlines() if line.startswith(f"| {MCGA} | +"))
    assert line.startswith(f"| {MCGA} | +0.001500 (+{gap[0]:#.4g} to +{gap[1]:#.4g}), 0/20 |")
    assert "Not scored on all folds: gmsr.cave-cv (12 scenes)." in text
    assert "20 training scenes" not in "".join(
        report.pages(Evidence(typed(rows("mst-plus-plus.cave", [0.1] * 4)))).values()
    )


def test_pictures_of_scenes_need_one_set_of_weights(tmp_path: Path) -> None:
    site_rows.store(tmp_path, [folds(MST, VALUES, scored)])
    with pytest.raises(StoreError, match="no scores of undisturbed images"):
        sections(groups.read(tmp_path), tmp_path, (), None, {})
