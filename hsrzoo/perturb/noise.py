"""Noise: what a sensor with few photons makes of the image, the truth left alone.

The usual Poisson-Gaussian model of raw data (Foi et al., IEEE Transactions on Image Processing 17(10),
2008): photons arrive at random, and reading them out adds noise of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hsrzoo.datasets.base import pixels_with_data
from hsrzoo.perturb import Perturbed
from hsrzoo.spec import PerturbationSpec


def noise(
    rgb: np.ndarray, cube: np.ndarray, sensor: Mapping[str, float], generator: np.random.Generator
) -> Perturbed:
    """x becomes (Poisson(x full_well) + Normal(0, read_noise)) / full_well, each value on its own.

    ``full_well``: electrons at the value 1; ``read_noise``: standard deviation in electrons. So the
    variance of a value is (x full_well + read_noise^2) / full_well^2. Values are taken as proportional
    to light, which those of a rendered image are and those of a photograph are not (the row's
    ``rendered_by`` gives the camera). The image was rounded to its bits before.

    ``info``: the sensor, the measured ``snr_db`` = 10 log10(mean x^2 / mean (change)^2) before clipping
    and rounding (None where nothing changed), and ``clipped``: the share of values that leave [0, 1],
    both over pixels with data.
    Clipping read noise at 0 lightens the deepest shadows; the row's ``mean_change`` measures it.
    """
    full_well, read_noise = sensor["full_well"], sensor["read_noise"]
    light = np.clip(rgb.astype(np.float64), 0, 1)
    # RandomState on the given bits: numpy froze its streams, those of Generator may change.
    frozen = np.random.RandomState(generator.bit_generator)
    electrons = frozen.poisson(light * full_well) + frozen.normal(0.0, read_noise, light.shape)
    noisy = electrons / full_well
    measured, clean = pixels_with_data(noisy, cube), pixels_with_data(light, cube)
    error = float(np.mean((measured - clean) ** 2))
    signal = float(np.mean(clean**2))
    info = {
        "full_well": full_well,
        "read_noise": read_noise,
        "snr_db": 10 * float(np.log10(signal / error)) if signal and error else None,
        "clipped": float(np.mean((measured < 0) | (measured > 1))),
    }
    return noisy, cube, info


# At mid grey (0.18) that is a signal-to-noise ratio of 32.5, 25.3 and 15.8 dB, a deviation of 1.1, 2.5
# and 7.4 steps of 8 bits. Full wells of a small pixel at its base sensitivity, and at 5 and 25 times that.
SPEC = PerturbationSpec(
    name="noise",
    apply=noise,
    severities={
        "low": {"full_well": 10000.0, "read_noise": 3.0},
        "medium": {"full_well": 2000.0, "read_noise": 5.0},
        "high": {"full_well": 400.0, "read_noise": 8.0},
    },
    default=("low", "medium", "high"),
    summary="Poisson-Gaussian sensor noise on linear RGB, cube unchanged",
)
