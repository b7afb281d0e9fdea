"""Libraries of measured reflectances: which spectra are taken, which values count, where they come from."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.colour.chart import CHARTS, chart
from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.reflectances import LIBRARIES
from hsrzoo.errors import DatasetMissingError, FormatError, UnknownNameError

GRID = BandSet.regular(380, 800, 10)


def write_libraries(root, count=30):
    """ECOSTRESS and rawtoaces with noise as spectra, (count, C) each."""
    spectra = np.random.default_rng(0).uniform(0.1, 0.9, (count, len(GRID))).astype("<f4")
    header, table = root / "spectra" / LIBRARIES["ecostress"].files[0], root / "spectra" / RAWTOACES
    for file in (header, table):
        file.parent.mkdir(parents=True)
    return header, table, spectra


RAWTOACES = LIBRARIES["rawtoaces"].files[0]


def write_ecostress(header, spectra):
    header.with_suffix("").write_bytes(spectra.tobytes())
    header.write_text(
        f"ENVI\nsamples = 1\nlines = {len(spectra)}\nbands = {len(GRID)}\nheader offset = 0\n"
        "file type = ENVI Standard\ndata type = 4\ninterleave = bil\nbyte order = 0\n"
        f"wavelength units = nm\nwavelength = {{ {', '.join(map(str, GRID.centres_nm))} }}\n"
    )


def write_rawtoaces(table, spectra):
    rows = {f"{nm:g}": [float(v) for v in spectra[:, i]] for i, nm in enumerate(GRID.centres_nm)}
    table.write_text(json.dumps({"spectral_data": {"data": {"main": rows}}}))


def test_faulty_and_repeated_spectra_are_left_out_and_every_tenth_is_kept_for_validation(tmp_path):
    header, table, spectra = write_libraries(tmp_path)
    spectra[3, 5] = -0.01  # 430 nm
    spectra[4, 20] = 1.2  # 580 nm
    spectra[5, -1] = 1.2  # 800 nm: of no band here
    spectra[7] = spectra[6]
    write_ecostress(header, spectra)
    write_rawtoaces(table, spectra[:8])
    data = open_dataset("reflectances", tmp_path, sources="ecostress")
    valid = [0, 10, 20]
    train = [i for i in range(30) if i not in (*valid, 3, 4, 7)]
    visible = [GRID.centres_nm.index(nm) for nm in VISIBLE_31.centres_nm]
    for split, places in (("train", train), ("valid", valid)):
        assert np.allclose(data.spectra(split)["ecostress"], spectra[places][:, visible], atol=1e-6)
    assert data.bands == VISIBLE_31
    assert data.info["sources"] == {"ecostress": {"spectra": 27, "licence": "Apache-2.0"}}
    (name,) = data.scenes("train")
    scene = data.load("train", name)
    blocks = scene.cube[:, ::4, ::4].reshape(31, -1).T
    units = [
        a / np.linalg.norm(a, axis=1, keepdims=True) for a in (blocks, data.spectra("train")["ecostress"])
    ]
    assert set((units[0] @ units[1].T).argmax(axis=1)) == set(range(len(train)))  # each is shown
    assert np.array_equal(scene.rgb, data.camera.render(scene.cube, VISIBLE_31))
    both = open_dataset("reflectances", tmp_path, sources="ecostress+rawtoaces")
    assert [len(part) for part in both.spectra("train").values()] == [len(train), 4]
    assert both.fingerprint() != data.fingerprint()
    assert both.verify().problems == []


def test_charts_come_with_the_package_and_other_libraries_count_where_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # earthlib may be installed
    alone = open_dataset("reflectances", tmp_path)
    expected = np.concatenate([chart(name).reflectance for name in CHARTS])
    found = np.concatenate([alone.spectra(split)["charts"] for split in alone.splits()])
    assert list(alone.info["sources"]) == ["charts"]
    assert {tuple(row) for row in found.round(4)} == {tuple(row) for row in expected.round(4)}
    paints = tmp_path / "spectra/charts/data/APT_reflectance.csv"
    paints.parent.mkdir(parents=True)
    np.savetxt(paints, np.linspace(0.2, 0.8, 36 * 24).reshape(36, 24), delimiter=",")
    more = open_dataset("reflectances", tmp_path)
    assert sum(len(more.spectra(split)["charts"]) for split in more.splits()) == len(found) + 24


def test_absent_unknown_or_damaged(tmp_path):
    with pytest.raises(DatasetMissingError, match=r"isofit-data.*ecostress_library_with_mixtures"):
        open_dataset("reflectances", tmp_path, sources="charts+ecostress")
    with pytest.raises(UnknownNameError, match="rawtoaces"):
        open_dataset("reflectances", tmp_path, sources="rawtoacs")
    _, table, _ = write_libraries(tmp_path)
    table.write_text("{}")
    with pytest.raises(FormatError, match="a table of rawtoaces-data"):
        open_dataset("reflectances", tmp_path, sources="rawtoaces")
