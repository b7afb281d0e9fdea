"""Scenes of a site on the embedded Indian Pines, with its two bundled regressions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from hsrzoo.bands import BandSet
from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.base import Scene
from hsrzoo.errors import HsrzooError, InputError, UnknownNameError
from hsrzoo_benchmark.command import bench
from hsrzoo_benchmark.results import groups
from hsrzoo_benchmark.site import scene_figures, scenes
from hsrzoo_benchmark.site.command import command
from hsrzoo_benchmark.site.scene_figures import Chosen

MODELS = ("linear.indian-pines", "poly.indian-pines")
PIXEL = np.array([[5, 5]])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real rows of both models."""
    path = tmp_path_factory.mktemp("scenes") / "records"
    named = [part for model in MODELS for part in ("--model", model)]
    result = CliRunner().invoke(
        bench, [*named, "--dataset", "indian-pines", "--store", str(path), "--json", "--threads", "1"]
    )
    assert result.exit_code == 0, result.output
    return path


def report(store: Path, out: Path, *arguments: str) -> None:
    result = CliRunner().invoke(command, ["--store", str(store), "-o", str(out), *arguments])
    if result.exception is not None:
        raise result.exception


def test_pictures_metrics_and_links_of_a_scene(store: Path, tmp_path: Path, page: Any) -> None:
    out = tmp_path / "site"
    report(store, out, "--scenes")
    data = json.loads((out / "data.json").read_text(encoding="utf-8"))
    assert len(data["pictures"]) >= 3
    for name in data["pictures"]:
        if name.endswith(".png"):
            with Image.open(out / name) as picture:
                assert picture.width > 600 and picture.height > 200
    page.goto((out / "index.html").as_uri())
    article = page.locator("article.scene").first
    assert article.locator("table").first.locator("tbody tr").count() == len(MODELS)
    article.locator("summary").click()
    bands = article.locator("details table")
    assert bands.locator("tbody tr").count() > 20 and bands.locator("thead th").count() == len(MODELS) + 1
    assert article.get_by_role("button", name="LaTeX").count() == 2
    scene = article.locator("h3").inner_text().split()[0]
    link = article.locator("tbody tr").first.locator("td a").first
    value = link.inner_text()
    link.click()
    page.wait_for_selector("#provenance:not([hidden])")
    row = next(r for r in page.locator("#scenes tbody tr").all() if r.locator("th").inner_text() == scene)
    column = page.locator("#scenes thead th").all_inner_texts().index("rmse")
    assert float(row.locator("th, td").nth(column).inner_text()) == pytest.approx(float(value), rel=1e-3)
    for image in article.locator("img").all():
        image.scroll_into_view_if_needed()
        page.wait_for_function("(i) => i.complete && i.naturalWidth > 600", arg=image.element_handle())


def test_a_second_run_predicts_nothing_and_goes_on_where_one_was_killed(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, asked = tmp_path / "site", []
    predict = scenes._predict_with

    def noted(data: Any, split: str, names: Any, one: Any, *rest: Any) -> None:
        asked.append((one.label, len(names)))
        if names and one.label == stop:
            raise KeyboardInterrupt
        predict(data, split, names, one, *rest)

    monkeypatch.setattr(scenes, "_predict_with", noted)
    (group,) = groups.groups(groups.read(store).scores)
    order = [one.label for one in scenes._ordered(group)]
    scene = group.first.scene
    stop = order[1]
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        report(store, out, "--scene", scene)
    assert not (out / "index.html").exists()
    asked.clear()
    stop = ""
    report(store, out, "--scene", scene)
    assert dict(asked)[order[0]] == 0 and dict(asked)[order[1]] > 0
    before = {path.name: path.read_bytes() for path in (out / "pictures").iterdir()}
    asked.clear()
    report(store, out, "--scene", scene)
    assert {count for _, count in asked} == {0}
    assert {path.name: path.read_bytes() for path in (out / "pictures").iterdir()} == before


def test_views_are_bands_errors_and_spectra_of_the_cube() -> None:
    random = np.random.default_rng(0)
    cube = random.uniform(0.1, 0.9, (6, 20, 30)).astype(np.float32)
    cube[5] = np.nan  # a band without data
    scene = Scene("s", cube[:3].copy(), cube)
    chosen = scenes.choose(scene, [700, 600, 500, 400, 450, 550])
    assert set(chosen.bands) <= {0, 1, 2, 3, 4} and chosen.step == 1
    pred = np.nan_to_num(cube) + np.float32(0.1)
    shown = scenes.views(scene, pred, chosen)
    assert np.allclose(shown.error, 0.1, atol=1e-6)
    assert np.array_equal(shown.images, pred[chosen.bands])
    for i, (y, x) in enumerate(chosen.pixels):
        assert np.array_equal(shown.spectra[i], pred[:, y, x])
    assert np.allclose(shown.by_band[:5], 0.1, atol=1e-6) and np.isnan(shown.by_band[5])


def test_errors_are_told_by_band_and_from_dark_to_bright_pixels() -> None:
    cube = np.linspace(0.1, 0.9, 200, dtype=np.float32).reshape(1, 10, 20).repeat(2, axis=0)
    wrong = cube.copy()
    wrong[0] += 0.2 * (cube[0] > 0.5)  # one band, the brighter half
    shown = scenes.views(
        Scene("s", np.zeros((3, 10, 20), np.float32), cube), wrong, Chosen(np.array([0]), PIXEL, 1)
    )
    assert np.allclose(shown.by_band, [0.2 / np.sqrt(2), 0], atol=1e-6)
    assert np.allclose(shown.by_light, [0] * 5 + [0.2 / np.sqrt(2)] * 5, atol=1e-6)
    assert len(shown.light) == 10 and np.all(np.diff(shown.light) > 0)


def test_pixels_lie_inside_on_data_and_are_apart_in_colour() -> None:
    rgb = np.zeros((3, 40, 40), np.float32)
    rgb[0, :20, :20] = rgb[1, :20, 20:] = rgb[2, 20:, :20] = 0.6
    rgb[:, 20:, 20:] = 0.4
    cube = np.ones((4, 40, 40), np.float32)
    cube[:, :8] = np.nan
    pixels = scenes.choose(Scene("s", rgb, cube), [400, 500, 600, 700]).pixels
    quarters = {(int(y) // 20, int(x) // 20) for y, x in pixels}
    assert len(quarters) == 4 and all(4 <= side < 36 for side in pixels.ravel()) and min(pixels[:, 0]) >= 8


def test_a_scene_of_one_value_or_one_pixel_is_drawn_too(tmp_path: Path) -> None:
    for shape in ((3, 30, 40), (3, 1, 1)):
        cube = np.full(shape, 0.5, np.float32)
        scene = Scene("s", cube, cube)
        chosen = scenes.choose(scene, [400, 500, 600])
        truth = scenes.views(scene, cube, chosen)
        drawn = scene_figures.draw(scene, truth, {"$m$ <b>": truth}, chosen, [400, 500, 600], tmp_path, "x")
        assert [(tmp_path / Path(one["file"]).name).exists() for one in drawn] == [True] * 4


def test_large_scenes_are_shown_in_steps() -> None:
    cube = np.random.default_rng(1).uniform(size=(2, 1100, 20)).astype(np.float32)
    scene = Scene("s", np.concatenate([cube, cube[:1]]), cube)
    chosen = scenes.choose(scene, [400, 500])
    assert chosen.step == 3 and scenes.views(scene, cube, chosen).error.shape == (367, 7)


@pytest.mark.parametrize(
    ("curve", "told"),
    [
        ([1, 2, 3, 4], "1.0000"),
        ([4, 3, 2, 1], "-1.0000"),
        ([1, 1, 1, 1], "n/a"),
        ([1, 2, np.nan, 4], "1.0000"),
    ],
)
def test_correlation_of_two_spectra(curve: list[float], told: str) -> None:
    assert scene_figures.correlation(np.array([1.0, 2, 3, 4]), np.array(curve)) == told


def test_unknown_scenes_are_answered_with_the_nearest(store: Path, tmp_path: Path) -> None:
    data = open_dataset("indian-pines")
    split = json.loads(next(store.rglob("*.jsonl")).read_text().splitlines()[0])["split"]
    name = data.scenes(split)[0]
    with pytest.raises(UnknownNameError, match=f"Nearest: {name}"):
        report(store, tmp_path / "site", "--scene", f"{name}x")


def _changed(store: Path, target: Path, **changes: Any) -> Path:
    for file in store.rglob("*.jsonl"):
        rows = [{**json.loads(line), **changes} for line in file.read_text().splitlines()]
        other = target / file.relative_to(store)
        other.parent.mkdir(parents=True)
        other.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return target


def test_other_weights_than_those_of_the_rows_are_not_shown_and_told(
    store: Path, tmp_path: Path, page: Any
) -> None:
    out = tmp_path / "site"
    report(_changed(store, tmp_path / "other", model_sha256="0" * 64), out, "--scenes")
    page.goto((out / "index.html").as_uri())
    article = page.locator("article.scene").first
    assert "weights on this machine are others" in article.inner_text()
    assert article.locator("img").count() == 0 and article.locator("tbody tr").count() == len(MODELS)


def test_other_files_than_those_that_were_scored_are_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="files of indian-pines are others"):
        report(_changed(store, tmp_path / "other", fingerprint="0" * 16), tmp_path / "site", "--scenes")


def test_a_data_set_that_is_not_there_is_told(tmp_path: Path) -> None:
    import site_rows

    store = site_rows.store(tmp_path / "s", [site_rows.scored("linear.cave", [0.1] * 4)])
    with pytest.raises(HsrzooError, match="cave"):
        report(store, tmp_path / "site", "--scenes", "--data-root", str(tmp_path / "nowhere"))


def test_bands_are_spread_over_the_wavelengths_whatever_their_order() -> None:
    centres = BandSet.regular(400, 700, 10).centres_nm[::-1]
    scene = Scene("s", np.full((3, 8, 8), 0.5, np.float32), np.full((31, 8, 8), 0.5, np.float32))
    assert [centres[band] for band in scenes.choose(scene, centres).bands] == [430, 510, 590, 670]
