"""Tables of the paper from rows: which rows count, what stands beside them, what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hsrzoo.errors import InputError, StoreError
from hsrzoo.results import SpeedRow
from hsrzoo_benchmark.protocol import CLEAN, Condition
from hsrzoo_benchmark.reproduce import command as reproduce
from hsrzoo_benchmark.reproduce import queues
from hsrzoo_benchmark.reproduce.evidence import Evidence, Place
from hsrzoo_benchmark.reproduce.tables import rows_of, speed_rows, table_spec
from hsrzoo_benchmark.results.reported import _paper, paper_tables
from hsrzoo_benchmark.run.scores import training_cost
from result_rows import rows, typed, write
from site_rows import timed

HOME = Place("cave", "valid", "full-frame")


def values(evidence: Evidence, name: str, condition: Condition = CLEAN) -> list[float]:
    entry = evidence.entry(name, HOME, condition)
    return list(entry.scenes("rmse").values()) if entry else []


def run(*arguments: str) -> Result:
    return CliRunner().invoke(reproduce.command, arguments)


def test_the_newest_weights_and_the_newest_row_of_a_scene_count() -> None:
    old = rows("x", [9, 9, 9, 9], weights="1", day=1)
    new = rows("x", [1, 2, 3, 4], weights="2", day=2)
    again = rows("x", [5], weights="2", day=3)
    assert values(Evidence(typed(new, again, old)), "x") == [5, 2, 3, 4]
    # older weights do not come back where the newest were not scored
    patched = rows("x", [7, 7, 7, 7], condition=("mixed-patch", "16"), weights="1")
    assert values(Evidence(typed(patched, new)), "x", Condition("mixed-patch", "16")) == []


def test_seeds_of_a_run_are_found_by_name_and_only_comparable_ones_taken() -> None:
    names = ["mcga-s2.cave", "mcga-s2.seed-2", "mcga-s2.seed-1", "table-5.full", "table-5.full.seed-1"]
    names.append("mcga-s2.augmented")  # by another recipe: no seed, and the seeds are not its own
    evidence = Evidence(typed(*(rows(name, [1, 1, 1, 1]) for name in names)))
    assert evidence.seeds_of("mcga-s2.cave") == ["mcga-s2.cave", "mcga-s2.seed-1", "mcga-s2.seed-2"]
    assert evidence.seeds_of("table-5.full") == ["table-5.full", "table-5.full.seed-1"]
    assert evidence.seeds_of("mcga-s2.augmented") == ["mcga-s2.augmented"]
    other = rows("table-5.full.seed-2", [1, 1, 1, 1], group="another protocol")
    group = Evidence(typed(rows("table-5.full", [1, 1, 1, 1]), other)).group("table-5.full", HOME)
    assert group is not None and len(group.entries) == 1


def test_cost_is_the_mean_over_seeds_codebooks_included() -> None:
    dear = {"steps": 300, "wall_seconds": 40.0, "cpu_seconds": 30.0}
    evidence = Evidence(typed(rows("x", [1] * 4), rows("x.seed-1", [1] * 4, training=dear)))
    group = evidence.group("x", HOME)
    assert group is not None
    costs = [group.cost(kind) for kind in ("steps", "cpu_seconds", "wall_seconds")]
    assert costs == [200, (10 + 1 + 30) / 2, (20 + 2 + 40) / 2]
    # rows of before do not say, and no package carries these weights
    unknown = Evidence(typed(rows("x", [1] * 4, training=None))).group("x", HOME)
    assert unknown is not None and unknown.cost("steps") is None


def test_what_a_row_says_about_training() -> None:
    config = {
        "training": {"recipe": {"lr": 1.0, "seed": 3}, "steps": 7, "wall_seconds": 2.0, "cpu_seconds": 1.0},
        "codebook": {"stage1": [{"cpu_seconds": 4.0, "wall_seconds": 5.0}, {"cpu_seconds": 6.0}]},
    }
    cost = training_cost(config)
    config["training"]["recipe"]["seed"] = 4
    again = training_cost(config)
    assert cost is not None and again is not None
    digest = cost.pop("recipe_sha256")
    assert len(digest) == 64 and again["recipe_sha256"] == digest  # folds may have a seed each
    assert cost == {
        "steps": 7, "wall_seconds": 2.0, "cpu_seconds": 1.0, "seed": 3,
        "codebook_wall_seconds": 5.0, "codebook_cpu_seconds": 10.0,
    }  # fmt: skip
    assert training_cost({"training": {"method": "closed form"}}) is None and training_cost(None) is None


def test_ours_stand_beside_the_paper_s_with_interval_and_difference() -> None:
    mst = rows("mst-plus-plus.cave", [0.4, 0.4, 0.4, 0.4])
    ours = [*rows("mcga-s2.cave", [0.1, 0.2, 0.1, 0.2]), *rows("mcga-s2.seed-1", [0.3, 0.2, 0.3, 0.2])]
    found = rows_of(table_spec("table-1", "cave"), Evidence(typed(mst, ours)), "cave")
    clean = {row["model"]: row for row in found if row["condition"] == "clean"}
    row = clean["mcga-s2"]
    assert (row["rmse"], row["rmse_paper"], row["mrae_paper"]) == (pytest.approx(0.2), 0.0182, 0.131)
    assert (row["rmse_low"], row["rmse_high"]) == (pytest.approx(0.2), pytest.approx(0.2))
    assert row["rmse_per_seed"] == pytest.approx([0.15, 0.25]) and row["seeds"] == 2
    assert row["gap"] == pytest.approx(-0.2) and row["wins"] == 4
    assert row["reference"] == "mst-plus-plus.cave" and "gap" not in clean["mst-plus-plus"]
    assert clean["agdnet"]["missing"] == "agdnet.cave" and clean["agdnet"]["rmse_paper"] == 0.0473
    tta = next(r for r in found if r["model"] == "mcga-s2 + TTA")
    assert (tta["condition"], tta["rmse_paper"]) == ("gamma paper-plus10", 0.0227)


def test_one_run_stands_for_itself_in_all_ablations() -> None:
    evidence = Evidence(typed(rows("table-5.full", [0.1, 0.2, 0.3, 0.4])))
    where = {"table-3": "2 scales", "table-4": "K = 16 x 16", "figure-3": "50 % gamma"}
    for name, label in where.items():
        there = [row for row in rows_of(table_spec(name, "cave"), evidence, "cave") if not row["missing"]]
        assert [(row["model"], row["job"]) for row in there] == [(label, "table-5.full")]


def test_enmap_stands_in_for_hyspecnet_and_not_for_arad() -> None:
    there = rows("enmap.mcga-s2", [0.1] * 4, dataset="enmap", split="test")
    found = rows_of(table_spec("table-2", "enmap"), Evidence(typed(there)), "enmap")
    row = next(r for r in found if not r["missing"])
    assert (row["model"], row["rmse"], row["rmse_paper"]) == ("mcga-s2", pytest.approx(0.1), 0.0183)
    with pytest.raises(InputError, match="table-1 is not about enmap"):
        table_spec("table-1", "enmap")


def test_every_figure_of_the_paper_s_tables_has_its_place() -> None:
    """Each score of reported.csv appears in the table that it is filed under, once."""
    for name in paper_tables():
        if not name.startswith("table"):
            continue
        filed = [r for r in _paper() if r["table"] == name[-1] and r["bench"] != "speed"]
        printed = []
        for dataset in {row["dataset"] for row in filed}:
            told = rows_of(table_spec(name, dataset), Evidence([]), dataset)
            printed += [v for row in told for k, v in row.items() if k.endswith("_paper") and v is not None]
        assert sorted(printed) == sorted(float(row["value"]) for row in filed), name


def test_the_paper_s_images_a_second_stand_beside_the_newest_times() -> None:
    def time(arch: str, seconds: float, model: str | None = None, day: int = 1) -> SpeedRow:
        return SpeedRow.from_json(timed(
            model or f"{arch}.cave", [seconds] * 3, 256, run=f"r{day}", timestamp=f"2026-01-0{day}"
        ))  # fmt: skip

    times = [time("mcga-s2", 9.0), time("mcga-s2", 0.5, day=2)]
    reference = time("mst-plus-plus", 2.0, "mst-plus-plus.cave:reference", day=2)
    found = speed_rows(Evidence([], [*times, reference]))
    ours = next(row for row in found if row["model"] == "mcga-s2" and row["size"] == "256x256")
    assert (ours["images_s"], ours["faster"], ours["images_s_paper"]) == (2.0, 4.0, 20.2)
    assert next(row for row in found if row["model"] == "hrnet")["missing"] == "hrnet.cave"


@pytest.fixture
def queue(tmp_path: Path, monkeypatch) -> Path:
    folder = tmp_path / "studies"
    folder.mkdir()
    (folder / "small.toml").write_text(
        "".join(f'[[job]]\nname = "table-5.{n}"\ncommands = ["list"]\n' for n in ("plain", "moc"))
    )
    monkeypatch.setattr(queues, "FOLDER", folder)
    return folder / "small.toml"


def test_what_is_missing_is_named_with_the_queue_that_makes_it(queue: Path) -> None:
    made = "`hsrzoo train --queue benchmark/hsrzoo_benchmark/studies/small.toml` makes them"
    assert queues.missing_lines(["table-5.moc", "table-5.plain", "hrnet.cave"]) == [
        f"No rows of table-5.moc, table-5.plain: {made}.",
        "No rows of hrnet.cave: no queue makes them.",
    ]


def test_a_table_without_any_row_exits_with_1(tmp_path: Path, queue: Path) -> None:
    store = write(tmp_path / "store", rows("table-5.plain", [0.1, 0.2, 0.3, 0.4]))
    found = run("table-5", "--store", str(store))
    assert found.exit_code == 0 and "0.2500" in found.stdout and "0.463" in found.stdout
    assert "table-5.moc: `hsrzoo train --queue" in found.stderr
    assert run("table-3", "--store", str(store)).exit_code == 1
    nothing = run("table-3", "--store", str(tmp_path / "no-store"))
    assert isinstance(nothing.exception, StoreError)


def test_json_has_all_figures_and_nothing_else(tmp_path: Path) -> None:
    store = write(tmp_path / "store", rows("table-5.plain", [0.1, 0.2, 0.3, 0.4]))
    told = json.loads(run("table-5", "--store", str(store), "--json").stdout)
    assert [row["rmse"] for row in told if not row["missing"]] == [pytest.approx(0.25)]


def test_run_starts_the_queue_with_the_jobs_that_lack_rows(
    tmp_path: Path, queue: Path, monkeypatch
) -> None:
    store = write(tmp_path / "store", rows("table-5.plain", [0.1, 0.2, 0.3, 0.4]))
    started: list[list[str]] = []
    monkeypatch.setattr(reproduce.subprocess, "run", lambda command, check: started.append(command))
    assert run("table-5", "--store", str(store), "--run").exit_code == 0
    assert [command[1:] for command in started] == [
        ["-m", "hsrzoo", "train", "--queue", str(queue), "--only", "table-5.moc"]
    ]
