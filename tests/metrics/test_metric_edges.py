"""What metrics do where their definition ends: zeros, NaN, tiny images, wrong input."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from hsrzoo.bands import BandSet
from hsrzoo.errors import BandsError, InputError, PluginError, UnknownNameError
from hsrzoo.metrics import STANDARD, MetricInvariantError, check_psnr_invariant, compute, measure
from hsrzoo.registry import METRICS
from hsrzoo.spec import MetricContext, MetricSpec
from waiting import LONG

BANDS = BandSet.regular(400, 700, 10)
CONTEXT = MetricContext(BANDS)


def cubes(height: int = 8, width: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = 0.2 + 0.6 * rng.random((len(BANDS), height, width))
    return truth, truth + 0.05 * rng.standard_normal(truth.shape)


def test_mrae_with_epsilon_0_leaves_zeros_out_and_counts_them():
    truth, pred = cubes()
    truth[:, 0, 0] = 0
    row = compute(["mrae"], truth, pred, MetricContext(BANDS, mrae_epsilon=0))
    kept = np.ones(truth.shape[1:], bool)
    kept[0, 0] = False
    relative = np.abs(truth - pred)[:, kept] / truth[:, kept]
    assert row["mrae_zero"] == len(BANDS)
    assert row["mrae"] == pytest.approx(relative.mean(), abs=1e-12)


def test_mrae_with_an_epsilon_keeps_zeros_with_a_raised_denominator():
    truth, pred = np.zeros((31, 2, 2)), np.full((31, 2, 2), 0.1)
    row = compute(["mrae"], truth, pred, MetricContext(BANDS, mrae_epsilon=1 / 255))
    assert row == {"mrae": pytest.approx(25.5), "mrae_zero": 0, "nan_pixels": 0}


def test_an_all_black_truth_has_no_relative_figures_but_a_count():
    row = compute(STANDARD, np.zeros((31, 6, 6)), np.full((31, 6, 6), 0.5), MetricContext(BANDS, 0.0))
    assert all(math.isnan(row[c]) for c in ("mrae", "sam", "ergas"))
    assert (row["mrae_zero"], row["sam_zero"], row["ergas_zero"]) == (31 * 36, 36, 31)
    assert row["rmse"] == pytest.approx(0.5) and row["psnr"] == pytest.approx(20 * math.log10(2))


def test_sam_leaves_out_a_truth_of_zero_and_counts_a_prediction_of_zero_as_90_degrees():
    truth, pred = cubes()
    alone = compute(["sam"], truth[:, 1:], pred[:, 1:], CONTEXT)["sam"]
    truth[:, 0, :3], pred[:, 0, 2:] = 0, 0  # both are zero at (0, 2)
    row = compute(["sam"], truth, pred, CONTEXT)
    assert row["sam_zero"] == 3
    assert row["sam"] == pytest.approx((49 * alone + 4 * 90) / 53, abs=1e-9)
    assert compute(["sam"], truth, 0 * pred, CONTEXT)["sam"] == 90
    assert math.isnan(compute(["sam"], 0 * truth, pred, CONTEXT)["sam"])


def test_zeroing_dark_pixels_makes_no_network_better():
    truth, pred = cubes()
    truth[:, 0] *= 0.01
    before = compute(["sam", "sam-lit"], truth, pred, CONTEXT)
    pred[:, 0] = 0
    after = compute(["sam", "sam-lit"], truth, pred, CONTEXT)
    assert after["sam"] > before["sam"] and after["sam-lit"] == before["sam-lit"]


@pytest.mark.parametrize(("peak", "epsilon"), [(1.0, 1 / 255), (1.0, 0.0), (20.0, 1 / 255)])
def test_lit_pixels_are_those_whose_true_mean_is_above_a_twentieth_of_the_peak(peak, epsilon):
    truth, pred = cubes()
    truth, pred = truth * peak, pred * peak
    truth[:, 0] = np.linspace(0, 0.098 * peak, len(BANDS))[:, None]  # mean 0.049 of the peak
    truth[:, 1] = np.linspace(0, 0.102 * peak, len(BANDS))[:, None]
    context = MetricContext(BANDS, epsilon, peak)
    row = compute(["sam-lit", "mrae-lit"], truth, pred, context)
    alone = compute(["sam", "mrae"], truth[:, 1:], pred[:, 1:], context)
    assert row["sam-lit_pixels"] == row["mrae-lit_pixels"] == 7 * 7
    assert row["mrae-lit_zero"] == alone["mrae_zero"] == (7 if epsilon == 0 else 0)
    assert (row["sam-lit"], row["mrae-lit"]) == pytest.approx((alone["sam"], alone["mrae"]), abs=1e-12)


def test_a_scene_without_a_lit_pixel_has_no_figures_of_lit_pixels():
    row = compute(["sam-lit", "mrae-lit"], np.full((31, 6, 6), 0.049), np.full((31, 6, 6), 0.04), CONTEXT)
    assert math.isnan(row["sam-lit"]) and math.isnan(row["mrae-lit"])
    assert row["sam-lit_pixels"] == row["mrae-lit_pixels"] == 0


def test_errors_of_each_band():
    truth, pred = cubes()
    pred = truth.copy()
    pred[3] += 0.1
    pred[4, 0], pred[4, 1] = truth[4, 0] + 0.2, truth[4, 1] - 0.2
    found = measure(["rmse"], truth, pred, CONTEXT).per_band
    rmse, bias = np.zeros(31), np.zeros(31)
    rmse[3] = bias[3] = 0.1
    rmse[4] = math.sqrt(2 * 0.04 / 8)
    np.testing.assert_allclose(found["rmse"], rmse, atol=1e-12)
    np.testing.assert_allclose(found["bias"], bias, atol=1e-12)


def test_bands_without_data_and_failed_predictions_have_no_errors():
    truth, pred = cubes()
    gaps = truth.copy()
    gaps[7], gaps[5, 0, 0] = np.nan, np.nan
    found = measure([], gaps, pred, CONTEXT).per_band
    assert np.flatnonzero(np.isnan(found["rmse"])).tolist() == [7]
    whole = measure([], truth[:, 1:], pred[:, 1:], CONTEXT).per_band["bias"]
    rows = measure([], gaps[:, 1:], pred[:, 1:], CONTEXT).per_band["bias"]
    np.testing.assert_array_equal(np.delete(whole, 7), np.delete(rows, 7))
    pred[0, 0, 1] = np.inf
    assert np.isnan(measure([], truth, pred, CONTEXT).per_band["rmse"]).all()


def test_sam_is_in_degrees():
    truth, pred = np.zeros((2, 1, 1)), np.zeros((2, 1, 1))
    truth[0], pred[1] = 0.3, 0.7
    assert compute(["sam"], truth, pred, MetricContext(BandSet.regular(500, 510, 10)))["sam"] == 90


def test_ergas_leaves_out_bands_of_zero_mean():
    truth, pred = cubes()
    fewer = BANDS.select(range(2, 31))
    alone = compute(["ergas"], truth[2:], pred[2:], MetricContext(fewer))
    truth[:2] = 0
    row = compute(["ergas"], truth, pred, CONTEXT)
    assert row["ergas_zero"] == 2
    assert row["ergas"] == pytest.approx(alone["ergas"], abs=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_prediction_that_is_not_finite_makes_every_figure_nan_and_is_counted(bad):
    truth, pred = cubes()
    truth[:, 0, 0] = 0  # left out by mrae and sam: the fault must not be left out with it
    pred[3, 0, 0] = pred[5, 0, 0] = pred[5, 1, 2] = bad
    row = compute(STANDARD, truth, pred, MetricContext(BANDS, mrae_epsilon=0))
    assert row.pop("nan_pixels") == 2
    assert len(row) == 17 and all(math.isnan(value) for value in row.values())


def test_a_truth_with_infinite_values_is_refused():
    truth, pred = cubes()
    truth[0, 0, :2] = np.inf, np.nan
    with pytest.raises(InputError, match="1 infinite value"):
        compute(["rmse"], truth, pred, CONTEXT)


@pytest.mark.parametrize("size", [(1, 1), (5, 20), (20, 5)])
def test_images_smaller_than_the_ssim_window_have_no_ssim_but_all_other_figures(size):
    row = compute(STANDARD, *cubes(*size), CONTEXT)
    assert [column for column, value in row.items() if math.isnan(value)] == ["ssim"]


def test_one_band_has_no_angle():
    truth, pred = cubes()
    row = compute(["sam", "rmse"], truth[:1], pred[:1], MetricContext(BANDS.select([0])))
    assert math.isnan(row["sam"]) and row["rmse"] > 0


def test_psnr_clamps_both_cubes():
    truth, pred = np.full((31, 6, 6), 0.9), np.full((31, 6, 6), 3.0)
    row = compute(["psnr", "rmse"], truth, pred, CONTEXT, check_range=False)
    assert row["psnr"] == pytest.approx(20, abs=1e-9)
    assert row["rmse_clamped"] == pytest.approx(0.1) and row["rmse"] == pytest.approx(2.1)


@pytest.mark.parametrize("which", ["both", "truth", "prediction"])
def test_cubes_that_are_not_scaled_are_refused_unless_the_peak_says_so(which):
    truth, pred = cubes()
    truth, pred = truth * (4095 if which != "prediction" else 1), pred * (4095 if which != "truth" else 1)
    side = "predicted" if which == "prediction" else "true"
    with pytest.raises(InputError, match=rf"{side} cube is not scaled to \[0, 1\].*peak=\.\.\."):
        compute(["psnr"], truth, pred, CONTEXT)
    if which == "both":
        row = compute(["psnr"], truth, pred, MetricContext(BANDS, peak=4095))
        assert row["psnr"] == pytest.approx(compute(["psnr"], *cubes(), CONTEXT)["psnr"])


def test_no_data_written_as_a_number_is_refused_in_the_truth():
    truth, pred = cubes()
    truth[:, 0, 0] = -9999
    with pytest.raises(InputError, match=r"true cube holds values far below 0.*-9999.*nodata="):
        compute(["rmse"], truth, pred, CONTEXT)


def test_shapes_and_bands_that_do_not_fit_are_refused_with_what_was_seen():
    truth, pred = cubes()
    with pytest.raises(InputError, match=r"truth \(31, 8, 7\), prediction \(31, 8, 6\)"):
        compute(["rmse"], truth, pred[:, :, :6], CONTEXT)
    with pytest.raises(BandsError, match="30 channels"):
        compute(["rmse"], truth[:30], pred[:30], CONTEXT)
    with pytest.raises(UnknownNameError, match="Nearest: rmse"):
        compute(["rmsee"], truth, pred, CONTEXT)


def test_columns_come_in_the_order_of_the_names_headline_first():
    row = compute(["psnr", "mrae"], *cubes(), CONTEXT)
    assert list(row) == ["psnr", "rmse_clamped", "mrae", "mrae_zero", "nan_pixels"]


def test_a_metric_that_returns_undeclared_columns_is_named(monkeypatch):
    liar = MetricSpec("liar", lambda t, p, c: {"truth": 1.0}, "1", "none", "lower", ("liar",))
    monkeypatch.setitem(METRICS._values, "liar", liar)
    with pytest.raises(PluginError, match=r"'liar'.*Expected liar.*Got truth"):
        compute(["liar"], *cubes(), CONTEXT)


def test_psnr_invariant_accepts_true_figures_and_rejects_false_ones():
    roots = [0.1, 0.01, 0.02, 0.0]
    psnrs = [20.0, 40.0, 20 * math.log10(50), math.inf]
    check_psnr_invariant(psnrs, roots)
    check_psnr_invariant([], [])
    check_psnr_invariant([math.nan, 20.0], [math.nan, 0.1])
    with pytest.raises(MetricInvariantError, match="does not belong to the RMSE"):
        check_psnr_invariant([20.0, 40.001], [0.1, 0.01])
    with pytest.raises(MetricInvariantError):
        check_psnr_invariant([20.0], [0.1, 0.01])


def test_every_standard_metric_is_registered_with_its_own_column_first():
    for name in STANDARD:
        spec = METRICS.get(name)
        assert spec.columns[0] == name and spec.version and spec.signature
    assert set(STANDARD) <= set(METRICS.names())


def test_declaring_metrics_and_perturbations_imports_no_torch():
    code = (
        "import sys, hsrzoo.metrics, hsrzoo.perturb\n"
        "from hsrzoo.registry import METRICS, PERTURBATIONS\n"
        "[METRICS.get(n) for n in hsrzoo.metrics.STANDARD]\n"
        "[PERTURBATIONS.get(n) for n in ('mixed-patch', 'gamma', 'gain', 'gain-both')]\n"
        "sys.exit(','.join({'torch', 'scipy'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LONG)
    assert done.returncode == 0, done.stderr
