"""README.md: short, and every figure in it is one of the generated pages."""

from __future__ import annotations

import re
from collections.abc import Iterator

from doc_pages import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
GENERATED = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("tables.md", "results.md")]
MARKS = "<!-- results -->", "<!-- end of results -->"
PROSE = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)


def rows(text: str) -> Iterator[list[str]]:
    """Cells of all rows of Markdown tables."""
    for line in text.splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def first_number(cell: str) -> str:
    """The mean of a cell ``mean (interval) #rank``."""
    return cell.split(" ")[0]


def test_the_readme_has_about_600_words() -> None:
    words = " ".join(line for line in PROSE.splitlines() if not line.startswith("|")).split()
    assert 450 < len(words) < 750


def test_the_scores_of_the_readme_are_those_of_the_generated_tables() -> None:
    made = GENERATED[0].partition(MARKS[0])[2].partition(MARKS[1])[0]
    first = made[made.index("| model |") :].partition("\n\n")[0]  # after the table of cross-validation
    clean = list(rows(first))
    columns = [clean[0].index(head) for head in ("RMSE ↓", "SAM ° ↓", "dE2000 ↓")]
    scores = {row[0].removesuffix(".cave"): [first_number(row[i]) for i in columns] for row in clean[2:]}
    times = {row[0]: first_number(row[1]) for row in rows(made) if row[0].endswith(", 512x512")}
    table = [row for row in rows(README) if row[0] in scores]
    assert len(table) >= 6
    for model, *cells, time in table:
        assert cells == scores[model]
        assert time == times.get(f"{model}.cave, 512x512", "-")


def test_every_decimal_number_in_the_text_of_the_readme_is_one_of_the_generated_tables() -> None:
    text = PROSE.replace("Python 3.10", "")
    found = re.findall(r"(?<![\w.])\d+\.\d+", text)
    known = {number for page in GENERATED for number in re.findall(r"\d+\.\d+", page)}
    assert len(found) > 20 and [number for number in found if number not in known] == []
