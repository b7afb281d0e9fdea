"""The site's folder: figures, provenance, files, and what is refused."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import site_rows
from hsrzoo.errors import HsrzooError, InputError, PluginError, StoreError, UnknownNameError
from hsrzoo_benchmark.results import groups
from hsrzoo_benchmark.results.figures import COLUMNS, Entry, Group, figures
from hsrzoo_benchmark.site import page_data, plots
from hsrzoo_benchmark.site.command import command
from result_rows import typed
from site_rows import scored, timed

A, B = "mcga-s2.cave", "own.b"
PLUS = ("gamma", "paper-plus10")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def made(store: Path, out: Path, *arguments: str) -> dict[str, Any]:
    result = run("--store", store, "-o", out, *arguments)
    if result.exception is not None:
        raise result.exception
    return json.loads((out / "data.json").read_text(encoding="utf-8"))


def described(store: Path) -> dict[str, Any]:
    found = groups.read(store)
    return page_data.describe(found, groups.groups(found.scores))


def entry_of(data: dict[str, Any], model: str, condition: str = "clean") -> dict[str, Any]:
    board = next(b for b in data["boards"] if b["condition"] == condition)
    return next(data["entries"][key] for key in board["entries"] if data["entries"][key]["model"] == model)


def test_every_cell_is_a_figure_of_the_report(tmp_path: Path) -> None:
    rows = (scored(A, [0.1, 0.2, 0.3, 0.5]), scored(B, [0.2, 0.1, 0.4, 0.6]))
    data = described(site_rows.store(tmp_path, rows))
    group = Group(tuple(Entry(tuple(typed(own))) for own in rows))
    seen = 0
    for figure in figures([group]):
        entry = entry_of(data, figure["model"])
        if figure["metric"] in entry["cells"]:
            cell = entry["cells"][figure["metric"]]
            assert [cell[key] for key in ("value", "low", "high", "rank")] == [
                figure[key] for key in ("mean", "low", "high", "rank")
            ]
            seen += 1
    assert seen == 2 * len(site_rows.METRICS)


def test_an_entry_tells_where_its_rows_come_from(tmp_path: Path) -> None:
    entry = entry_of(described(site_rows.store(tmp_path, [scored(A, [0.1, 0.2, 0.3, 0.4])])), A)
    facts = dict(entry["facts"])
    assert facts["commit"] == "0123456789abcdef" and facts["hsrzoo"] == "0.1.0"
    assert facts["weights sha256"] == f"w{A}1" and facts["rows"] == "cave-valid/made-up/0.jsonl"
    assert facts["time"] == "2026-01-01T00:00:00" and facts["training"].startswith("steps 100")
    column = entry["scenes"]["columns"].index("rmse")
    assert [row[column] for row in entry["scenes"]["rows"]] == [0.1, 0.2, 0.3, 0.4]
    assert [row[0] for row in entry["scenes"]["rows"]] == ["a", "b", "c", "d"]


def test_full_protocols_are_there_under_their_hashes(tmp_path: Path) -> None:
    rows = scored(A, [0.1] * 4)
    data = described(site_rows.store(tmp_path, [rows]))
    assert entry_of(data, A)["protocols"] == [rows[0]["protocol_hash"]]
    assert data["protocols"][rows[0]["protocol_hash"]] == json.loads(json.dumps(rows[0]["protocol"]))


def test_commands_of_bundled_weights_are_told_where_the_rows_are_of_these(tmp_path: Path) -> None:
    from hsrzoo_benchmark.tables.markdown import bundled_config

    config = bundled_config("linear.cave")
    assert config is not None
    own = scored("linear.cave", [0.1] * 4, weights_sha256=config["weights_sha256"])
    data = described(site_rows.store(tmp_path, [own, scored("poly.cave", [0.1] * 4)]))
    told = dict(entry_of(data, "linear.cave")["facts"])["training command"]
    assert told == config["training"]["command"]
    assert "training command" not in dict(entry_of(data, "poly.cave")["facts"])


def test_under_four_scenes_there_is_no_interval_and_no_rank(tmp_path: Path) -> None:
    data = described(site_rows.store(tmp_path, [scored(A, [0.1, 0.2, 0.3]), scored(B, [0.3, 0.4, 0.5])]))
    cells = [entry_of(data, model)["cells"]["rmse"] for model in (A, B)]
    assert all(cell["interval"] is cell["rank"] is cell["wins"] is None for cell in cells)
    assert {cell["rank_text"] for cell in cells} == {"too few scenes"}
    assert data["boards"][0]["scenes"] == 3
    assert any("Fewer than 4 scenes" in note for note in data["boards"][0]["notes"])


def test_a_model_with_fewer_scenes_spoils_no_one_elses_figures(tmp_path: Path) -> None:
    full = (scored(A, [0.1, 0.2, 0.3, 0.5]), scored(B, [0.2, 0.1, 0.4, 0.6]))
    alone = described(site_rows.store(tmp_path / "alone", full))
    data = described(site_rows.store(tmp_path / "all", [*full, scored("short", [0.01, 0.01])]))
    for model in (A, B):
        assert entry_of(data, model)["cells"] == entry_of(alone, model)["cells"]
    short = entry_of(data, "short")
    assert short["n"] == 2 and short["cells"]["rmse"]["rank"] is None
    assert any("other scenes" in note for note in data["boards"][0]["notes"])


def test_newest_weights_and_rows_count_and_the_others_are_counted(tmp_path: Path) -> None:
    store = site_rows.store(
        tmp_path,
        [
            scored(A, [0.5] * 4, weights="0", day=1),
            scored(A, [0.4] * 4, day=2),
            scored(A, [0.3] * 4, day=3),
        ],
    )
    data = described(store)
    assert entry_of(data, A)["cells"]["rmse"]["value"] == pytest.approx(0.3)
    assert data["made"]["rows"] == 4 and data["made"]["older"] == 8


def test_marks_of_what_was_learned_elsewhere_or_not_at_all(tmp_path: Path) -> None:
    store = site_rows.store(
        tmp_path,
        [
            scored("a", [0.1] * 4, trained_on="arad", also_trained_on=["enmap"]),
            scored("b [untrained]", [0.1] * 4, trained_on=None, untrained=True),
            scored("c", [0.1] * 4, seen_in_training=True),
        ],
    )
    data = described(store)
    assert entry_of(data, "a")["marks"] == ["out of domain: trained on arad", "codebooks also from enmap"]
    assert entry_of(data, "b [untrained]")["marks"] == ["random weights"]
    assert entry_of(data, "c")["marks"] == ["scored on its own training scenes"]


def test_seeds_of_a_perturbation_are_averaged_and_told(tmp_path: Path) -> None:
    first = scored(A, [0.2] * 4, condition=("noise", "1"))
    second = [{**row, "seed": 1} for row in scored(A, [0.4] * 4, condition=("noise", "1"))]
    entry = entry_of(described(site_rows.store(tmp_path, [first, second])), A, "noise 1")
    assert entry["cells"]["rmse"]["value"] == pytest.approx(0.3)
    assert entry["marks"] == ["2 seeds of the perturbation"] and len(entry["scenes"]["rows"]) == 8


def test_values_of_the_paper_stand_beside_ours(tmp_path: Path) -> None:
    rows = scored(A, [0.1] * 4, dataset="arad", protocol="ntire2022", trained_on="arad")
    paper = entry_of(described(site_rows.store(tmp_path, [rows])), A)["paper"]
    assert paper["rmse"]["text"] == "0.01820"
    assert paper["rmse"]["note"].startswith("reported by the paper, table 1")


def test_nan_is_text_and_the_data_strict_json(tmp_path: Path) -> None:
    store = site_rows.store(tmp_path / "s", [scored(A, [0.1, float("nan"), 0.2, 0.3])])
    data = made(store, tmp_path / "site")
    assert entry_of(data, A)["cells"]["rmse"] == {"value": None, "text": "NaN on 1 of 4 scenes"}
    assert "NaN" in entry_of(data, A)["scenes"]["rows"][1]
    for name in ("data.json", "index.html"):
        assert not re.search(r":\s*NaN", (tmp_path / "site" / name).read_text(encoding="utf-8"))


def test_rows_and_figures_lie_beside_the_page(tmp_path: Path) -> None:
    rows = scored(A, [0.1, 0.2, 0.3, 0.4])
    store = site_rows.store(tmp_path / "s", [rows, scored(B, [0.2] * 4)], [timed(A, [0.5] * 10)])
    made(store, tmp_path / "site")
    lines = [json.loads(line) for line in (tmp_path / "site" / "rows.jsonl").read_text().splitlines()]
    assert len(lines) == 9
    kept = [{k: v for k, v in line.items() if k != "stored_in"} for line in lines]
    assert kept[0] == json.loads(json.dumps(rows[0]))
    with (tmp_path / "site" / "figures.csv").open(newline="") as file:
        figures = list(csv.DictReader(file))
    assert tuple(figures[0]) == COLUMNS
    (one,) = [f for f in figures if (f["model"], f["metric"]) == (A, "rmse")]
    assert float(one["mean"]) == pytest.approx(0.25)


def test_speed_has_boards_with_ratios_out_of_memory_and_few_runs(tmp_path: Path) -> None:
    reference = "mst-plus-plus.cave:reference"
    times = [
        timed(A, [0.5] * 10),
        timed(reference, [2.0] * 3, architecture="mst-plus-plus"),
        timed(B, [], status="OOM"),
    ]
    data = described(site_rows.store(tmp_path, [scored(A, [0.1] * 4)], times))
    where = "512 x 512 pixels"
    assert entry_of(data, A, where)["cells"][f"speedup {reference}"]["value"] == pytest.approx(4.0)
    assert entry_of(data, B, where)["cells"]["p50_ms"] == {"value": None, "text": "OOM"}
    assert entry_of(data, reference, where)["cells"]["p50_ms"]["interval"] == "3 runs"


def test_points_of_a_plot_are_means_over_costs(tmp_path: Path) -> None:
    rows = (scored(A, [0.1, 0.2, 0.3, 0.4]), scored(B, [0.5] * 4), scored("untimed", [0.1] * 4))
    store = groups.read(site_rows.store(tmp_path, rows, [timed(A, [0.5] * 10), timed(B, [0.25] * 10)]))
    found = plots.speeds(groups.speed_groups(store))
    assert found is not None and "512 x 512" in found[0]
    points = plots.points(groups.groups(store.scores)[0], found[1])
    assert {p.label: (p.x, pytest.approx(p.mean)) for p in points} == {A: (2.0, 0.25), B: (4.0, 0.5)}


def test_sizes_are_counted_for_bundled_weights_alone_without_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # an import of it fails
    from hsrzoo_benchmark.tables.markdown import bundled_config

    config = bundled_config("linear.cave")
    assert config is not None
    own = scored("linear.cave", [0.1] * 4, weights_sha256=config["weights_sha256"])
    sizes = plots.sizes(groups.read(site_rows.store(tmp_path, [own, scored("poly.cave", [0.1] * 4)])))
    assert list(sizes) == ["linear.cave"]
    assert sizes["linear.cave"] == 3 * 31


def test_the_same_store_gives_the_same_files(tmp_path: Path) -> None:
    rows = (scored(A, [0.1, 0.2, 0.3, 0.4]), scored(B, [0.2] * 4))
    store = site_rows.store(tmp_path / "s", rows, [timed(A, [0.5] * 10), timed(B, [0.25] * 10)])
    for name in ("one", "two"):
        made(store, tmp_path / name)
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) == 5
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_site_is_written_anew_and_forgets_old_pictures(tmp_path: Path) -> None:
    rows, times = (scored(A, [0.1] * 4), scored(B, [0.2] * 4)), [timed(A, [0.5]), timed(B, [0.2])]
    with_times = site_rows.store(tmp_path / "a", rows, times)
    out = tmp_path / "site"
    made(with_times, out)
    assert len(list((out / "pictures").iterdir())) == 1
    made(site_rows.store(tmp_path / "b", rows), out)
    assert list((out / "pictures").iterdir()) == []


def test_foreign_files_are_refused_and_kept(tmp_path: Path) -> None:
    store, out = site_rows.store(tmp_path / "s", [scored(A, [0.1] * 4)]), tmp_path / "site"
    out.mkdir()
    (out / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"holds other files.*thesis\.tex.*--overwrite"):
        made(store, out)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]
    made(store, out, "--overwrite")
    assert (out / "thesis.tex").read_text() == "mine" and (out / "index.html").exists()


def test_a_foreign_page_is_refused(tmp_path: Path) -> None:
    store, out = site_rows.store(tmp_path / "s", [scored(A, [0.1] * 4)]), tmp_path / "site"
    out.mkdir()
    (out / "index.html").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        made(store, out)


@pytest.mark.parametrize("there", [False, True])
def test_a_store_that_is_missing_or_empty_is_refused(tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "records").mkdir()
    with pytest.raises(StoreError, match=r"records holds no rows.*--store DIR"):
        made(tmp_path / "records", tmp_path / "site")
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (("--dataset", "cavee"), "cave"),
        (("--dataset", "cave", "--split", "valdi"), "valid"),
        (("--model", "mcga-s3.cave"), A),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(
    tmp_path: Path, arguments: tuple[str, ...], near: str
) -> None:
    store = site_rows.store(tmp_path / "s", [scored(A, [0.1] * 4)])
    with pytest.raises(UnknownNameError, match=f"Nearest: {re.escape(near)}"):
        made(store, tmp_path / "site", *arguments)


def test_without_matplotlib_the_extra_is_named_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = site_rows.store(tmp_path / "s", [scored(A, [0.1] * 4)])
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PluginError, match=r"hsrzoo\[report\]"):
        made(store, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    store = site_rows.store(tmp_path / "s", [scored(A, [0.1] * 4)])
    (tmp_path / "file").write_text("")
    with pytest.raises(HsrzooError):
        made(store, tmp_path / "file" / "site")


def test_rows_of_bench_become_a_site_without_any_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site_rows.store(tmp_path / "results", [scored(A, [0.1] * 4)])
    monkeypatch.chdir(tmp_path)
    done = run()
    assert done.exit_code == 0 and Path("site/index.html").is_file() and "site/index.html" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("-o", "site", "--markdown"), ("--markdown", "--scenes"), ("--markdown", "--scene", "a")],
)
def test_a_site_or_tables_but_not_both(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2 and "Usage" in result.stderr


def test_trainings_that_differ_in_their_seed_are_one_entry_with_its_spread(tmp_path: Path) -> None:
    rows = [
        scored(A, [0.1, 0.2, 0.3, 0.4]),
        scored("mcga-s2.seed-1", [0.2, 0.4, 0.3, 0.5]),
        scored(B, [0.3] * 4),
        scored(f"{B}.seed-1", [0.1] * 4),
        scored("lost.seed-1", [0.5] * 4),  # without its first training
    ]
    data = described(site_rows.store(tmp_path, rows))
    board = data["boards"][0]
    assert {data["entries"][key]["model"] for key in board["entries"]} == {A, B, "lost.seed-1"}
    ours, other = entry_of(data, A), entry_of(data, B)
    assert ours["cells"]["rmse"]["value"] == pytest.approx(0.3)
    assert ours["cells"]["rmse"]["spread"] == "0.2500 to 0.3500"
    assert other["cells"]["rmse"]["spread"] == "0.1000 to 0.3000" and other["cells"]["rmse"]["rank"] == 1
    assert "2 trainings" in ours["marks"] and not any("perturbation" in mark for mark in ours["marks"])
    assert ours["scenes"]["columns"][1] == "training" and len(ours["scenes"]["rows"]) == 8
    assert "spread" not in entry_of(data, "lost.seed-1")["cells"]["rmse"]


def test_ablations_and_other_ways_of_running_are_shown_when_asked_for(tmp_path: Path) -> None:
    berlin: dict[str, Any] = {"dataset": "berlin"}
    rows = [
        scored(A, [0.2] * 4),
        scored(f"{A} [consistent nikon-d5100]", [0.1] * 4),
        scored(A, [0.2] * 4, tta=True),
        scored("table-3.scales-1", [0.1] * 4),
        scored("mine", [0.3] * 4),
        scored(A, [0.2] * 4, **berlin),
        scored("linear.general", [0.1] * 4, **berlin),
        scored(A, [0.2] * 4, condition=PLUS),
        scored(A, [0.1] * 4, condition=PLUS, tta=True),
    ]
    data = described(site_rows.store(tmp_path, rows))
    shown = {
        (board["place"], board["condition"]): {
            data["entries"][key]["model"] for key in board["entries"] if not data["entries"][key]["more"]
        }
        for board in data["boards"]
    }
    assert shown["cave/valid", "clean"] == {A, "mine"}
    assert shown["berlin/valid", "clean"] == {A, "linear.general"}
    assert {A, f"{A} + TTA"} in shown.values()
    assert entry_of(data, A)["cells"]["rmse"]["rank"] == 1, "ranked among those that are shown"
    assert entry_of(data, "table-3.scales-1")["cells"]["rmse"]["rank"] is None


def test_a_board_of_nothing_but_ablations_shows_them(tmp_path: Path) -> None:
    data = described(site_rows.store(tmp_path, [scored("table-3.scales-1", [0.1] * 4)]))
    assert not entry_of(data, "table-3.scales-1")["more"]
