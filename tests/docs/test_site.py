"""The built documentation: strict, whole, without anything from elsewhere, and readable in a browser."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import pytest

from doc_pages import ROOT
from forks import Forks
from hsrzoo.cli.main import cli
from hsrzoo.utils.entry_points import entry_points_of

for _name in ("mkdocs_click", "material", "mkdocstrings"):
    pytest.importorskip(_name, reason="needs the extra docs")
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src"}
"""What a page fetches by itself; of ``link`` elements all that are no mere reference."""


class Page(HTMLParser):
    """Links, anchors, and what the page fetches."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in LOADED and LOADED[tag] in values:
            self.loaded.append(values[LOADED[tag]])
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(values.get("href", ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Path:
    """What ``mkdocs build --strict`` makes, which may not warn of anything."""
    out = tmp_path_factory.mktemp("docs") / "site"
    mkdocs = "import runpy; runpy.run_module('mkdocs', run_name='__main__')"
    done = forks.python("-c", mkdocs, "build", "--strict", "--site-dir", out, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr and "ERROR" not in done.stderr, done.stderr
    return out


@pytest.fixture(scope="module")
def parsed(site: Path) -> dict[Path, Page]:
    """All pages; 404.html, which may be served at any address, has links from the root and is left out."""
    return {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}


def test_every_link_leads_to_a_page_and_an_anchor_that_exist(parsed: dict[Path, Page]) -> None:
    broken, seen = [], 0
    for path, page in parsed.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            seen += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and anchor not in parsed[target].anchors):
                broken.append(f"{path.name}: {link}")
    assert broken == [] and seen > 500


def test_nothing_is_fetched_from_elsewhere(site: Path, parsed: dict[Path, Page]) -> None:
    for path, page in parsed.items():
        assert page.loaded and not [name for name in page.loaded if urlsplit(name).netloc], path.name
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(@import|url\()\s*['\"]?\s*(https?:)?//", text), path.name


def test_no_note_for_tests_reaches_a_reader(site: Path) -> None:
    pages = {path.name: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    pages |= {"index": (site / "search" / "search_index.json").read_text(encoding="utf-8")}
    assert [name for name, text in pages.items() if re.search("(<|&lt;)!-- test:", text)] == []
    assert [name for name, text in pages.items() if re.search("<!-- include:", text)] == []


def test_a_page_has_one_title_and_names_stay_on_one_line(site: Path) -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    assert [name for name, text in texts.items() if text.count("<h1") > 1] == []
    assert '<code class="short">mst-plus-plus</code>' in texts["zoo.html"]


def test_every_command_is_in_the_reference(site: Path, parsed: dict[Path, Page]) -> None:
    wanted = []
    context = click.Context(cli, info_name="hsrzoo")
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        wanted.append(f"hsrzoo-{name}")
        if isinstance(command, click.Group):
            wanted += [f"hsrzoo-{name}-{inner}" for inner in command.commands]
    assert len(wanted) > 20
    assert [name for name in wanted if name not in parsed[site / "cli.html"].anchors] == []


def test_the_reference_of_python_is_made_of_docstrings(parsed: dict[Path, Page], site: Path) -> None:
    assert {"hsrzoo.load", "hsrzoo.recommended", "hsrzoo.ModelSpec"} <= parsed[site / "api.html"].anchors
    text = (site / "api.html").read_text(encoding="utf-8")
    assert "trained weights strictly" in text and not re.search(r":(class|func|data|attr):", text)


def test_examples_of_a_command_keep_their_lines(site: Path) -> None:
    blocks = re.findall(r"<pre>.*?</pre>", (site / "cli.html").read_text(encoding="utf-8"), re.DOTALL)
    lines = [re.sub(r"<[^>]+>", "", block) for block in blocks]
    assert any(text.startswith("hsrzoo report\nhsrzoo report -o site --scenes") for text in lines)


def test_every_metric_and_perturbation_is_defined(site: Path, parsed: dict[Path, Page]) -> None:
    anchors = parsed[site / "protocols.html"].anchors
    own = entry_points_of("hsrzoo.metrics")
    assert len(own) >= 7 and [name for name in own if name not in anchors] == []
    page = (site / "protocols.html").read_text(encoding="utf-8")
    headings = " ".join(re.findall(r"<h3[^>]*>(.*?)</h3>", page, re.DOTALL)).lower()
    words = {"mixed-patch": "mixed patches", "gain-both": "gain", "camera": "another camera"}
    words |= dict.fromkeys(("uncertainty", "uncertainty-rendered"), "prediction intervals")
    own = entry_points_of("hsrzoo.perturbations")
    assert len(own) >= 8 and [name for name in own if words.get(name, name) not in headings] == []


def test_the_summary_of_results_takes_two_screens(site: Path, page) -> None:
    page.goto((site / "results.html").as_uri())
    plots = page.locator(".plots img").evaluate_all(
        "all => all.map(each => each.getBoundingClientRect().x)"
    )
    assert len(set(plots)) == 2 and len(plots) >= 3, "two columns"
    screen = page.viewport_size["height"]
    assert page.evaluate("document.querySelector('.md-footer').getBoundingClientRect().top") < 2 * screen


def test_search_and_formulae_work_from_the_disk(site: Path, page) -> None:
    page.goto((site / "index.html").as_uri())
    assert page.title() == "hsrzoo"
    search = page.get_by_role("textbox", name="Search")
    search.fill("colour memory metamers")  # at once: letter by letter, results of a part may come first
    search.press("End")
    found = page.locator(".md-search-result__link", has_text="Metamers").first
    assert "protocols.html" in found.get_attribute("href")
    page.goto((site / "protocols.html").as_uri())
    formula = page.locator("math").filter(has=page.locator("msqrt")).first
    line, fraction = (
        formula.locator("mtext").first.bounding_box(),
        formula.locator("mfrac").first.bounding_box(),
    )
    assert fraction["height"] > 1.5 * line["height"], "a fraction is set in two storeys"
    assert page.locator("math").count() > 15
    visible = page.locator("annotation").first.evaluate("node => node.getBoundingClientRect().height")
    assert visible == 0, "the TeX source is not shown"
