"""Figures 3, 4b and 5: their numbers against values by hand; a picture is written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hsrzoo.datasets.base import Scene
from hsrzoo.errors import InputError
from hsrzoo_benchmark.reproduce.figures import densities, draw, features, shares, window

pytest.importorskip("matplotlib", reason="the extra report is not installed")
PNG = b"\x89PNG"


def test_a_density_integrates_to_one_over_sorted_wavelengths(tmp_path: Path) -> None:
    cube = np.zeros((3, 4, 4), np.float32)
    cube[:, 1:3, 1:3] = np.array([4.0, 2.0, 2.0])[:, None, None]  # at 600, 400 and 500 nm
    scene = Scene("s", np.full((3, 4, 4), 0.5, np.float32), cube)
    models = [
        SimpleNamespace(name="twice", predict=lambda rgb: 2 * cube),
        SimpleNamespace(name="upside down", predict=lambda rgb: 6 - cube),
    ]
    out = tmp_path / "figure-5.png"
    *bands, last = densities(models, scene, [600, 400, 500], out, None)  # type: ignore[arg-type]
    area = 100 * (2 + 2) / 2 + 100 * (2 + 4) / 2
    assert [row["nm"] for row in bands] == [400, 500, 600]
    assert [row["true"] for row in bands] == pytest.approx([2 / area, 2 / area, 4 / area])
    assert [row["twice"] for row in bands] == pytest.approx([row["true"] for row in bands])
    assert last["twice"] == pytest.approx(1) and last["upside down"] == pytest.approx(-1)
    assert out.read_bytes()[:4] == PNG


def test_a_region_is_the_middle_quarter_or_lies_in_the_image() -> None:
    assert window(None, 8, 12) == (2, 3, 4, 6)
    assert window("1,2,3,4", 8, 12) == (1, 2, 3, 4)
    for wrong in ("0,0,9,1", "1,2,3", "0,0,0,4", "a,b,c,d", "-1,0,2,2"):
        with pytest.raises(InputError, match="within 8 x 12"):
            window(wrong, 8, 12)


def test_figure_4b_takes_one_model_of_torch(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="shows one model"):
        draw("figure-4b", "cave", out=None, models=("mcga-s2", "mcga-s1"), scene=None, region=None,
             data_root=None, as_json=False, as_csv=False)  # fmt: skip
    exported = SimpleNamespace(name="onnx:x", spec=SimpleNamespace(features="some:function"))
    with pytest.raises(InputError, match="does not tell its features"):
        features(exported, None, tmp_path / "x.png")  # type: ignore[arg-type]


def test_shares_are_drawn_with_and_without_intervals(tmp_path: Path) -> None:
    rows = [
        {"model": f"{n} % gamma", **dict.fromkeys(("rmse", "mrae"), 0.1),
         **{f"{m}_{end}": value for m in ("rmse", "mrae") for end in ("low", "high")}}
        for n, value in ((0, 0.05), (50, None))
    ]  # fmt: skip
    for several in (rows, rows[:1]):
        assert shares(several, tmp_path / "a" / "figure-3.png").read_bytes()[:4] == PNG
