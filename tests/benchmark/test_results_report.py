"""The report says what rows say: change a row and its sentences change."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hsrzoo_benchmark.reproduce import claims
from hsrzoo_benchmark.reproduce.claims import judge
from hsrzoo_benchmark.reproduce.evidence import Evidence
from hsrzoo_benchmark.reproduce.ranking import advice
from hsrzoo_benchmark.reproduce.report import pages, write
from hsrzoo_benchmark.statistics.intervals import Interval
from hsrzoo_benchmark.tables.numbers import significant, with_interval
from result_rows import rows, typed

ROOT = Path(__file__).parents[2]
MIXED, DARK = ("mixed-patch", "16"), ("gamma", "paper-minus10")


def verdict(text: str, *groups: list[dict[str, Any]]) -> str:
    claim = next(one for one in claims.claims() if one.text == text)
    return judge(claim, Evidence(typed(*groups))).verdict


def test_a_verdict_follows_the_interval() -> None:
    text, mst = "MCGA-S2 beats MST++", rows("mst-plus-plus.cave", [0.2, 0.2, 0.2, 0.2])
    assert verdict(text, mst, rows("mcga-s2.cave", [0.1, 0.15, 0.1, 0.15])) == "holds"
    assert verdict(text, mst, rows("mcga-s2.cave", [0.3, 0.25, 0.3, 0.25])) == "does not hold"
    assert verdict(text, mst, rows("mcga-s2.cave", [0.1, 0.3, 0.1, 0.3])) == "not decided: interval holds 0"
    assert verdict(text, mst, rows("mcga-s2.cave", [0.1] * 3)) == "not decided: n = 3, 4 scenes needed"
    assert verdict(text, mst) == "not tested: no rows of mcga-s2.cave"
    elsewhere = rows("mcga-s2.cave", [0.1] * 4, group="another protocol")
    assert verdict(text, mst, elsewhere) == "not tested: protocols differ on clean"


def test_one_metric_the_other_way_is_enough_to_fail() -> None:
    mst = rows("mst-plus-plus.cave", [0.2] * 4)
    ours = rows("mcga-s2.cave", [0.1] * 4, metrics={"sam": [90.0, 91.0, 92.0, 93.0]})
    assert verdict("MCGA-S2 beats MST++", mst, ours) == "does not hold"


@pytest.mark.parametrize(("ours", "expected"), [(0.14, "holds"), (0.16, "does not hold")])
def test_the_loss_on_mixed_patches_is_set_against_half_of_mst_s(ours: float, expected: str) -> None:
    groups = [
        rows("mst-plus-plus.cave", [0.2] * 4), rows("mst-plus-plus.cave", [0.3] * 4, condition=MIXED),
        rows("mcga-s2.cave", [0.1] * 4), rows("mcga-s2.cave", [ours] * 4, condition=MIXED),
    ]  # fmt: skip
    text = "Mixed patches of 16 cost MCGA-S2 less than half of what they cost MST++"
    assert verdict(text, *groups) == expected


@pytest.mark.parametrize(
    ("mst", "ours", "expected"),
    [
        ([0.2] * 4, 0.1, "not decided: interval holds 0"),  # neither loses
        ([0.15] * 4, 0.05, "does not hold"),  # both gain: half of a gain is no yardstick
        ([0.1, 0.31, 0.1, 0.31], 0.05, "not decided: interval holds 0"),  # MST++ may lose nothing
        ([0.2] * 4, 0.15, "does not hold"),  # ours alone loses
    ],
)
def test_without_a_loss_of_mst_s_half_of_it_is_no_yardstick(
    mst: list[float], ours: float, expected: str
) -> None:
    groups = [
        rows("mst-plus-plus.cave", [0.2] * 4), rows("mst-plus-plus.cave", mst, condition=MIXED),
        rows("mcga-s2.cave", [0.1] * 4), rows("mcga-s2.cave", [ours] * 4, condition=MIXED),
    ]  # fmt: skip
    text = "Mixed patches of 16 cost MCGA-S2 less than half of what they cost MST++"
    assert verdict(text, *groups) == expected


def test_an_adaptation_is_judged_on_the_seeds_that_were_scored_both_ways() -> None:
    text = "TTA changes the RMSE of clean images by less than 1 %"
    groups = [
        rows("mcga-s2.cave", [0.1] * 4), rows("mcga-s2.seed-1", [0.3] * 4),
        rows("mcga-s2.cave", [0.1] * 4, tta=True),
    ]  # fmt: skip
    assert verdict(text, *groups) == "holds"
    assert verdict(text, *groups[1:]) == "not tested: no seed was scored under all conditions"


@pytest.mark.parametrize(("full", "expected"), [(1.04, "holds"), (1.06, "does not hold")])
def test_five_percent_of_full_attention_are_the_limit(full: float, expected: str) -> None:
    text = "Quantized attention costs less than 5 % of full attention's MRAE"
    other = rows("table-5.full-attention", [0.1, 0.2, 0.3, 0.4])
    ours = rows("table-5.full", [value * full for value in (0.1, 0.2, 0.3, 0.4)])
    assert verdict(text, ours, other) == expected


@pytest.mark.parametrize(("adapted", "expected"), [(0.1005, "holds"), (0.098, "does not hold")])
def test_adaptation_may_move_clean_figures_by_one_percent(adapted: float, expected: str) -> None:
    text = "TTA changes the RMSE of clean images by less than 1 %"
    groups = rows("mcga-s2.cave", [0.1] * 4), rows("mcga-s2.cave", [adapted] * 4, tta=True)
    assert verdict(text, *groups) == expected


def report(*groups: list[dict[str, Any]]) -> str:
    """All pages, the summary first."""
    return "\n\n".join(pages(Evidence(typed(*groups))).values())


def test_the_summary_tells_of_random_codes_unless_learned_ones_beat_them() -> None:
    full = rows("table-5.full", [0.1, 0.11, 0.1, 0.11])
    beaten = report(full, rows("control.random", [0.2] * 4))
    assert "\n# Results\n" in beaten and "random ones**" not in beaten
    level = report(full, rows("control.random", [0.1, 0.1, 0.11, 0.11]))
    line = next(line for line in level.splitlines() if "random ones**" in line)
    assert line.startswith(
        "- **Learned codes were not shown to beat random ones** (not decided: interval holds 0)"
    )
    assert line.endswith("(n = 4).")
    worse = report(full, rows("control.random", [0.05] * 4))
    assert "do not beat random ones** (does not hold)" in worse and "+0.05500" in worse
    assert "- **Whether learned codes beat random ones is not known**" in report(full)


def test_protocol_and_commit_of_every_row_are_in_the_appendix() -> None:
    text = report(
        rows("mcga-s2.cave", [0.1, 0.2, 0.1, 0.2]), rows("mst-plus-plus.cave", [0.2] * 4),
        rows("mcga-s2.cave", [0.3] * 4, condition=DARK, tta=True),
        rows("mcga-s2.cave", [0.4] * 4, condition=DARK), rows("control.random", [0.1] * 4),
        rows("table-5.full", [0.3, 0.2, 0.1, 0.2]), rows("mcga-s2.cave", [0.5] * 4, condition=MIXED),
        rows("mcga-s2.cave", [0.5], dataset="berlin"), rows("mst-plus-plus.cave", [0.4], dataset="berlin"),
    )  # fmt: skip
    tables, _, appendix = text.partition("# Protocols and commits")
    assert "012345678" not in tables and "| commit |" not in tables
    signed = section(appendix, None)
    assert {row["commit"] for row in signed} == {"012345678"}
    assert all(len(row["hash"]) >= 12 for row in signed)
    told = {
        (row["table"].partition("]")[0].strip("["), name)
        for row in signed
        for name in row["rows"].split("; ")
    }
    assert ("Networks at full budget", "mcga-s2.cave") in told
    assert ("Codebook controls", "control.random") in told and ("Mixed patches", "16 mcga-s2.cave") in told
    assert "networks.md#networks-at-full-budget" in appendix


def test_who_leads_is_derived_from_the_rows() -> None:
    ours, mst = "mcga-s2.cave", "mst-plus-plus.cave"
    groups = [rows(ours, [0.1, 0.2, 0.1, 0.2]), rows(mst, [0.3, 0.4, 0.3, 0.4])]
    first = advice(Evidence(typed(*groups)))[0]
    assert f"**{ours}** (RMSE 0.1500); ahead of all others by interval (n = 4" in first
    swapped = advice(Evidence(typed(rows(mst, [0.1, 0.2, 0.1, 0.2]), rows(ours, [0.3, 0.4, 0.3, 0.4]))))[0]
    assert f"**{mst}** (RMSE 0.1500); ahead" in swapped
    level = advice(Evidence(typed(groups[0], rows(mst, [0.2, 0.1, 0.2, 0.15]))))[0]
    assert f"level with it: {mst}" in level
    alone = Evidence(typed(rows(ours, [0.2], dataset="berlin"), rows(mst, [0.1], dataset="berlin")))
    (other,) = advice(alone)
    assert other.startswith(f"Other data (berlin/valid): **{mst}**")
    assert "too few scenes: no interval" in other


def test_values_that_are_nan_come_last_and_never_lead() -> None:
    bad, good = rows("mcga-s2.cave", [float("nan")] * 4), rows("mst-plus-plus.cave", [0.1] * 4)
    assert advice(Evidence(typed(bad, good)))[0].startswith(
        "Spectra of scenes like those of training: **mst-plus-plus.cave**"
    )
    nobody = advice(Evidence(typed(bad, rows("mst-plus-plus.cave", [float("nan")] * 4))))
    assert [line.partition(":")[0] for line in nobody] == ["Colours"]  # these alone are numbers


def section(text: str, title: str | None) -> list[dict[str, str]]:
    """Rows of the tables under a heading of a page of tables; None: at the beginning."""
    found = []
    own = text if title is None else text.rpartition(f"## {title}\n")[2]
    for part in re.split(r"\n##? ", own)[0].strip().split("\n\n"):
        if part.startswith("|"):
            heads, _, *lines = ([cell.strip() for cell in line.split("|")] for line in part.splitlines())
            found += [dict(zip(heads, line, strict=True)) for line in lines]
    return found


RECIPES = [
    ("augmented", "Augmentation"),
    ("consistent", "Trained through camera consistency"),
    ("attentive", "MCGA with normalised features"),
]


@pytest.mark.parametrize(("recipe", "title"), RECIPES)
def test_runs_by_another_recipe_have_rows_of_their_own_and_are_no_seeds(recipe: str, title: str) -> None:
    text = report(
        rows("mcga-s2.cave", [0.1] * 4), rows("mcga-s2.seed-1", [0.3] * 4),
        rows(f"mcga-s2.{recipe}", [0.6] * 4), rows("mst-plus-plus.cave", [0.5] * 4),
    )  # fmt: skip
    ours = section(text, "Networks at full budget")[0]
    assert (ours["RMSE ↓"], ours["n"]) == ("0.2000 (0.2000 to 0.2000) #1", "4, 2 seeds")
    lines = section(text, title)
    told = {row["model"]: (row["RMSE ↓"][:6], row["n"]) for row in lines if "model" in row}
    assert told == {
        "mcga-s2.cave": ("0.2000", "4, 2 seeds"),
        "mst-plus-plus.cave": ("0.5000", "4"),
        f"mcga-s2.{recipe}": ("0.6000", "4"),
    }
    gap = next(row for row in lines if row.get(f"mcga-s2.{recipe} less mst-plus-plus.cave") == "RMSE ↓")
    assert gap["difference"] == "+0.1000 (+0.1000 to +0.1000)"
    plain = report(rows("mcga-s2.cave", [0.1] * 4), rows("mst-plus-plus.cave", [0.5] * 4))
    assert section(plain, title) == []


def test_who_learned_from_other_data_does_not_generalise_to_it() -> None:
    home = rows("mst-plus-plus.cave", [0.2], dataset="samson", split="whole")
    ours = rows("mcga-s2.cave", [0.1], dataset="samson", split="whole", also_trained_on=["samson"])
    text = report(home, ours)
    told = {row["model"]: row["learned from that data"] for row in section(text, "Generalisation")}
    assert told == {"mcga-s2.cave": "yes", "mst-plus-plus.cave": "no"}
    assert "generalises better than MST++: samson" not in text
    assert "Other data (samson" not in text
    fair = report(home, rows("mcga-s2.cave", [0.1], dataset="samson", split="whole"))
    assert "generalises better than MST++: samson" in fair and "Other data (samson" in fair


def test_consistent_cubes_stand_beside_the_same_weights_without() -> None:
    camera = ("camera", "canon-5d")
    name, digest = "mcga-s2.cave [consistent canon-5d]", {"weights_sha256": "w"}
    groups = [
        rows("mcga-s2.cave", [0.3] * 4, condition=camera, **digest),
        rows(name, [0.2] * 4, condition=camera, **digest),
        rows("mcga-s2.seed-1", [0.9] * 4, condition=camera),
    ]  # fmt: skip
    (row,) = section(report(*groups), "Camera consistency")
    assert (row["model"], row["RMSE ↓, less without"]) == (name, "-0.1000 (-0.1000 to -0.1000), 4/4")
    other = rows(name, [0.2] * 4, condition=camera, weights_sha256="others")
    assert section(report(groups[0], other), "Camera consistency") == []


def test_rmse_under_other_light_is_compared_with_the_brightness_taken_out() -> None:
    name = "mcga-s2.cave"
    scaled = {"0.5": 0.06, "0.9": 0.0909, "1.1": 0.1078, "2": 0.3}
    light = [rows(name, [value] * 4, condition=("gain-both", k)) for k, value in scaled.items()]
    (row,) = section(report(rows(name, [0.1] * 4), *light), "Darker and brighter light")
    assert [row[f"k = {k}"] for k in scaled] == ["+20.0 %", "+1.0 %", "-2.0 %", "+50.0 %"]
    assert section(report(rows(name, [0.1] * 4), *light[:3]), "Darker and brighter light") == []


def test_every_figure_of_the_summary_is_one_of_the_tables_behind_it() -> None:
    text = report(
        rows("mcga-s2.cave", [0.1, 0.2, 0.1, 0.2]), rows("mcga-s2.seed-1", [0.3, 0.2, 0.3, 0.2]),
        rows("mst-plus-plus.cave", [0.25, 0.22, 0.24, 0.23]), rows("table-5.full", [0.1] * 4),
        rows("control.random", [0.1, 0.1, 0.09, 0.11]),
    )  # fmt: skip
    first, _, rest = text.partition("**All tables.**")
    found = re.findall(r"\d+\.\d+", first)
    assert len(found) >= 4 and [number for number in found if number not in rest] == []


def test_the_summary_has_every_claim_once_under_its_verdict() -> None:
    text = report(rows("table-5.full", [0.1] * 4), rows("control.random", [0.2] * 4),
                  rows("control.pooled", [0.05] * 4))  # fmt: skip
    assert "- **Claims that hold** (1): Learned codes beat random frozen ones." in text
    assert (
        "- **Claims that do not hold** (1): A mixture beats as many codes learned from the pooled sources."
        in text
    )
    left = len(claims.claims()) - 2
    assert f"- **Other claims**: {left} not tested ([table](results/mcga.md#the-papers-claims))." in text


@pytest.mark.skipif(not (ROOT / "records").is_dir(), reason="needs a checkout")
def test_the_committed_pages_are_what_the_committed_rows_say() -> None:
    made = pages(Evidence.read(ROOT / "records"))
    assert {path.name for path in (ROOT / "docs" / "results").glob("*.md")} == {
        Path(n).name for n in made
    } - {"results.md"}
    for name, text in made.items():
        page = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert text.splitlines() == page.splitlines(), f"{name}: run make tables"
    assert all(
        (ROOT / "docs" / name).is_file() for name in re.findall(r"results/\w+\.svg", made["results.md"])
    )


def test_a_report_of_few_rows_says_what_is_missing(tmp_path: Path) -> None:
    out = tmp_path / "docs" / "results.md"
    assert write(Evidence(typed(rows("poly.cave", [0.1, 0.2, 0.3, 0.4]))), out) == 0
    tables = out.with_suffix("")
    assert "## Equal iterations\n\nNo rows." in (tables / "networks.md").read_text()
    assert "mcga-s2.seed-1" in (tables / "provenance.md").read_text().rpartition("## What is missing")[2]


def test_figures_are_written_without_exponents() -> None:
    assert significant(0.0000123456) == "0.00001235" and significant(1234.5) == "1234"
    assert (significant(1e-17), significant(None), significant("OOM")) == ("0", "-", "OOM")
    assert with_interval(0.5, Interval(-0.25, 1.0), sign=True) == "+0.5000 (-0.2500 to +1.000)"
    assert with_interval(0.5, None) == "0.5000"
