"""A trained network against the least that it must beat: the mean spectrum, on some of its training data.

A network that is worse predicts less than a constant does. It was trained too shortly, diverged, or its
average still holds its first weights.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn

from hsrzoo.training.pairs import PairTask

_SCENES = 8
_PIXELS = 1 << 16
"""Of the slice: the comparison should take seconds on a CPU also with the slowest network."""


def compare(task: PairTask, module: nn.Module) -> dict[str, float]:
    """RMSE of ``module`` and of the mean spectrum of the same pixels, with a warning where it is the worse.

    Args:
        task: A task that was prepared; crops of its first data set are taken, in the middle of scenes.
        module: The trained network, in eval mode, on the CPU.

    Returns:
        ``slice_rmse`` and ``slice_rmse_mean_spectrum``; empty where these crops have no data.
    """
    height, width = task.crop_size
    count = max(1, min(_SCENES, _PIXELS // (height * width)))
    errors, cubes = [], []
    with torch.no_grad():
        for rgb, cube in task.middles(count):
            errors.append((task.predict(module, rgb[None])[0] - cube).double().flatten(1))
            cubes.append(cube.double().flatten(1))
    error, truth = torch.cat(errors, 1), torch.cat(cubes, 1)
    if truth.isnan().all():
        return {}
    ours = float(error.square().nanmean().sqrt())
    floor = float((truth - truth.nanmean(1, keepdim=True)).square().nanmean().sqrt())
    if ours > floor:
        warnings.warn(
            f"The trained network is worse than the mean spectrum on {len(cubes)} "
            f"crop{'s' * (len(cubes) > 1)} of its own training data: RMSE {ours:.3g} and {floor:.3g}. "
            "Train for more steps, change --lr, or shorten the average (--set ema=0.9).",
            stacklevel=2,
        )
    return {"slice_rmse": ours, "slice_rmse_mean_spectrum": floor}
