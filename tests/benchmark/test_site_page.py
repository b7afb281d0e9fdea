"""The site in a real browser: sorting, choosing, following a number, phones, hostile names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import site_rows
from browser import opened_page
from hsrzoo_benchmark.results import groups
from hsrzoo_benchmark.site import writing
from site_rows import scored, timed

if TYPE_CHECKING:
    from playwright.sync_api import Page

A, B, C = "mcga-s2.cave", "own.b", "own.c"
EVIL = "</script><img src=x onerror=\"window.hurt='model'\"><b>bold</b>"
EVIL_SCENE = "<img src=x onerror=\"window.hurt='scene'\">"
PLUS = ("gamma", "paper-plus10")


def rows() -> list[list[dict[str, object]]]:
    arad = scored(A, [0.1] * 4, dataset="arad", protocol="ntire2022", trained_on="arad")
    evil = [
        {**row, "scene": f"{EVIL_SCENE}{i}"} for i, row in enumerate(scored(EVIL, [0.3] * 4, split="evil"))
    ]
    return [
        scored(A, [0.1, 0.2, 0.3, 0.4]),
        scored(B, [0.03, 0.08, 0.16, 0.15], metrics={"sam": [90.0] * 4}),
        scored(C, [0.5, float("nan"), 0.6, 0.7]),
        scored(A, [0.4] * 4, condition=PLUS),
        scored(B, [0.3] * 4, condition=PLUS),
        arad,
        [{**row, "model": f"{A} [bf16]"} for row in arad],
        evil,
    ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    store = site_rows.store(root / "s", rows(), [timed(A, [0.5] * 10), timed(B, [0.25] * 10)])
    writing.prepare(root / "site", overwrite=False)
    return writing.write(groups.read(store), root / "site")


@pytest.fixture(scope="module")
def desktop() -> Iterator[Page]:
    """One browser for all tests here: starting it takes longer than they do."""
    with opened_page() as page:
        yield page


@pytest.fixture
def opened(desktop: Page, site: Path) -> Page:
    desktop.goto("about:blank")  # an address that differs in its fragment alone loads nothing anew
    desktop.goto(site.as_uri())
    desktop.wait_for_selector("#board tbody tr")
    return desktop


def names(page: Page) -> list[str]:
    return page.locator("#board tbody th a").all_inner_texts()


def cell(page: Page, model: str, key: str) -> str:
    row = page.locator("#board tbody tr").filter(has=page.get_by_role("link", name=model, exact=True))
    return row.locator(f"td[data-key='{key}'] a").inner_text()


def test_the_first_table_is_sorted_by_rmse_and_shows_stored_means(opened: Page) -> None:
    assert names(opened) == [B, A, C]  # NaN last
    assert cell(opened, A, "rmse") == "0.2500 #2" and cell(opened, B, "rmse") == "0.1050 #1"
    assert cell(opened, C, "rmse") == "NaN on 1 of 4 scenes"
    head = opened.locator("#board th[data-key=rmse]")
    assert head.get_attribute("aria-sort") == "ascending"
    assert "n = 4 scenes" in opened.locator("#summary").inner_text()


def test_headings_sort_by_click_and_again_the_other_way(opened: Page) -> None:
    head = opened.locator("#board th[data-key=sam]")
    head.locator("button").click()
    assert names(opened) == [A, B, C] and head.get_attribute("aria-sort") == "ascending"
    assert opened.locator("#board th[data-key=rmse]").get_attribute("aria-sort") == "none"
    head.locator("button").click()
    assert names(opened) == [B, A, C] and head.get_attribute("aria-sort") == "descending"


def test_what_is_better_when_higher_begins_with_the_highest(opened: Page) -> None:
    opened.locator("#board th[data-key=psnr] button").click()
    assert opened.locator("#board th[data-key=psnr]").get_attribute("aria-sort") == "descending"
    assert names(opened) == [B, A, C]


def test_headings_sort_by_keyboard_and_keep_the_focus(opened: Page) -> None:
    opened.locator("#board th[data-key=model] button").focus()
    opened.keyboard.press("Enter")
    assert names(opened) == [A, B, C]
    opened.keyboard.press("Enter")
    assert names(opened) == [C, B, A]
    assert opened.evaluate("document.activeElement.closest('th').dataset.key") == "model"


def test_conditions_and_data_are_chosen_and_have_addresses(opened: Page) -> None:
    opened.select_option("#condition", "gamma paper-plus10")
    opened.wait_for_function("document.querySelectorAll('#board tbody tr').length === 2")
    assert cell(opened, B, "rmse") == "0.3000 #1"
    address = opened.url
    opened.select_option("#place", "arad/valid")
    opened.wait_for_function("document.querySelector('#summary').textContent.startsWith('arad/valid')")
    assert names(opened) == [A]
    opened.goto(address)
    opened.wait_for_function("document.querySelector('#condition').value.startsWith('gamma')")
    assert names(opened) == [B, A]
    opened.go_back()
    opened.wait_for_function("document.querySelector('#summary').textContent.startsWith('arad/valid')")


def test_values_of_the_paper_are_marked_and_keep_to_their_model(opened: Page) -> None:
    opened.select_option("#place", "arad/valid")
    opened.wait_for_selector("#board tr.paper")
    paper = opened.locator("#board tr.paper")
    assert "reported by the paper" in paper.inner_text() and "0.01820" in paper.inner_text()
    assert "#" not in paper.inner_text()


def test_a_number_leads_to_its_rows(opened: Page) -> None:
    opened.locator("#board tbody tr").nth(1).locator("td[data-key=rmse] a").click()
    opened.wait_for_selector("#provenance:not([hidden])")
    panel = opened.locator("#provenance")
    assert opened.locator("#provenance-heading").inner_text() == f"{A}: RMSE ↓ 0.2500"
    assert opened.evaluate("document.activeElement.id") == "provenance-heading"
    told = panel.inner_text()
    for part in ("0123456789abcdef", f"w{A}1", "cave-valid/made-up/0.jsonl", "0.1.0", "2026-01-01"):
        assert part in told
    heads = panel.locator("#scenes thead th").all_inner_texts()
    column = heads.index("rmse")
    values = [
        row.locator("th, td").nth(column).inner_text() for row in panel.locator("#scenes tbody tr").all()
    ]
    assert values == ["0.1", "0.2", "0.3", "0.4"]
    shade = panel.locator("#scenes thead th").nth(column).get_attribute("class")
    assert shade == "asked"
    panel.locator("details summary").click()
    protocol = json.loads(panel.locator("details pre").inner_text())
    assert protocol["name"] == "full-frame" and protocol["bands"]["centres_nm"][0] == 400
    opened.locator("#back").click()
    opened.wait_for_selector("#provenance", state="hidden")


def test_an_address_of_a_number_opens_its_rows(opened: Page, site: Path) -> None:
    opened.select_option("#condition", "gamma paper-plus10")
    opened.locator("td[data-key=psnr] a").first.click()
    address = opened.url
    opened.goto("about:blank")
    opened.goto(address)
    opened.wait_for_selector("#provenance:not([hidden])")
    assert opened.locator("#provenance-heading").inner_text().startswith(f"{B}: PSNR")
    assert opened.locator("#condition").input_value() == "gamma paper-plus10"
    opened.goto(f"{site.as_uri()}#entry=nothing")
    opened.wait_for_selector("#provenance", state="hidden")
    assert names(opened)


def test_speed_is_a_table_of_its_own(opened: Page) -> None:
    opened.select_option("#place", "speed")
    opened.wait_for_selector("#board th[data-key=p50_ms]")
    assert names(opened) == [B, A] and cell(opened, A, "p50_ms") == "500.0"
    opened.locator("td[data-key=p50_ms] a").first.click()
    opened.wait_for_selector("#provenance:not([hidden])")
    assert opened.locator("#scenes tbody tr").count() == 10


def test_models_are_filtered_by_name_and_ranks_stay(opened: Page) -> None:
    opened.fill("#filter", "MCGA")
    assert names(opened) == [A] and cell(opened, A, "rmse") == "0.2500 #2"
    assert "2 not shown" in opened.locator("#summary").inner_text()


def test_variants_are_shown_when_asked_for_or_named_by_the_address(opened: Page) -> None:
    opened.select_option("#place", "arad/valid")
    opened.wait_for_function("document.querySelector('#summary').textContent.startsWith('arad/valid')")
    assert names(opened) == [A] and "1 not shown" in opened.locator("#summary").inner_text()
    opened.check("#all-models")
    assert names(opened) == [A, f"{A} [bf16]"]
    opened.locator("#board tbody a", has_text="bf16").first.click()
    opened.uncheck("#all-models")
    assert names(opened) == [A, f"{A} [bf16]"], "what the address names stays"
    assert "ergas" not in opened.locator("#board thead").inner_text().lower()


def saved(page: Page, kind: str) -> str:
    with page.expect_download() as download:
        page.locator(".export").first.get_by_role("button", name=kind).click()
    return Path(download.value.path()).read_text(encoding="utf-8")


def test_the_table_is_saved_as_csv_and_as_latex_with_the_best_marked(opened: Page) -> None:
    lines = saved(opened, "CSV").splitlines()
    assert lines[0].startswith("model,n,RMSE ↓,RMSE ↓ low,RMSE ↓ high,")
    assert lines[1].startswith(f"{B},4,0.1050,") and lines[3].startswith(f"{C},4,NaN on 1 of 4 scenes,,,")
    opened.uncheck("#with-intervals")
    text = saved(opened, "LaTeX")
    assert "booktabs" in text and r"RMSE $\downarrow$" in text
    ours = next(line for line in text.splitlines() if line.startswith(A))
    first = next(line for line in text.splitlines() if line.startswith(B))
    assert first.startswith(rf"{B} & 4 & \textbf{{0.1050}} & ") and first.endswith(r" \\")
    assert ours.startswith(rf"{A} & 4 & \underline{{0.2500}} & ")
    opened.select_option("#place", "cave/evil")
    opened.wait_for_function("document.querySelector('#summary').textContent.startsWith('cave/evil')")
    assert r"$<$/script$>$" in saved(opened, "LaTeX")


def test_names_with_html_are_text(opened: Page) -> None:
    opened.select_option("#place", "cave/evil")
    opened.wait_for_function("document.querySelector('#summary').textContent.startsWith('cave/evil')")
    assert names(opened) == [EVIL]
    opened.locator("#board tbody td[data-key=rmse] a").click()
    opened.wait_for_selector("#provenance:not([hidden])")
    assert EVIL in opened.locator("#provenance-heading").inner_text()
    assert opened.locator("#scenes tbody th").first.inner_text() == f"{EVIL_SCENE}0"
    assert opened.locator("main img[src=x], main b").count() == 0
    assert opened.evaluate("window.hurt") is None


def test_a_phone_has_no_sideways_page_and_large_targets(opened: Page) -> None:
    opened.set_viewport_size({"width": 360, "height": 740})
    try:
        assert opened.evaluate("document.documentElement.scrollWidth") <= 360
        for name in ("place", "condition", "filter"):
            assert opened.evaluate(f"document.getElementById('{name}').offsetHeight") >= 36
        opened.locator("#board tbody td[data-key=rmse] a").first.click()
        opened.wait_for_selector("#provenance:not([hidden])")
        assert opened.evaluate("document.documentElement.scrollWidth") <= 360
    finally:
        opened.set_viewport_size({"width": 1280, "height": 900})


def test_plots_are_there_and_name_their_models(opened: Page) -> None:
    image = opened.locator(".plot img")
    assert image.count() == 1
    assert f"{A}: 2, RMSE 0.25" in str(image.get_attribute("alt"))
    image.scroll_into_view_if_needed()
    assert opened.evaluate("document.querySelector('.plot img').naturalWidth") > 300
    opened.select_option("#place", "arad/valid")
    opened.wait_for_selector(".plot", state="hidden")
