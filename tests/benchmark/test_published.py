"""The page of what others report on ARAD-1K."""

from __future__ import annotations

import re

from hsrzoo.zoo import read_zoo
from hsrzoo_benchmark.reproduce.published import figures_of, render
from hsrzoo_benchmark.results.reported import published

OWN = {"ensemble", "linear", "mcga-plus", "mean-spectrum", "pixel-mlp", "poly"}


def test_every_network_from_elsewhere_has_a_figure_or_says_what_was_read() -> None:
    reported = {figure["network"] for group in published()["group"] for figure in figures_of(group)}
    others = {name for name in read_zoo().networks if name not in OWN and not name.startswith("timm-")}
    assert reported | set(published()["not-found"]) == others


def test_each_figure_stands_in_the_table_of_its_rgb_and_crop_alone() -> None:
    sections = dict(zip(*[iter(re.split(r"^## (.*)\n", render(), flags=re.M)[1:])] * 2, strict=True))
    groups = published()["group"]
    assert [*sections] == [*(group["title"] for group in groups), "Not found"]
    assert len({(group["rgb"], group["split"], group["crop"]) for group in groups}) == len(groups)
    for group in groups:
        text = sections[group["title"]]
        assert all(f": {group[key]}." in text for key in ("rgb", "split", "crop"))
        printed = [line.split(" | ")[:4] for line in text.splitlines() if line.startswith("| `")]
        assert [[cell.strip("| `") for cell in row] for row in printed] == [
            [figure["network"], *(figure.get(key, "-") for key in ("mrae", "rmse", "psnr"))]
            for figure in figures_of(group)
        ]


def test_figures_of_the_paper_come_from_its_own_table() -> None:
    group = next(group for group in published()["group"] if "tables" in group)
    found = {figure["network"]: figure for figure in figures_of(group)}
    assert found["mcga-s2"]["psnr"] == "36.18" and found["mcga-s2"]["note"] == "table 1"
    assert "psnr" not in found["mcga-s4"] and len(found) == 10
