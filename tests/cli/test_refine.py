"""``hsrzoo refine``: measured spectra from a table and from a small cube, against fits written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.cli.refine import command
from hsrzoo.errors import BandsError, FormatError, HsrzooError, InputError
from hsrzoo.io import load_cube, save_cube
from hsrzoo.io.metadata import metadata_of, origin
from hsrzoo.prediction.refine import _fit, _inputs, fit_refinement

HEIGHT, WIDTH = 12, 18
RANDOM = np.random.default_rng(0)
CUBE = RANDOM.uniform(0.1, 0.6, (HEIGHT, WIDTH, 31)).astype(np.float32)
WRONG = _inputs(CUBE, VISIBLE_31) @ RANDOM.normal(0, 0.1, (4, 31))
"""What a cube lacks that is linear in the colour of its pixels."""
TRUTH = CUBE + WRONG


@pytest.fixture
def cube(tmp_path: Path) -> Path:
    save_cube(tmp_path / "cube.hdr", CUBE, VISIBLE_31, metadata={"model": "net.toy"})
    return tmp_path / "cube.hdr"


def table(path: Path, places: list[tuple[int, int]], nm: tuple[float, ...] = VISIBLE_31.centres_nm) -> Path:
    lines = [",".join(["row", "column", *(f"{x:g}" for x in nm)])]
    for row, column in places:
        spectrum = np.interp(nm, VISIBLE_31.centres_nm, TRUTH[row % HEIGHT, column % WIDTH])
        lines.append(",".join([str(row), str(column), *(repr(float(x)) for x in spectrum)]))
    path.write_text("\n".join(lines) + "\n")
    return path


def refine(*arguments: object) -> Result:
    result = CliRunner().invoke(command, [str(a) for a in arguments])
    if isinstance(result.exception, HsrzooError):
        raise result.exception
    return result


def points(count: int) -> list[tuple[int, int]]:
    chosen = RANDOM.choice(HEIGHT * WIDTH, count, replace=False)
    return [(int(i) // WIDTH, int(i) % WIDTH) for i in chosen]


def rmse(cube: np.ndarray) -> float:
    return float(np.sqrt(np.mean((cube - TRUTH) ** 2)))


@pytest.mark.parametrize("name", ["out.hdr", "out.tif", "out.npz"])
def test_measured_points_correct_the_whole_cube(cube: Path, tmp_path: Path, name: str) -> None:
    result = refine(cube, table(tmp_path / "points.csv", points(40)), "-o", tmp_path / name)
    assert result.exit_code == 0 and "refined with 40 measured spectra" in result.stderr
    refined, bands = load_cube(tmp_path / name)
    assert bands == VISIBLE_31 and refined.shape == CUBE.shape
    assert rmse(refined) < 0.2 * rmse(CUBE)
    wanted = "Model: net.toy; refined with: 40 spectra of points.csv"
    assert origin(metadata_of(tmp_path / name).facts) == wanted


def test_a_small_cube_of_the_scene_is_compared_with_means(cube: Path, tmp_path: Path) -> None:
    small = TRUTH.reshape(HEIGHT // 3, 3, WIDTH // 3, 3, 31).mean(axis=(1, 3))
    small[0, 0] = np.nan
    save_cube(tmp_path / "small.npz", small.astype(np.float32), VISIBLE_31)
    result = refine(cube, tmp_path / "small.npz", "-o", tmp_path / "out.npz")
    assert "with 23 measured spectra" in result.stderr
    assert rmse(load_cube(tmp_path / "out.npz")[0]) < 0.5 * rmse(CUBE)


def test_a_spectrometer_of_other_bands_is_resampled(cube: Path, tmp_path: Path) -> None:
    nm = tuple(float(x) for x in np.arange(390, 711, 5))
    refine(cube, table(tmp_path / "points.csv", points(40), nm), "-o", tmp_path / "out.npz")
    assert rmse(load_cube(tmp_path / "out.npz")[0]) < 0.3 * rmse(CUBE)


def test_the_leave_one_out_error_is_that_of_fits_without_each_point() -> None:
    inputs, missing = RANDOM.random((7, 4)), RANDOM.random((7, 5))
    _, left_out = _fit(inputs, missing, 0.3)
    errors = []
    for i in range(7):
        rest = np.arange(7) != i
        moment = inputs[rest].T @ inputs[rest] + 0.3 * np.eye(4)
        weights = np.linalg.solve(moment, inputs[rest].T @ missing[rest])
        errors.append(missing[i] - inputs[i] @ weights)
    assert left_out == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-12)


def test_a_cube_that_is_right_stays_as_it_is() -> None:
    spectra = TRUTH.reshape(-1, 31)[:10]
    found = fit_refinement(spectra, spectra, VISIBLE_31)
    np.testing.assert_array_equal(found(spectra), spectra.astype(np.float32))


@pytest.mark.parametrize(
    ("places", "nm", "error", "words"),
    [
        ([(0, 0), (1, 1)], VISIBLE_31.centres_nm, InputError, "at least 3. Got 2"),
        ([(0, 0), (1, WIDTH), (2, 2)], VISIBLE_31.centres_nm, InputError, "column 18 in line 3"),
        ([(0, 0), (-1, 0), (2, 2)], VISIBLE_31.centres_nm, InputError, "row 0 to 11"),
        ([(0, 0), (1, 1), (2, 2)], (450.0, 500.0, 650.0), BandsError, "nothing at 400 nm"),
    ],
    ids=["too few", "outside", "negative", "bands"],
)
def test_points_that_do_not_fit_are_refused(
    cube: Path, tmp_path: Path, places: list, nm: tuple[float, ...], error: type, words: str
) -> None:
    with pytest.raises(error, match=words):
        refine(cube, table(tmp_path / "points.csv", places, nm), "-o", tmp_path / "out.hdr")
    assert not list(tmp_path.glob("out*"))


def test_spectra_in_percent_are_refused(cube: Path, tmp_path: Path) -> None:
    lines = table(tmp_path / "points.csv", [(0, 0), (1, 1), (2, 2)]).read_text().splitlines()
    for i in (1, 2, 3):
        row, column, *values = lines[i].split(",")
        lines[i] = ",".join([row, column, *(str(100 * float(x)) for x in values)])
    (tmp_path / "points.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"not scaled to \[0, 1\].*units of the cube"):
        refine(cube, tmp_path / "points.csv", "-o", tmp_path / "out.hdr")


@pytest.mark.parametrize("text", ["", "x,y\n1,2\n", "row,column,400\n1,2\n", "row,column,400\n1,2,red\n"])
def test_what_is_no_table_is_refused(cube: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "points.csv").write_text(text)
    with pytest.raises((FormatError, InputError), match=r"measured spectr|0 bytes"):
        refine(cube, tmp_path / "points.csv", "-o", tmp_path / "out.hdr")


def test_a_cube_of_another_size_is_refused(cube: Path, tmp_path: Path) -> None:
    save_cube(tmp_path / "small.npz", np.ones((5, 5, 31), np.float32), VISIBLE_31)
    with pytest.raises(InputError, match="divided by a whole number"):
        refine(cube, tmp_path / "small.npz", "-o", tmp_path / "out.hdr")
    save_cube(tmp_path / "bands.npz", np.ones((4, 6, 2), np.float32), BandSet((500, 600)))
    with pytest.raises(BandsError, match="nothing at 400 nm"):
        refine(cube, tmp_path / "bands.npz", "-o", tmp_path / "out.hdr")
