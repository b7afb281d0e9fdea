"""README.md and the first page of the documentation: short, and their figures are those of stored rows."""

from __future__ import annotations

import json
import re

import pytest
from PIL import Image

from doc_pages import ROOT
from files_as_modules import SCRIPTS, import_file
from hsrzoo.models.locate import find_weights
from hsrzoo.models.names import parse_name
from hsrzoo.models.weights import read_config
from hsrzoo_benchmark.reproduce import tables
from hsrzoo_benchmark.reproduce.evidence import Evidence, Place
from hsrzoo_benchmark.reproduce.ranking import comparable
from hsrzoo_benchmark.statistics.seeds import summarise
from hsrzoo_benchmark.tables.numbers import significant

README = (ROOT / "README.md").read_text(encoding="utf-8")
PICTURES = re.findall(r"!\[[^\]]+\]\((docs/[\w.-]+)\)", README)


def test_the_readme_has_about_600_words_and_its_pictures_are_small() -> None:
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    words = " ".join(line for line in prose.splitlines() if not line.startswith("|")).split()
    assert 450 < len(words) < 620 and len(README.split()) < 900
    assert PICTURES and all((ROOT / name).stat().st_size < 150_000 for name in PICTURES)


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    if not (ROOT / "records").is_dir():
        pytest.skip("needs a checkout")
    return Evidence.read(ROOT / "records")


def test_figures_in_the_text_are_those_of_the_stored_rows(evidence: Evidence) -> None:
    script = import_file(SCRIPTS / "readme.py")
    made = script.parts(evidence)
    for page in script.PAGES:
        text = page.read_text(encoding="utf-8")
        assert "<!-- made: " in text
        assert script.filled(text, made) == text, "run python scripts/readme.py"


def test_the_leaderboard_shows_the_stored_rows(evidence: Evidence) -> None:
    with Image.open(ROOT / "docs" / "leaderboard.png") as picture:
        shown = json.loads(picture.text["shown"])
    told = {name: cell.partition(" ")[0] for name, cell in shown}
    groups = comparable(evidence, list(told), tables.HOME)
    found = {name: significant(summarise(group.runs("rmse")).mean) for name, group in groups.items()}
    assert len(told) > 5 and {name: found.get(name) for name in told} == told, (
        "run python scripts/leaderboard_picture.py"
    )


def test_the_figure_shows_the_bundled_weights_and_a_scored_scene(evidence: Evidence) -> None:
    facts = json.loads((ROOT / "docs" / "overview.json").read_text(encoding="utf-8"))
    config = read_config(find_weights(parse_name(facts["model"]))[1])
    assert facts["weights_sha256"] == config["weights_sha256"], "run python scripts/overview_figure.py"
    place = Place(facts["dataset"], facts["split"], "full-frame", facts["fingerprint"])
    entry = evidence.entry(facts["model"], place)
    assert entry is not None and entry.first.weights_sha256 == facts["weights_sha256"]
    for metric in ("rmse", "sam"):
        assert entry.scenes(metric)[facts["scene"]] == pytest.approx(facts[metric], rel=1e-3)
