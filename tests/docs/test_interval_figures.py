"""Figures of the page of intervals, and of what ``predict`` says of them, are those of stored rows and of
the calibrations beside the weights."""

from __future__ import annotations

import json
import re
from statistics import mean

import pytest

from doc_pages import ROOT
from hsrzoo.models.locate import folder_of
from hsrzoo.models.names import parse_name
from hsrzoo.models.tensors import metadata_of
from hsrzoo.prediction import caveats
from hsrzoo.utils.files import UNCERTAINTY

PAGE = " ".join((ROOT / "docs/intervals.md").read_text(encoding="utf-8").split())
TABLE = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/results/intervals.md").read_text(encoding="utf-8").splitlines()
    if line.count("|") == 14
]
MODELS = re.findall(
    r"\| `([\w.-]+)` \| ([^|]+%) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|", PAGE
)


def held(scenes: str, column: int) -> list[float]:
    """Per cent in a column of the table of results, of all models but the one of five times the width."""
    return [float(row[column][:-2]) for row in TABLE if scenes in row[0] and "mean-spectrum" not in row[1]]


@pytest.mark.parametrize(("name", "figures"), [(found[0], found[1:]) for found in MODELS])
def test_the_table_of_models_is_that_of_rows_and_calibrations(name: str, figures: tuple[str, ...]) -> None:
    name = name if "." in name else f"{name}.cave"
    row = next(row for row in TABLE if row[:2] == ["cave/valid", name])
    assert figures[:4] == (row[3], row[4], f"{float(row[6]):.3f}", row[11])
    about = json.loads(metadata_of(folder_of(parse_name(name)) / UNCERTAINTY))["left_out"]["0.9"]
    shares = about["coverage"]
    expected = (f"{100 * mean(shares):.1f} %", f"{100 * min(shares):.1f} %", f"{mean(about['width']):.3f}")
    assert figures[4:] == expected


def test_every_calibrated_model_is_in_the_table() -> None:
    calibrated = {path.parent.name for path in ROOT.glob(f"*/**/weights/*/{UNCERTAINTY}")}
    assert {name if "." in name else f"{name}.cave" for name, *_ in MODELS} == calibrated


@pytest.mark.parametrize(
    ("scenes", "text"),
    [
        ("cave/valid, camera", "rendered for it from cave/valid: {} to {} %"),
        ("sigma-sdmerill", "Sigma SD Merrill, {} to {} %"),
        ("metamers", "other spectra with the same picture: {} to {} %"),
        ("indian-pines", "in relative radiance: {} to {} %"),
        ("exposure x 2", "at twice the exposure: {} to {} %"),
    ],
)
def test_ranges_over_models_are_those_of_rows(scenes: str, text: str) -> None:
    found = held(scenes, 3)
    assert text.format(*(f"{end:.0f}" for end in (min(found), max(found)))) in PAGE


def test_worst_scene_and_the_note_of_predict() -> None:
    assert f"{min(held('exposure x 2', 4)):.0f} % of the worst scene" in PAGE
    others = held("cave/valid, camera", 3)
    assert f"{min(others):.0f} to {max(others):.0f}" == caveats._UNMAPPED
    factors = re.findall(r"\| (?:13|52) \| ([\d.]+) \| [\d.]+ \(([\d.]+) to ([\d.]+)\)", PAGE)
    mapped = [float(factor) for found in factors for factor in found]
    assert (min(mapped), max(mapped)) == (caveats._LEAST, caveats._MOST)
