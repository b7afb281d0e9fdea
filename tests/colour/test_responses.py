"""Responses: the shipped tables, names by EXIF, files of users, and how weights and rows record them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hsrzoo.bands import VISIBLE_31
from hsrzoo.camera import Camera
from hsrzoo.colour.responses import STANDARD, camera_of, nearest_cameras, response, response_names
from hsrzoo.errors import FormatError, InputError, UnknownNameError

WAVELENGTHS = np.arange(400, 701, 10)


def table() -> np.ndarray:
    """Wavelength, and three bell curves that peak at 600, 540 and 450 nm."""
    curves = [np.exp(-(((WAVELENGTHS - peak) / 40) ** 2)) for peak in (600, 540, 450)]
    return np.column_stack([WAVELENGTHS, *curves])


def write_csv(path: Path, rows: np.ndarray, header: str = "wavelength_nm,red,green,blue\n") -> Path:
    path.write_text(header + "\n".join(",".join(f"{x:.6g}" for x in row) for row in rows) + "\n")
    return path


def test_the_four_standard_responses_and_52_measured_ones_are_built_in():
    names = response_names()
    assert len(names) == 56 and set(STANDARD) < set(names)
    for name in names:
        wavelengths, curves = response(name)
        assert wavelengths[0] <= 400 and wavelengths[-1] >= 680 and np.all(np.diff(wavelengths) > 0)
        if name not in ("cie-1931", "cie-1964"):
            red, green, blue = wavelengths[curves.argmax(axis=0)]
            assert red > green > blue, name


def test_a_measured_table_holds_the_published_values():
    wavelengths, curves = response("canon-eos-100d")
    assert curves[wavelengths.tolist().index(400)] == pytest.approx(
        [0.00211985, 0.00260444, 0.0150057], 1e-5
    )


@pytest.mark.parametrize(
    ("make", "model", "name"),
    [
        ("Canon", "Canon EOS 5D Mark II", "canon-eos-5d-mark-ii"),
        ("NIKON CORPORATION", "NIKON D810", "nikon-d810"),
        ("NIKON CORPORATION", "NIKON Z 6_2", "nikon-z-f"),
        ("SONY", "ILCE-7RM5", "sony-ilce-7rm4"),
        ("FUJIFILM", "X-T4", "fujifilm-x-t4"),
        ("Google", "Pixel 7", None),
    ],
)
def test_exif_names_a_camera(make: str, model: str, name: str | None) -> None:
    assert camera_of(make, model) == name


def test_an_unknown_camera_has_nearest_names():
    assert nearest_cameras("Canon", "Canon EOS 5D Mark V")[0].startswith("canon-eos-5d-mark")
    with pytest.raises(UnknownNameError, match="Nearest: canon-eos-5d-mark-ii,"):
        Camera.named("Canon 5D Mark II")


@pytest.mark.parametrize("separator", [",", ";", "\t", "  "])
def test_a_file_is_a_camera(tmp_path: Path, separator: str) -> None:
    path = write_csv(tmp_path / "mine.csv", table())
    path.write_text(path.read_text().replace(",", separator))
    camera = Camera.named(str(path))
    assert camera.name.startswith("mine-")
    np.testing.assert_allclose(camera.table[1], table()[:, 1:], atol=1e-6)


def test_percent_and_the_order_of_rows_do_not_matter(tmp_path: Path) -> None:
    rows = table()
    shares = Camera.named(str(write_csv(tmp_path / "a.csv", rows)))
    percent = Camera.named(str(write_csv(tmp_path / "b.csv", rows[::-1] * [1, 100, 100, 100], header="")))
    np.testing.assert_allclose(shares.matrix(VISIBLE_31), percent.matrix(VISIBLE_31), atol=1e-5)


def test_json_of_ours_and_of_rawtoaces_is_read(tmp_path: Path) -> None:
    rows = table()
    ours = {"wavelengths_nm": rows[:, 0].tolist(), "sensitivities": rows[:, 1:].tolist()}
    main = {f"{row[0]:g}": row[1:].tolist() for row in rows}
    theirs = {"spectral_data": {"data": {"main": main}}}
    for name, content in {"ours": ours, "theirs": theirs}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        np.testing.assert_allclose(Camera.named(str(tmp_path / f"{name}.json")).table[1], rows[:, 1:])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (table()[:, :3], "four columns"),
        (np.delete(table(), slice(10, 14), axis=0), "490 nm followed by 540 nm"),
        (table()[10:], "cover 420-680"),
        (table() - [0, 0, 0.1, 0], "none of them negative"),
        (table() * [1, 1, 0, 1], "none of them negative"),
        (table()[:, [0, 1, 1, 3]], "three different channels"),
        (table() * [1, 1, np.nan, 1], "NaN"),
        (table() / [1000, 1, 1, 1], "wavelengths in nm"),
    ],
    ids=["two channels", "gap", "short", "negative", "zero", "proportional", "nan", "micrometres"],
)
def test_what_is_no_response_is_refused(tmp_path: Path, rows: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Camera.named(str(write_csv(tmp_path / "bad.csv", rows)))


@pytest.mark.parametrize("text", ["", "red,green\nx,y\n", "{", "[1, 2]"])
@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_files_of_something_else_are_refused(tmp_path: Path, text: str, suffix: str) -> None:
    path = tmp_path / f"bad{suffix}"
    path.write_text(text)
    with pytest.raises((FormatError, InputError), match="not a camera response"):
        Camera.named(str(path))


def test_unknown_names_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="nikon-d5100"):
        Camera.named("nikon-d510")
    with pytest.raises(InputError, match="no such file"):
        Camera.named(str(tmp_path / "none.csv"))


def test_a_camera_is_recorded_by_name_or_with_its_table(tmp_path: Path) -> None:
    built_in = Camera.named("sony-ilce-9")
    assert built_in.record() == {"response": "sony-ilce-9"}
    own = Camera.named(str(write_csv(tmp_path / "mine.csv", table())))
    again = Camera.recorded(json.loads(json.dumps(own.record())))
    assert again is not None and again.name == own.name
    np.testing.assert_array_equal(again.matrix(VISIBLE_31), own.matrix(VISIBLE_31))
    assert Camera.recorded({"response": "of a phone"}) is None and Camera.recorded({}) is None
