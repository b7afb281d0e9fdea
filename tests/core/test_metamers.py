"""The range of all spectra that a colour can have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import hsrzoo
from hsrzoo.bands import BandSet
from hsrzoo.camera import Camera
from hsrzoo.cli.predict import command
from hsrzoo.colour.spectra import Spectra
from hsrzoo.errors import HsrzooError
from hsrzoo.io import load_cube
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.uncertainty import metamer_cache, metamers
from hsrzoo.uncertainty.metamers import TOLERANCE, MetamerTable, Programmes

BANDS = BandSet.regular(500, 800, 100)
SEEN = np.eye(3, 4)
"""A camera that sees the first three bands, and not the fourth."""


def test_bands_that_the_camera_sees_are_known_and_others_are_not() -> None:
    programmes = Programmes.of_spectra(SEEN, np.eye(4))  # four components of four bands: no residual
    rgb = np.array([0.2, 0.001, 0.7])
    lower, upper = programmes.ends(rgb, TOLERANCE)
    assert lower == pytest.approx([0.2 - TOLERANCE, 0, 0.7 - TOLERANCE, 0], abs=1e-6)
    assert upper == pytest.approx([0.2 + TOLERANCE, 0.001 + TOLERANCE, 0.7 + TOLERANCE, 1], abs=1e-6)
    assert programmes.smallest_tolerance(rgb) == pytest.approx(0, abs=1e-6)


def test_spectra_lie_in_the_principal_components_up_to_their_residual(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metamers, "COMPONENTS", 1)
    flat = np.ones((4, 4)) + 0.04 * np.diag([0, 0, 0, 1.0])  # all greys, the last band a little off
    programmes = Programmes.of_spectra(SEEN, flat)
    rgb = np.array([0.5, 0.5, 0.5])
    residual = programmes.residual * (1.5 + 0.003)
    assert programmes.residual[3] == pytest.approx(0.2 * 0.75 / 3, rel=0.02)
    lower, upper = programmes.ends(rgb, TOLERANCE)
    component = programmes.components[:, 0]
    share = (0.5 + TOLERANCE + residual[:3]) / component[:3]
    assert upper[3] == pytest.approx(share.min() * component[3] + residual[3], abs=1e-5)
    assert lower[3] < 0.5 < upper[3]
    # no grey is green: off by half of the difference, less what the residual explains
    green = np.array([0.0, 0.4, 0.0])
    found = programmes.smallest_tolerance(green)
    assert found == pytest.approx(0.2, abs=0.02)


@pytest.fixture(scope="module")
def table() -> Iterator[MetamerTable]:
    """Of all spectra of four bands; the grid stays small while it is used."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metamers, "STEPS", 3)
        patch.setattr(metamers, "LEVELS", (0, 0.5, 1))
        programmes = Programmes.of_spectra(SEEN, np.eye(4))
        yield MetamerTable.solve(programmes, BANDS, "made-up", lambda done: None)


def test_nodes_of_the_grid_hold_solutions_and_pixels_between_them_are_interpolated(
    table: MetamerTable,
) -> None:
    programmes = Programmes.of_spectra(SEEN, np.eye(4))
    at_nodes = np.array([[0.5, 0.5, 0.5], [0, 0, 0], [1, 0, 0], [1, 1, 0.5][::-1], [0.25, 0.5, 0.25]])
    lower, upper = table.at(torch.tensor(at_nodes, dtype=torch.float32))
    for pixel, low, high in zip(at_nodes[:3], lower, upper, strict=False):
        expected = programmes.ends(pixel, TOLERANCE + 1e-5)
        assert np.allclose([low, high], expected, atol=2e-5)
    half = torch.tensor([[[0.25, 0.25, 0.25], [0.75, 0.75, 0.75]]])  # between two levels, of known ends
    low, high = table.at(half)
    assert low.shape == (1, 2, 4)
    assert np.allclose(low[0, :, :3], half - TOLERANCE, atol=0.002)
    assert np.allclose(high[0, 0, :3], 0.25 + TOLERANCE, atol=1e-4)
    chosen, _ = table.select([3, 1]).at(half)
    assert torch.equal(chosen, low[..., [3, 1]])


def test_a_pixel_between_nodes_gets_their_weighted_mean(table: MetamerTable) -> None:
    """Whatever is a linear function of colour at the nodes comes out of the interpolation."""
    nodes = [np.array([i, j, 3 - i - j]) for i in range(4) for j in range(4 - i)]
    rgb = np.array([level * node / node.max() for node in nodes for level in metamers.LEVELS])
    linear = MetamerTable(torch.tensor(np.tile(rgb[:, :1], 8), dtype=torch.float32), table.gap, BANDS, "")
    grey = torch.tensor([[0.3, 0.3, 0.3], [0.9, 0.9, 0.9], [0.7, 0, 0], [0, 0.2, 0]])
    assert linear.at(grey)[0][:, 0].tolist() == pytest.approx([0.3, 0.9, 0.7, 0], abs=1e-4)


def test_colours_that_no_spectrum_has_are_told(table: MetamerTable) -> None:
    nodes = [(i, j) for i in range(4) for j in range(4 - i)]
    far = torch.tensor([float(node == (0, 3)) * level for node in nodes for level in metamers.LEVELS])
    pixels = torch.tensor([[0.5, 0.5, 0.5], [0, 0, 0], [0, 0.9, 0]])
    found = MetamerTable(table.ends, far, BANDS, "").impossible_at(pixels)
    assert found.tolist() == [False, False, True]


# ------------------------------------------------------------------ of a model, cached


@pytest.fixture
def cache(tmp_path: Path, table: MetamerTable, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Solved with spectra of the bands of the small model."""

    def spectra(bands: BandSet, *_: str) -> Spectra:
        return Spectra(bands, np.zeros(len(bands)), np.eye(len(bands)), {}, {})

    monkeypatch.setattr(metamer_cache, "spectra_for", spectra)
    monkeypatch.setenv("HSRZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def with_camera(model: Reconstructor) -> Reconstructor:
    """``model``, whose pairs a camera has rendered."""
    camera = SimpleNamespace(name="made up", matrix=lambda bands: SEEN)
    loaded: Any = SimpleNamespace(**vars(model.loaded), trained_camera=camera, own_consistency=None)
    model.loaded = loaded
    return model


def test_the_range_is_solved_once_and_found_again(
    model: Reconstructor, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rgb = np.random.default_rng(0).random((5, 4, 3), dtype=np.float32)
    first = with_camera(model)(rgb, interval="metamer")
    assert first.level == "metamer"
    assert first.unfamiliar is None
    assert first.lower.shape == first.upper.shape == first.cube.shape
    assert (first.lower <= first.upper).all()
    assert (first.upper[..., 3] - first.lower[..., 3] > 0.9).all()
    [file] = cache.glob("metamers-made-up-*.safetensors")
    del model.metamers
    with monkeypatch.context() as patch:
        patch.setattr(MetamerTable, "solve", None)
        monkeypatch.setattr("hsrzoo.uncertainty.apply.AT_ONCE", 8)
        again = model(rgb, interval="metamer")
        batch = model(torch.from_numpy(rgb).permute(2, 0, 1)[None], interval="metamer")
    assert np.allclose(again.upper, first.upper)
    assert np.allclose(batch.lower[0].permute(1, 2, 0), first.lower)
    file.write_bytes(file.read_bytes()[:100])  # damaged: solved again
    del model.metamers
    assert np.allclose(model(rgb, interval="metamer").lower, first.lower)


def test_both_ends_are_written_beside_the_cube(
    model: Reconstructor, table: MetamerTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.metamers = replace(table, bands=model.bands)
    rgb = np.random.default_rng(0).uniform(0.1, 0.4, (6, 5, 3)).astype(np.float32)
    np.save(tmp_path / "image.npy", rgb)
    monkeypatch.setattr("hsrzoo.models.loading.load", lambda name, **_: model)
    out = tmp_path / "cube.hdr"
    arguments = [tmp_path / "image.npy", "--model", "linear", "-o", out, "--interval", "metamer",
                 "--bands", "700,500", "--dtype", "uint16"]  # fmt: skip
    found = CliRunner().invoke(command, [str(one) for one in arguments], catch_exceptions=False)
    assert found.exit_code == 0
    assert "range of metamers" in found.output
    expected = model(rgb, interval="metamer")
    for end in ("lower", "upper"):
        values, bands = load_cube(tmp_path / f"cube.metamer-{end}.hdr")
        assert bands == model.bands.select([model.bands.nearest([w])[0] for w in (700, 500)])
        assert np.allclose(values, getattr(expected, end)[..., model.bands.nearest([700, 500])], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trained_camera": None}, "names the camera of the training pairs"),
        ({"execution": SimpleNamespace(consistency="canon-5d")}, "camera consistency for canon-5d"),
    ],
)
def test_models_without_a_range_say_why(
    model: Reconstructor, cache: Path, change: dict[str, Any], message: str
) -> None:
    loaded: Any = SimpleNamespace(**{**vars(with_camera(model).loaded), **change})
    model.loaded = loaded
    with pytest.raises(HsrzooError, match=message):
        model(np.zeros((2, 2, 3), np.uint8), interval="metamer")


def test_other_bands_than_those_of_the_spectra_are_refused() -> None:
    model = hsrzoo.load("linear", weights=None, bands=BANDS, device="cpu")
    model.loaded = SimpleNamespace(
        **vars(model.loaded), trained_camera=Camera.named("nikon-d5100"), own_consistency=None
    )  # type: ignore[assignment]
    with pytest.raises(HsrzooError, match="the spectra that a colour can have"):
        model(np.zeros((2, 2, 3), np.uint8), interval="metamer")
