"""The tables of docs/tables.md: stored rows in, Markdown out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import site_rows
from hsrzoo.errors import InputError, StoreError, UnknownNameError
from hsrzoo_benchmark.reproduce.evidence import Evidence
from hsrzoo_benchmark.reproduce.report import pages
from hsrzoo_benchmark.results import groups
from hsrzoo_benchmark.results.figures import COLUMNS, figures
from hsrzoo_benchmark.site import page_data
from hsrzoo_benchmark.site.command import command
from hsrzoo_benchmark.tables import markdown, terminal
from site_rows import scored

ROOT = Path(__file__).parents[2]
PLUS = ("gamma", "paper-plus10")
A, B = "mcga-s2.cave", "linear.cave"


def speed(model: str, metric: str, mean: float | str, size: int = 512, **changes: Any) -> dict[str, Any]:
    base = {
        "bench": "speed", "condition": f"{size}x{size}", "model": model, "metric": metric, "mean": mean,
        "scenes": 10, "reference": None, "reported": None, "device": "AMD", "threads": 2,
        "memory_limit_gib": 4.0,
    }  # fmt: skip
    return {**dict.fromkeys(COLUMNS), **base, **changes}


def rendered(root: Path, *scores: Any, times: Any = ()) -> str:
    return markdown.render(groups.of_bundled(groups.read(site_rows.store(root, scores, times))))


def lines_of(text: str, *beginnings: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(beginnings)]


def test_means_intervals_wins_and_ranks_are_those_of_the_report(tmp_path: Path) -> None:
    text = rendered(tmp_path, scored(B, [0.4, 0.5, 0.6, 0.7]), scored(A, [0.1, 0.2, 0.3, 0.5]))
    found = figures(groups.groups(groups.read(tmp_path).scores))
    for model in (A, B):
        figure = next(f for f in found if f["model"] == model and f["metric"] == "rmse")
        cell = lines_of(text, f"| {model} | ")[0].split(" | ")[1]
        assert cell.startswith(f"{figure['mean']:#.4g} ({figure['low']:#.4g} to {figure['high']:#.4g}")
        assert cell.endswith(f"#{figure['rank']}")
    assert ", 0/4) #2" in lines_of(text, f"| {B}")[0]
    assert text.startswith("cave/valid, 4 scenes, protocol full-frame (hash ")


def test_no_table_parts_models_that_differ_by_rounding(tmp_path: Path) -> None:
    values = [0.1, 0.2, 0.3, 0.5]
    text = rendered(tmp_path, scored(A, values), scored(B, [value * (1 + 1e-9) for value in values]))
    current = groups.read(tmp_path)
    entries = page_data.describe(current, groups.groups(current.scores))["entries"]
    lines = lines_of(text, f"| {A} | 0.2", f"| {B} | 0.2")
    assert [line.split(" | ")[1].rpartition(" ")[2] for line in lines] == ["#1", "#1"]
    assert {entry["cells"]["rmse"]["rank_text"] for entry in entries.values()} == {"#1"}
    report = pages(Evidence.read(tmp_path))["results/networks.md"]
    assert len(re.findall(r"0\.2750(?: \([^)]*\))? #1 ", report)) == 2 and "#2" not in report
    (table,) = terminal.score_tables(figures(groups.groups(current.scores)), ["rmse"])
    assert [row["rmse"].partition("\n")[0] for row in table.rows] == ["0.2750  #1"] * 2


def test_models_stand_in_the_order_of_their_mean_rmse_whatever_the_order_of_rows(tmp_path: Path) -> None:
    text = rendered(tmp_path, scored(B, [0.4] * 4), scored("poly.cave", [0.3] * 4), scored(A, [0.2] * 4))
    assert [line.split(" | ")[0] for line in lines_of(text, "| ") if ".cave" in line][:3] == [
        f"| {name}" for name in (A, "poly.cave", B)
    ]


def test_consistent_and_queue_runs_are_left_out_and_change_no_rank(tmp_path: Path) -> None:
    own = (scored(A, [0.2, 0.3, 0.3, 0.3]), scored(B, [0.4] * 4))
    better = ("mcga-s2.cave [consistent nikon-d5100]", "mcga-s2.seed-1")
    others = [scored(name, [0.1] * 4) for name in better]
    assert rendered(tmp_path / "with", *own, *others) == rendered(tmp_path / "without", *own)


def test_brightness_shows_adaptation_and_clean_images_do_not(tmp_path: Path) -> None:
    plus: dict[str, Any] = {"condition": PLUS, "bench": "brightness"}
    text = rendered(
        tmp_path,
        scored(A, [0.2] * 4),
        scored(A, [0.1] * 4, tta=True),
        scored(A, [0.4] * 4, **plus),
        scored(A, [0.3] * 4, tta=True, **plus),
    )
    clean, disturbed, _ = lines_of(text, f"| {A} |")  # the last one is what its training took
    assert clean.startswith(f"| {A} | 0.2000 (0.2000 to 0.2000) #1 |")
    assert disturbed == f"| {A} | n/a | n/a | n/a | 0.4000 (0.4000 to 0.4000, 0/4) #2 |"
    assert lines_of(text, f"| {A} + TTA") == [
        f"| {A} + TTA | n/a | n/a | n/a | 0.3000 (0.3000 to 0.3000) #1 |"
    ]


def test_columns_of_gain_both_and_the_floor_row_appear_with_their_rows(tmp_path: Path) -> None:
    dark: dict[str, Any] = {"bench": "brightness", "condition": ("gamma", "paper-minus10")}
    half: dict[str, Any] = {"bench": "brightness", "condition": ("gain-both", "0.5")}
    floor = {"rmse_rescaled_truth": [0.25] * 4}
    own = scored(A, [0.2] * 4)
    before = rendered(tmp_path / "before", own, scored(A, [0.4] * 4, **dark))
    assert "image and truth" not in before and "truth rescaled" not in before
    after = rendered(
        tmp_path / "after", own, scored(A, [0.4] * 4, **dark, metrics=floor), scored(A, [0.1] * 4, **half)
    )
    assert lines_of(after, "| RMSE ↓")[0].endswith("| image and truth x 0.5 |")
    assert lines_of(after, f"| {A} |")[1].endswith("| 0.1000 (0.1000 to 0.1000) #1 |")
    (line,) = lines_of(after, "| truth rescaled to the brightness seen")
    assert line.split(" | ")[3].startswith("0.2500") and "#" not in line


def test_fewer_than_four_scenes_have_no_interval_and_no_rank(tmp_path: Path) -> None:
    text = rendered(tmp_path, scored(A, [0.2, 0.3, 0.4]), scored(B, [0.5, 0.5, 0.5]))
    assert lines_of(text, f"| {A} |")[0].startswith(f"| {A} | 0.3000 too few scenes |")
    assert "#" not in "".join(lines_of(text, "| mcga", "| linear"))


def test_a_failed_network_is_shown_as_nan(tmp_path: Path) -> None:
    text = rendered(tmp_path, scored(A, [0.2, float("nan"), 0.4, 0.2]), scored(B, [0.5] * 4))
    assert lines_of(text, f"| {A} |")[0].startswith(f"| {A} | NaN | NaN |")


def test_metamers_have_a_table_of_their_own(tmp_path: Path) -> None:
    extra = {name: [0.75] * 4 for name in ("rmse_clean", "unseen_clean", "unseen", "colour_memory")}
    root = [0.1] * 4
    text = rendered(tmp_path, scored(A, root), scored(A, root, condition=("metamer", "1"), metrics=extra))
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("| same picture"))
    heads = ("RMSE, metamers 0.5 ↓", "RMSE, metamers 1 ↓", "unseen part explained ↑", "on metamers 1")
    assert lines[first].endswith(f"| {' | '.join(heads)} | colour memory |")
    told = "0.7500 (0.7500 to 0.7500)"
    assert lines[first + 2] == f"| {A} | n/a | 0.1000 (0.1000 to 0.1000) #1 | {told} | {told} | {told} |"


def test_remarks_on_what_a_model_learned_from() -> None:
    base = {"bench": "accuracy", "dataset": "cave", "trained_on": "cave", "also_trained_on": None,
            "seen_in_training": False}  # fmt: skip
    rows = [
        {**base, "model": "a", "also_trained_on": "indian-pines"},
        {**base, "model": "b", "trained_on": "arad"},
        {**base, "model": "c", "trained_on": None, "seen_in_training": True},
    ]
    assert markdown.remarks(rows, ["a", "b", "c"]) == [
        "a: codebooks also from indian-pines.",
        "b: out of domain: trained on arad.",
        "c: scored on its own training scenes.",
    ]


def test_times_come_from_the_store_with_ratios_to_the_published_network(tmp_path: Path) -> None:
    reference = "mst-plus-plus.cave:reference"
    text = rendered(
        tmp_path,
        scored(A, [0.2] * 4),
        times=[
            site_rows.timed(A, [0.5] * 10),
            site_rows.timed(reference, [2.0] * 9, architecture="mst-plus-plus"),
            site_rows.timed(B, [], 1024, status="OOM"),
        ],
    )
    assert lines_of(text, f"| {A}, 512x512")[0].startswith(
        f"| {A}, 512x512 | 500.0 | 1000 | 2.000 | 0.2500 | 4.000 "
    )
    assert lines_of(text, f"| {reference}")[0].startswith(
        f"| {reference}, 512x512 | 2000 (9 runs) | 4000 | 0.5000 "
    )
    assert lines_of(text, f"| {B}, 1024")[0].startswith(f"| {B}, 1024x1024 | OOM |  |")
    assert "OOM: needs more than 4 GiB." in text and "Speed on AMD, 2 threads:" in text


REFERENCES = ("mst-plus-plus.cave:reference", "mst-plus-plus.cave")


def ratios(model: str, size: int, published: float, ours: float, paper: float | str | None) -> list[Any]:
    return [
        speed(model, "time_ratio", published, size, reference=REFERENCES[0]),
        speed(model, "speedup", 1 / published, size, reference=REFERENCES[0], reported=paper),
        speed(model, "memory_ratio", 0.5, size, reference=REFERENCES[0]),
        speed(model, "growth_ratio", 0.25, size, reference=REFERENCES[0]),
        speed(model, "time_ratio", ours, size, reference=REFERENCES[1]),
        speed(model, "memory_ratio", 0.75, size, reference=REFERENCES[1]),
    ]


def test_speed_by_size_with_two_references_the_paper_and_few_runs() -> None:
    rows = [
        speed("big", "p50_ms", 2000.0, 1024, scenes=1),
        *ratios("big", 1024, 0.2, 0.5, "OOM"),
        speed("big", "p50_ms", 200.0),
        speed("big", "cpu_ms", 390.0),
        speed("big", "images_s", 5.0),
        *ratios("big", 512, 0.125, 0.5, 4.06306),
        speed("big", "peak_mib", 800.0),
        speed("small", "p50_ms", 20.0, scenes=9),
        {**speed("big", "ms_per_megapixel", 1.0), "condition": None},  # the paper's, of no size
    ]
    text = markdown.speed_tables(rows, ["big", "small"])
    *remarks, _, head, _, first, second, third = text.splitlines()
    assert remarks[2].startswith("(paper): images/s over MST++'s as the paper reports them, from a Jetson")
    assert head.strip("| ").split(" | ") == [
        "batch 1",
        "median ms",
        "CPU ms",
        "images/s",
        "time / MST++ as published",
        "time / our MST++",
        "times faster than MST++ as published (paper)",
        "peak MiB",
        "peak / MST++ as published",
        "above loaded / MST++ as published",
        "GMAC",
    ]
    numbers = first.removeprefix("| big, 512x512 | 200.0 | 390.0 | ")
    assert numbers == "5.000 | 0.1250 | 0.5000 | 8.000 (4.06) | 800.0 | 0.5000 | 0.2500 | n/a |"
    assert second == "| small, 512x512 | 20.00 (9 runs) |" + " n/a |" * 9
    assert third.startswith(
        "| big, 1024x1024 | 2000 (1 run) | n/a | n/a | 0.2000 | 0.5000 | 5.000 (OOM) | n/a |"
    )


@pytest.mark.parametrize(
    ("key", "values", "sentences"),
    [
        ("threads", (1, 2), ("Speed on AMD, 1 thread:", "Speed on AMD, 2 threads:")),
        ("device", ("AMD", "H100"), ("Speed on AMD, 2 threads:", "Speed on H100, 2 threads:")),
        (
            "memory_limit_gib",
            (4.0, 8.0),
            ("OOM: needs more than 4 GiB.", "OOM: needs more than 8 GiB."),
        ),
    ],
)
def test_times_under_other_conditions_have_a_table_each(
    key: str, values: tuple[Any, Any], sentences: tuple[str, str]
) -> None:
    rows = [
        speed(model, "p50_ms", time + i, **{key: value})
        for i, (time, value) in enumerate(zip((100.0, 200.0), values, strict=True))
        for model in ("a", "b")
    ]
    lines = markdown.speed_tables(rows, ["a", "b"]).splitlines()
    places = [next(i for i, line in enumerate(lines) if line.startswith(s)) for s in sentences]
    heads = [i for i, line in enumerate(lines) if line.startswith("| batch 1")]
    assert places[0] < heads[0] < places[1] < heads[1]
    assert [line.split(" | ")[:2] for line in lines if line.startswith(("| a", "| b,"))] == [
        ["| a, 512x512", "100.0"],
        ["| b, 512x512", "100.0"],
        ["| a, 512x512", "201.0"],
        ["| b, 512x512", "201.0"],
    ]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_only_what_stands_between_the_markers_is_replaced(tmp_path: Path) -> None:
    store = site_rows.store(tmp_path / "records", [scored(A, [0.2] * 4)])
    path = tmp_path / "README.md"
    path.write_text(f"# Head\n{markdown.START}\nold\n{markdown.END}\ntail\n", encoding="utf-8")
    printed = run("--store", store, "--markdown")
    assert printed.exit_code == 0 and f"| {A} | 0.2000" in printed.stdout
    for _ in range(2):  # a second time changes nothing
        assert run("--store", store, "--markdown", path).stdout == ""
        filled = f"# Head\n{markdown.START}\n{printed.stdout}{markdown.END}\ntail\n"
        assert path.read_text(encoding="utf-8") == filled


@pytest.mark.parametrize("text", ["", "<!-- results -->", "<!-- end of results -->"])
def test_missing_markers_end_with_their_names_and_an_untouched_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"the markers <!-- results --> and <!-- end of results -->"):
        markdown.fill(path, "new")
    assert path.read_text(encoding="utf-8") == text


def test_a_store_without_clean_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no scores of undisturbed images"):
        rendered(tmp_path, scored(A, [0.1] * 4, condition=PLUS))


def test_models_and_data_are_chosen_by_name(tmp_path: Path) -> None:
    rows = (scored("own.model", [0.2] * 4), scored(A, [0.3] * 4), scored(A, [0.4] * 4, dataset="arad"))
    store = site_rows.store(tmp_path, rows)
    own = run("--store", store, "--markdown", "--model", "own.*")
    assert own.stdout.count("| own.model |") == 1 and A not in own.stdout
    assert run("--store", store, "--markdown", "--dataset", "arad").stdout.startswith(
        "arad/valid, 4 scenes"
    )
    for arguments, nearest in (
        (("--model", "mcga-s2.cav"), A),
        (("--dataset", "cavee"), "cave"),
        (("--split", "vald"), "valid"),
    ):
        result = run("--store", store, "--markdown", *arguments)
        assert isinstance(result.exception, UnknownNameError) and f"Nearest: {nearest}" in str(
            result.exception
        )


def test_a_store_without_bundled_weights_asks_for_names(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="Name models with --model"):
        rendered(tmp_path, scored("own.model", [0.1] * 4))


@pytest.mark.skipif(not (ROOT / "records").is_dir(), reason="needs a checkout")
def test_the_page_of_tables_shows_what_the_committed_rows_say() -> None:
    text = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    shown = text.partition(markdown.START)[2].partition(markdown.END)[0].strip().splitlines()
    made = markdown.render(groups.of_bundled(groups.read(ROOT / "records"))).splitlines()
    assert len(shown) > 50 and set(shown) <= set(made)
