"""Intervals around spectra, and unfamiliar pixels, on the page of ``hsrzoo view``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner, Result

from hsrzoo.bands import BandSet
from hsrzoo.cli.view import command
from hsrzoo.errors import InputError
from hsrzoo.io import save_cube
from hsrzoo.io.tiff import map_tags
from hsrzoo.viewer import Interval, NamedCube, write_page

BANDS = BandSet.regular(400, 700, 100)
SHAPE = (8, 10, len(BANDS))


def test_an_interval_is_drawn_around_a_pixel_and_unfamiliar_pixels_are_dimmed(
    opened: Any, tmp_path: Path
) -> None:
    values = np.full(SHAPE, 0.2, np.float32)
    half = np.broadcast_to(np.float32([0.05, 0.1, 0.3, 0]), SHAPE)
    unfamiliar = np.full(SHAPE[:2], 0.5, np.float32)
    unfamiliar[2, 3] = 0.995
    interval = Interval("90 % interval", "What the shade means.", half)
    cube = NamedCube("scene", values, BANDS, "reflectance", interval=interval, unfamiliar=unfamiliar)
    write_page(tmp_path / "page.html", [cube])
    hands = opened(tmp_path / "page.html", SHAPE)
    hands.click(3, 2)
    found = hands.table()
    [lower] = [values for name, values in found.items() if name.endswith("lower")]
    [upper] = [values for name, values in found.items() if name.endswith("upper")]
    assert lower == pytest.approx([0.15, 0.1, 0, 0.2], abs=1e-4)
    assert upper == pytest.approx([0.25, 0.3, 0.5, 0.2], abs=1e-4)
    assert hands.page.locator("#plot polygon.range").count() == 1
    assert "What the shade means." in hands.page.locator(".side").inner_text()
    assert "unlike the training data (percentile 99.5)" in hands.status()
    hands.click(6, 5)
    assert "like the training data (percentile 50)" in hands.status()
    before = [hands.colour_at(3, 3), hands.colour_at(3, 2)]
    hands.page.locator("#dim").check()
    after = [hands.colour_at(3, 3), hands.colour_at(3, 2)]
    assert after[0] == before[0]
    assert after[1] != before[1]
    assert "1 % of the picture is unlike the training data" in hands.page.locator("#dimmed").inner_text()
    hands.drag((1, 1), (4, 4))
    assert [name for name in hands.table() if name.endswith("maximum")]
    assert not [name for name in hands.table() if name.endswith("upper")]


def test_what_belongs_to_another_cube_is_refused(tmp_path: Path) -> None:
    values, other = np.zeros(SHAPE, np.float32), np.zeros((8, 10, 3), np.float32)
    for parts in ({"interval": Interval("", "", other)}, {"unfamiliar": other}):
        with pytest.raises(InputError, match="is that of another cube"):
            write_page(tmp_path / "page.html", [NamedCube("scene", values, BANDS, **parts)])


def view(cube: Path, *arguments: object) -> tuple[Result, dict[str, Any]]:
    """The result of the command, and the facts of its page."""
    result = CliRunner().invoke(command, [str(cube), *map(str, arguments)])
    if result.exit_code:
        return result, {}
    text = cube.with_suffix(".html").read_text()
    found = re.search(r'<script type="application/json" id="facts">(.*?)</script>', text)
    assert found is not None
    return result, json.loads(found[1])


@pytest.mark.parametrize("suffix", [".hdr", ".zarr"])
def test_files_beside_the_cube_are_found(tmp_path: Path, suffix: str) -> None:
    cube, values = tmp_path / f"cube{suffix}", np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    save_cube(cube, values, BANDS)
    assert view(cube)[1]["intervals"] == []
    save_cube(tmp_path / f"cube.interval80{suffix}", values / 10, BANDS)
    scale = map_tags("map") if suffix == ".hdr" else []  # earlier versions stated none
    tifffile.imwrite(
        tmp_path / "cube.unfamiliar.tif", np.full(SHAPE[:2], 65535, np.uint16), extratags=scale
    )
    result, facts = view(cube)
    assert "SCALE" not in result.output
    assert facts["cubes"][0]["interval"]["name"] == "80 % interval"
    [half], [percentile] = facts["intervals"], facts["unfamiliar"]
    assert half["offset"] == pytest.approx(values.min() / 10)
    assert percentile["offset"] == 1
    save_cube(
        tmp_path / f"cube.interval80{suffix}", values / 10, BANDS, metadata={"model": "of an older cube"}
    )
    result, facts = view(cube)
    assert facts["intervals"] == facts["unfamiliar"] == [] and "Not shown" in result.output
    facts = view(cube, "--interval", "none")[1]
    assert facts["intervals"] == facts["unfamiliar"] == []
    missing = view(cube, "--interval", "metamer")[0]
    assert missing.exit_code == 2
    assert "no intervals of metamer beside" in missing.output
    for end, part in (("lower", values * 0), ("upper", values)):
        save_cube(tmp_path / f"cube.metamer-{end}{suffix}", part, BANDS)
    facts = view(cube, "--interval", "metamer")[1]
    assert facts["cubes"][0]["interval"]["name"] == "range of metamers"
    assert [part["offset"] for part in facts["intervals"]] == pytest.approx([values.min() / 2] * 2)
