"""Learning rates against hand-computed values and against torch's own."""

from __future__ import annotations

import pytest
import torch

from hsrzoo.errors import TrainingError
from hsrzoo.spec import Recipe
from hsrzoo.training.schedule import learning_rate, one_cycle


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


def test_cosine_equals_torchs_from_end_to_end() -> None:
    steps, recipe = 41, Recipe(schedule="cosine", lr=4e-4, final_lr=1e-6)
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=recipe.lr)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=steps - 1, eta_min=recipe.final_lr)
    rates = [learning_rate(recipe, step, steps) for step in range(steps)]
    for rate in rates:
        assert rate == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9)
        optimiser.step()
        theirs.step()
    assert (rates[0], rates[-1]) == (4e-4, pytest.approx(1e-6, rel=1e-12))
    assert rates[20] == pytest.approx((4e-4 + 1e-6) / 2, rel=1e-12)


def test_cosine_stays_at_its_end_and_a_run_of_one_step_starts_at_the_top() -> None:
    recipe = Recipe(schedule="cosine", lr=1e-3, final_lr=1e-5)
    assert learning_rate(recipe, 12, 10) == learning_rate(recipe, 9, 10) == pytest.approx(1e-5, rel=1e-12)
    assert learning_rate(recipe, 0, 1) == 1e-3


def test_constant_is_the_rate_and_one_cycle_has_its_own_ends() -> None:
    constant = Recipe(schedule="constant", lr=3e-4, final_lr=1e-6)
    assert {learning_rate(constant, step, 7) for step in range(7)} == {3e-4}
    cycle = Recipe(schedule="one-cycle", lr=1.0, warmup=0.5, final_lr=0.1)
    assert [learning_rate(cycle, step, 21) for step in (0, 20)] == pytest.approx([0.04, 4e-6], rel=1e-9)


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"schedule is unknown.*cosine.*'linear'"):
        learning_rate(Recipe(schedule="linear"), 0, 10)  # type: ignore[arg-type]
