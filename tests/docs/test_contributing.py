"""CONTRIBUTING.md is true to the code: its map lists the folders, its call paths name things that exist."""

from __future__ import annotations

import re
from functools import reduce
from importlib import import_module

import pytest

from doc_pages import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PACKAGES = ("hsrzoo", "hsrzoo_mcga", "baselines/hsrzoo_baselines", "benchmark/hsrzoo_benchmark")
MAP = TEXT.partition("\n## Map\n")[2].partition("\n## ")[0]
PATHS = TEXT.partition("\n## Call paths\n")[2].partition("\n## ")[0]
LISTED = re.findall(r"`([\w/]+)/`", "".join(line.split(" | ")[0] for line in MAP.splitlines()))
NAMED = sorted(set(re.findall(r"`([\w.]+:[\w.]+)`", PATHS)))


def test_every_folder_of_a_package_is_in_the_map() -> None:
    assert set(PACKAGES) - {"hsrzoo_mcga"} <= set(LISTED)
    there = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).iterdir()
        if path.is_dir() and path.name != "__pycache__"
    }
    missing = there - {"baselines/hsrzoo_baselines/weights"} - set(LISTED)
    assert missing == set()


def test_every_folder_of_the_map_exists() -> None:
    assert len(LISTED) > 30 and [name for name in LISTED if not (ROOT / name).is_dir()] == []


@pytest.mark.parametrize("name", NAMED)
def test_what_a_call_path_names_exists(name: str) -> None:
    module, _, attribute = name.partition(":")
    assert callable(reduce(getattr, attribute.split("."), import_module(module))) or attribute.isupper()


@pytest.mark.parametrize(
    "command", ["`hsrzoo bench`", "`hsrzoo.load`", "`hsrzoo predict`", "`hsrzoo train`"]
)
def test_a_call_path_has_five_steps(command: str) -> None:
    steps = PATHS.partition(f"\n{command}\n")[2].partition("\n\n`")[0]
    numbers = re.findall(r"^(\d)\. `", steps, re.MULTILINE)
    assert numbers == list("12345")
    assert all(":" in line for line in steps.strip().splitlines() if re.match(r"\d\.", line))
