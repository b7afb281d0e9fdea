"""Figures in the text of the page of intervals, and of what ``predict`` says of them, are those of stored
rows."""

from __future__ import annotations

import re

import pytest

from doc_pages import ROOT
from hsrzoo.prediction import caveats

PAGE = " ".join((ROOT / "docs/intervals.md").read_text(encoding="utf-8").split())
TABLE = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/results/intervals.md").read_text(encoding="utf-8").splitlines()
    if line.count("|") == 14
]


def held(scenes: str, column: int) -> list[float]:
    """Per cent in a column of the table of results, of all models but the one of five times the width."""
    return [float(row[column][:-2]) for row in TABLE if scenes in row[0] and "mean-spectrum" not in row[1]]


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
