"""The one-cycle schedule against hand-computed values and against torch's own."""

from __future__ import annotations

import pytest
import torch

from hsrzoo.training.schedule import one_cycle


def test_schedule_has_the_hand_computed_values() -> None:
    # 21 steps, half of them up: the top lies at step 0.5 * 21 - 1 = 9.5; 0.04 = 1 / 25.
    assert one_cycle(0, 21, 1.0, 0.5) == pytest.approx(0.04, rel=1e-12)
    # cos(pi * 5 / 9.5) = cos(1.653470) = -0.0825793; 1 + (0.04 - 1) / 2 * (1 - 0.0825793) = 0.559638
    assert one_cycle(5, 21, 1.0, 0.5) == pytest.approx(0.559638, abs=1e-6)
    assert one_cycle(20, 21, 1.0, 0.5) == pytest.approx(4e-6, rel=1e-9)


@pytest.mark.parametrize(("steps", "warmup"), [(100, 0.1), (57, 0.3), (2000, 0.05)])
def test_schedule_equals_torchs(steps: int, warmup: float) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([weight], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=2.5e-3, total_steps=steps, pct_start=warmup, cycle_momentum=False
    )
    for step in range(steps):
        assert one_cycle(step, steps, 2.5e-3, warmup) == pytest.approx(
            optimiser.param_groups[0]["lr"], rel=1e-9
        )
        optimiser.step()
        if step < steps - 1:
            theirs.step()


@pytest.mark.parametrize("warmup", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 10])
def test_schedule_is_positive_and_below_the_peak_in_short_runs(steps: int, warmup: float) -> None:
    rates = [one_cycle(step, steps, 1.0, warmup) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
