"""Codes as spectra, the figures of a folder's sources, and their picture."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.errors import BandsError, StoreError, UnknownNameError, WeightsError
from hsrzoo_mcga.codebook.folder import CodebookFolder, Source, mix, write
from hsrzoo_mcga.command import command
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder
from hsrzoo_mcga.stage1.decoding import (
    coarser_map,
    code_spectra,
    decode,
    encode,
    influence,
    load_autoencoder,
    matching_codes,
)
from hsrzoo_mcga.stage1.plot import break_at_gaps, colours, draw
from hsrzoo_mcga.stage1.report import report_source
from hsrzoo_mcga.stage1.task import split_state
from make_fixtures import make_cave_tree

FAR = BandSet.regular(900, 1000, 20)


def autoencoder(bands: int = 6, scales: int = 2, mask: str = "by-band") -> SpectralAutoencoder:
    torch.manual_seed(0)
    return SpectralAutoencoder(bands, scales, latent=16, n_codes=12, mask=mask).eval()


def make_folder(path: Path, name: str, bands: BandSet, record: dict[str, object]) -> CodebookFolder:
    module = autoencoder(len(bands))
    codes, rest = split_state(module)
    write(path, codes, {name: rest}, [Source(name, bands, 12, record)], 16)
    return CodebookFolder.read(path)


@pytest.fixture
def mixture(tmp_path: Path) -> CodebookFolder:
    figures = {"rmse_all": 0.04, "usage_1": 0.75, "perplexity_1": 5.0, "usage_2": 0.5, "perplexity_2": 4.0}
    told = {"figures": figures, "figures_on": "held-out training scenes", "dataset": "cave"}
    one = make_folder(tmp_path / "a", "near", VISIBLE_31, told)
    other = make_folder(tmp_path / "b", "far", FAR, {})
    return mix([one, other], tmp_path / "mixed")


@torch.inference_mode()
def test_coarser_maps_are_those_that_algorithm_1_finds() -> None:
    module = autoencoder(scales=3)
    maps = encode(module, torch.rand(2, 6, 32, 48))
    assert [tuple(m.shape) for m in maps] == [(2, 16, 24), (2, 8, 12), (2, 4, 6)]
    for scale in (1, 2):
        assert torch.equal(coarser_map(module, scale, maps[scale - 1]), maps[scale])


@torch.inference_mode()
def test_companions_are_those_of_large_even_areas() -> None:
    """Oracle: maps of 64 x 64 pixels, whose middle no padding reaches."""
    module = autoencoder(scales=3)
    for code in range(12):
        finest = torch.full((1, 32, 32), code)
        second = coarser_map(module, 1, finest)
        third = coarser_map(module, 2, torch.full((1, 16, 16), int(second[0, 8, 8])))
        found = [int(c[code]) for c in matching_codes(module, 1)]
        assert found == [code, int(second[0, 8, 8]), int(third[0, 4, 4])]


@torch.inference_mode()
def test_a_code_s_spectrum_is_the_middle_of_a_large_even_area() -> None:
    module = autoencoder()
    for scale, spectra in enumerate(code_spectra(module), 1):
        assert spectra.shape == (12, 6)
        chosen = matching_codes(module, scale)
        assert torch.equal(chosen[scale - 1], torch.arange(12))
        maps = [c[3].expand(1, 32 >> i, 32 >> i) for i, c in enumerate(chosen, 1)]
        assert torch.allclose(spectra[3], decode(module, maps)[0, :, 16, 16], atol=1e-6)


@torch.inference_mode()
def test_decoding_gives_each_code_in_the_place_of_its_feature() -> None:
    module = autoencoder()
    maps = encode(module, torch.rand(1, 6, 16, 16))
    parts = []
    for i, indices in enumerate(maps):
        codes = module.codes[i][indices].permute(0, 3, 1, 2)
        narrowed = module.reconstruction.narrow[i](torch.cat([codes, codes], 1))
        wide = torch.nn.functional.interpolate(narrowed, (16, 16), mode="bilinear", align_corners=False)
        parts.append(torch.nn.functional.gelu(module.reconstruction.refine[i](wide)))
    expected = module.reconstruction.head(torch.cat(parts[::-1], 1))
    assert torch.allclose(decode(module, maps), expected, atol=1e-5)


def test_a_scale_that_the_decoder_ignores_has_no_influence() -> None:
    module = autoencoder()
    with torch.no_grad():
        module.reconstruction.narrow[1].weight.zero_()
    first, second = influence(module)
    assert second == pytest.approx(0, abs=1e-6) and first > 1e-4
    twice = autoencoder()
    with torch.no_grad():
        twice.reconstruction.narrow[1].weight.zero_()
        twice.reconstruction.head.weight.mul_(2)
    assert influence(twice)[0] == pytest.approx(2 * first, rel=1e-4)


def test_literal_masks_are_read_with_their_even_bands() -> None:
    module = autoencoder(mask="drop-ordered")
    with torch.inference_mode():
        assert encode(module, torch.rand(1, 6, 8, 8))[0].shape == (1, 4, 4)


def test_recorded_figures_are_told_of_every_source(mixture: CodebookFolder) -> None:
    near, far = (report_source(mixture, source) for source in mixture.sources)
    assert near.dead == (3, 6) and near.figures_on == "held-out training scenes"
    assert far.dead == () and far.figures_on == "nothing"
    assert [s.shape for s in far.spectra] == [(12, 6), (12, 6)]
    assert near.widths == (8, 4)
    assert set(near.sha256) == {"codebooks/1.safetensors", "codebooks/2.safetensors", "autoencoders/near.safetensors"}  # fmt: skip  # noqa: E501
    assert near.sha256.items() <= mixture.sha256.items()


def test_new_figures_count_the_very_codes_that_were_used(mixture: CodebookFolder, tmp_path: Path) -> None:
    from hsrzoo.datasets import open_dataset

    make_cave_tree(tmp_path)
    data = open_dataset("cave", tmp_path)
    report = report_source(mixture, mixture.sources[0], data, "train")
    module = load_autoencoder(mixture, mixture.sources[0])
    with torch.inference_mode():
        cubes = [torch.from_numpy(data.load("train", s).cube)[None] for s in data.scenes("train")]
        maps = [encode(module, c) for c in cubes]
    for i in range(2):
        used = set(torch.cat([m[i].flatten() for m in maps]).tolist())
        assert report.used is not None and set(np.flatnonzero(report.used[i])) == used
        assert report.dead[i] == 12 - len(used)
    assert report.figures_on == "cave/train, 2 scenes" and 0 < report.figures["rmse_all"] < 1
    with pytest.raises(BandsError, match="900-1000"):
        report_source(mixture, mixture.sources[1], data)


def test_lines_are_open_where_the_sensor_has_gaps_or_another_detector_begins() -> None:
    bands = BandSet((400, 410, 420, 500, 510, 505, 515))
    nm, values = break_at_gaps(bands, np.arange(7.0)[None])
    assert nm.tolist() == [400, 410, 420, 500, 500, 510, 505, 505, 515]
    assert np.flatnonzero(np.isnan(values[0])).tolist() == [3, 6]
    nm, values = break_at_gaps(BandSet((420, 410, 400)), np.array([[2.0, 1.0, 0.0]]))
    assert nm.tolist() == [400, 410, 420] and values.tolist() == [[0, 1, 2]]
    nm, values = break_at_gaps(BandSet((550,)), np.array([[0.5]]))
    assert (nm.tolist(), values.tolist()) == ([550], [[0.5]])


def test_colours_are_those_seen_in_daylight() -> None:
    nm = np.asarray(VISIBLE_31.centres_nm)
    flat = np.stack([np.ones(31), np.zeros(31), np.full(31, 0.2140)])
    white, black, grey = colours(flat, VISIBLE_31)
    assert white == pytest.approx([1, 1, 1], abs=0.02)
    assert black == pytest.approx([0, 0, 0])
    assert grey == pytest.approx([0.5, 0.5, 0.5], abs=0.01)  # 0.2140 is linear for 0.5 in sRGB
    red, green, blue = colours(
        np.stack([nm > 610, (nm > 500) & (nm < 570), nm < 480]).astype(float), VISIBLE_31
    )
    assert (red.argmax(), green.argmax(), blue.argmax()) == (0, 1, 2)
    assert len(np.unique(colours(np.random.rand(3, 6), FAR))) == 1, "no visible bands: one grey"


def run(*words: object) -> Result:
    result = CliRunner().invoke(command, [str(w) for w in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_command_writes_json_and_spectra(mixture: CodebookFolder, tmp_path: Path) -> None:
    file = tmp_path / "codes.csv"
    told = json.loads(run("inspect", mixture.path, "--json", "--spectra", file).stdout)
    assert [row["source"] for row in told] == ["near", "far"] and told[0]["dead"] == [3, 6]
    rows = list(csv.DictReader(file.open()))
    assert len(rows) == 2 * 12 * (31 + 6)
    last = rows[-1]
    assert (last["source"], last["scale"], last["code"], last["wavelength_nm"]) == (
        "far",
        "2",
        "11",
        "1000",
    )
    report = report_source(mixture, mixture.sources[1])
    assert float(last["value"]) == pytest.approx(float(report.spectra[1][11, 5]), rel=1e-5)
    assert "near" in run("inspect", mixture.path, "--source", "near").stdout


def test_a_picture_has_a_panel_for_each_source_and_scale(mixture: CodebookFolder, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from PIL import Image

    reports = [report_source(mixture, source) for source in mixture.sources]
    draw(tmp_path / "two.png", reports)
    draw(tmp_path / "one.png", reports[:1])
    two, one = (Image.open(tmp_path / f"{n}.png").size for n in ("two", "one"))
    assert two[0] == one[0] and two[1] > 1.5 * one[1]
    with pytest.raises(StoreError, match="drawn"):
        draw(tmp_path / "no" / "such.png", reports)


def test_without_matplotlib_the_extra_is_named(
    mixture: CodebookFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(StoreError, match=r"hsrzoo\[report\]"):
        run("inspect", mixture.path, "--picture", tmp_path / "x.png")


def test_unknown_sources_and_folders_are_refused(mixture: CodebookFolder, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="near"):
        run("inspect", mixture.path, "--source", "neat")
    with pytest.raises(WeightsError, match="not a folder of codebooks"):
        run("inspect", tmp_path / "absent")
