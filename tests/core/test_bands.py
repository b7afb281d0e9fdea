"""Band sets: construction, comparison, resampling against hand-computed weights."""

from __future__ import annotations

import numpy as np
import pytest

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.errors import BandsError


def test_units_become_nanometres() -> None:
    assert BandSet.of([0.4, 0.7], [0.01, 0.02], unit="um") == BandSet((400.0, 700.0), (10.0, 20.0))
    assert BandSet.of([4e-7], unit="m").centres_nm[0] == pytest.approx(400)


@pytest.mark.parametrize(
    ("unit", "centre", "width"),
    [
        ("Nanometers", 500, 10),
        ("\u00b5m", 0.5, 0.01),
        ("\u03bcm", 0.5, 0.01),
        ("Micrometers", 0.5, 0.01),
        ("Angstroms", 5000, 100),
        ("\u212b", 5000, 100),
        ("metres", 5e-7, 1e-8),
        ("cm-1", 20000, 400),  # 1e7 / 20000 nm; 1e7 / 20000^2 x 400 nm
        ("Wavenumber", 20000, 400),
        ("cm\u207b\u00b9", 20000, 400),
        ("1/cm", 20000, 400),
        ("THz", 599.584916, 11.99169832),  # c / 500 nm; c / (500 nm)^2 x 10 nm
        ("GHz", 599584.916, 11991.69832),
        ("eV", 2.479683968, 0.04959367936),  # h c / 500 nm
    ],
)
def test_lengths_and_reciprocal_units_become_nanometres(unit, centre, width) -> None:
    bands = BandSet.of([centre, centre], [width, width], unit)
    assert bands.centres_nm == pytest.approx((500, 500), abs=1e-9)
    assert bands.widths_nm == pytest.approx((10, 10), abs=1e-9)


def test_bands_that_ascend_within_large_detectors_keep_their_order() -> None:
    assert VISIBLE_31.sorting() is None and BandSet((500,)).sorting() is None
    assert BandSet((700, 600, 600, 500)).sorting() == [3, 1, 2, 0]
    assert BandSet((500, 700, 600)).sorting() == [0, 2, 1]
    detectors = [*range(400, 800, 10), *range(700, 1300, 20)]
    assert BandSet(tuple(detectors)).sorting() is None
    assert BandSet((*detectors, 690)).sorting() is not None


@pytest.mark.parametrize(
    "make",
    [
        lambda: BandSet(()),
        lambda: BandSet((400.0, float("nan"))),
        lambda: BandSet((-1.0,)),
        lambda: BandSet((400.0, 500.0), (10.0,)),
        lambda: BandSet((400.0,), (0.0,)),
        lambda: BandSet.of([1], unit="furlong"),
        lambda: BandSet.of([0], unit="cm-1"),
        lambda: BandSet.regular(700, 400, 10),
        lambda: BandSet.regular(400, 700, 0),
    ],
)
def test_impossible_bands_are_refused(make) -> None:
    with pytest.raises(BandsError):
        make()


def test_visible_grid_is_400_to_700_by_10() -> None:
    assert VISIBLE_31.centres_nm == tuple(float(x) for x in range(400, 701, 10))


def test_comparison_minds_order_and_tolerance() -> None:
    bands = BandSet((400.0, 500.0))
    assert bands.same_as(BandSet((400.4, 499.6)))
    assert not bands.same_as(BandSet((400.6, 500.0)))
    assert not bands.same_as(BandSet((500.0, 400.0)))
    assert not bands.same_as(BandSet((400.0,)))
    with pytest.raises(BandsError, match=r"model.*2 bands, 400-500 nm.*1 bands, 400-400 nm"):
        bands.require_same(BandSet((400.0,)), "the model", "the data")
    with pytest.raises(BandsError) as caught:
        bands.require_same(BandSet((400.0,)), "the model", "the data", fix="Leave them out")
    assert str(caught.value) == (
        "The bands of the model and the data differ. Expected 2 bands, 400-500 nm (the model). "
        "Got 1 bands, 400-400 nm (the data). Leave them out."
    )
    with pytest.raises(BandsError, match=r"the first difference is band 2: 500 nm against 510 nm"):
        bands.require_same(BandSet((400.0, 510.0)), "the model", "the data")


def test_json_round_trip_keeps_order_duplicates_and_widths() -> None:
    bands = BandSet((500.0, 400.0, 500.0), (1.0, 2.0, 3.0))
    assert BandSet.from_json(bands.to_json()) == bands
    assert bands.select([2, 1]) == BandSet((500.0, 400.0), (3.0, 2.0))


def test_one_detector_is_interpolated_linearly() -> None:
    matrix, covered = BandSet((400.0, 420.0, 460.0)).resample_matrix(BandSet((400.0, 405.0, 430.0, 460.0)))
    assert covered.all()
    np.testing.assert_allclose(
        matrix, [[1, 0, 0], [0.75, 0.25, 0], [0, 0.75, 0.25], [0, 0, 1]], rtol=0, atol=1e-12
    )


def test_overlapping_detectors_are_averaged_by_width() -> None:
    # detector 1: 400, 410, 420 nm of width 10; detector 2: 415, 425, 435 nm of width 5.
    # At 418: detector 1 reads 0.2 x[1] + 0.8 x[2], detector 2 reads 0.7 x[3] + 0.3 x[4],
    # weighted 10 : 5, so 2/3 : 1/3.
    bands = BandSet((400.0, 410.0, 420.0, 415.0, 425.0, 435.0), (10.0,) * 3 + (5.0,) * 3)
    matrix, covered = bands.resample_matrix(BandSet((418.0,)))
    expected = [[0, 0.2 * 2 / 3, 0.8 * 2 / 3, 0.7 / 3, 0.3 / 3, 0]]
    assert covered.all()
    np.testing.assert_allclose(matrix, expected, rtol=0, atol=1e-12)
    unknown, _ = BandSet(bands.centres_nm).resample_matrix(BandSet((418.0,)))
    np.testing.assert_allclose(unknown, [[0, 0.1, 0.4, 0.35, 0.15, 0]], rtol=0, atol=1e-12)


def test_an_end_is_not_extrapolated_where_another_detector_measures() -> None:
    # 423 nm lies 3 nm past detector 1's end, within half a spacing, but inside detector 2
    bands = BandSet((400.0, 410.0, 420.0, 415.0, 425.0, 435.0))
    matrix, _ = bands.resample_matrix(BandSet((423.0,)))
    np.testing.assert_allclose(matrix, [[0, 0, 0, 0.2, 0.8, 0]], rtol=0, atol=1e-12)


def test_width_at_the_target_is_interpolated() -> None:
    # widths 10 and 30 at 400 and 420: 20 at 410; the second detector has 20 there too
    bands = BandSet((400.0, 420.0, 400.0, 420.0), (10.0, 30.0, 20.0, 20.0))
    matrix, _ = bands.resample_matrix(BandSet((410.0,)))
    np.testing.assert_allclose(matrix, [[0.25, 0.25, 0.25, 0.25]], atol=1e-12)


def test_edges_reach_half_a_spacing_and_no_further() -> None:
    bands = BandSet((400.0, 410.0, 430.0))
    matrix, covered = bands.resample_matrix(BandSet((394.0, 395.0, 440.0, 441.0)))
    assert covered.tolist() == [False, True, True, False]
    np.testing.assert_array_equal(matrix, [[0, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]])


@pytest.mark.parametrize("order", [[2, 1, 0], [1, 2, 0], [0, 2, 1]])
def test_descending_and_shuffled_bands_are_sorted_first(order: list[int]) -> None:
    ascending = BandSet((400.0, 410.0, 430.0))
    target = BandSet((405.0, 420.0, 430.0))
    expected, _ = ascending.resample_matrix(target)
    matrix, covered = ascending.select(order).resample_matrix(target)
    assert covered.all()
    np.testing.assert_allclose(matrix, expected[:, order], rtol=0, atol=1e-12)


def test_resampling_a_cube_matches_a_loop_over_pixels() -> None:
    bands, target = BandSet((400.0, 500.0, 450.0, 550.0)), BandSet((425.0, 475.0, 900.0))
    cube = np.random.default_rng(0).random((4, 2, 3), dtype=np.float32)
    result, covered = bands.resample(cube, target)
    matrix, _ = bands.resample_matrix(target)
    assert result.dtype == np.float32 and covered.tolist() == [True, True, False]
    for t in range(3):
        for y in range(2):
            for x in range(3):
                by_hand = sum(float(matrix[t, c]) * float(cube[c, y, x]) for c in range(4))
                assert result[t, y, x] == pytest.approx(by_hand, abs=1e-6)
    # 425 is measured by detector 400-500 alone, 475 by both
    assert result[0, 0, 0] == pytest.approx(0.75 * cube[0, 0, 0] + 0.25 * cube[1, 0, 0], abs=1e-6)


def test_resampling_onto_itself_changes_nothing() -> None:
    matrix, covered = VISIBLE_31.resample_matrix(VISIBLE_31)
    assert covered.all()
    np.testing.assert_allclose(matrix, np.eye(31), atol=1e-12)


def test_a_cube_of_other_bands_is_refused() -> None:
    with pytest.raises(BandsError, match=r"31 channels first.*\(4, 2, 2\)"):
        VISIBLE_31.resample(np.zeros((4, 2, 2)), VISIBLE_31)


def test_resampling_spreads_a_gap_only_to_the_targets_that_it_counts_for():
    cube = np.random.default_rng(0).random((5, 3, 4)).astype(np.float32)
    bands, target = BandSet.regular(400, 480, 20), BandSet((400.0, 420.0, 430.0, 440.0, 450.0, 480.0))
    expected, _ = bands.resample(cube, target)
    cube[2, 1, 1] = np.nan  # 440 nm, in which 430, 440 and 450 nm have a share
    found, covered = bands.resample(cube, target)
    lost = np.zeros(found.shape, bool)
    lost[[2, 3, 4], 1, 1] = True
    assert covered.all() and np.array_equal(np.isnan(found), lost)
    assert np.allclose(found[~lost], expected[~lost], rtol=1e-6)


@pytest.mark.parametrize(
    ("centres", "wanted", "found"),
    [
        ([400, 410, 420, 430], [431, 404, 415.1], [3, 0, 2]),
        ([400, 410, 420, 430], [395, 435], [0, 3]),
        ([430, 400, 420, 410], [411], [3]),
        ([400, 400, 410, 420], [400], [0]),  # where detectors overlap, the first
        ([900], [900.5], [0]),
    ],
)
def test_the_nearest_bands_lie_within_half_a_spacing(centres, wanted, found):
    assert BandSet.of(centres).nearest(wanted) == found


@pytest.mark.parametrize(
    ("centres", "wanted", "words"),
    [
        ([400, 410, 420], [425.1], r"no band at 425\.1 nm.*within 5 nm.*420 nm is nearest"),
        ([400, 410, 420, 600], [500], r"within 5 nm"),  # a gap is not bridged
        ([400, 410], [float("nan")], "no band at nan"),
        ([900], [901], r"within 0\.5 nm"),
        ([400, 410, 420], [409, 411], "409 and 411 nm are the same band"),
    ],
)
def test_a_wavelength_without_a_band_of_its_own_is_refused(centres, wanted, words):
    with pytest.raises(BandsError, match=words):
        BandSet.of(centres).nearest(wanted)
