"""How many steps fit into a number of minutes: time some real steps, then put everything back."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass

import torch

from hsrzoo.errors import TrainingError
from hsrzoo.training.engine import Engine

WARM_UP_STEPS = 5
TIMED_STEPS = 50


@dataclass(frozen=True)
class Timing:
    """Wall-clock seconds of one step (mean) and of one validation (0 where there is none)."""

    step_seconds: float
    valid_seconds: float


def time_steps(engine: Engine) -> Timing:
    """Time 50 steps of this very run, then restore the module, the task and the scaler bit for bit.

    Random numbers need no restoring: every step seeds its own.
    """
    module = engine.task.module
    tensors = [*module.parameters(), *module.buffers()]
    before = [t.detach().clone() for t in tensors]
    task_state = copy.deepcopy(engine.task.state())  # it may hand out tensors that it changes in place
    scaler = engine.accelerator.scaler
    scale = None if scaler is None else scaler.state_dict()
    steps = max(engine.recipe.steps, WARM_UP_STEPS + TIMED_STEPS)
    for index in range(WARM_UP_STEPS):
        engine.step(index, steps)
    start = time.perf_counter()
    for index in range(WARM_UP_STEPS, WARM_UP_STEPS + TIMED_STEPS):
        engine.step(index, steps)
    step_seconds = (time.perf_counter() - start) / TIMED_STEPS
    start = time.perf_counter()
    validates = bool(engine.validate())
    valid_seconds = time.perf_counter() - start if validates else 0.0
    with torch.no_grad():
        for tensor, value in zip(tensors, before, strict=True):
            tensor.copy_(value)
    for parameter in engine.trained:
        parameter.grad = None
    engine.task.load_state(task_state)
    if scaler is not None:
        scaler.load_state_dict(scale)
    engine.renew()
    return Timing(step_seconds, valid_seconds)


def steps_in(minutes: float, timing: Timing, valid_every: int) -> int:
    """The largest number of steps that, with their validations, lasts no longer than ``minutes``."""
    seconds = timing.step_seconds + timing.valid_seconds / valid_every
    steps = int(minutes * 60 / seconds)
    if steps < 1:
        raise TrainingError(
            "The time is too short for a single step",
            expected=f"at least {seconds / 60:.2g} minutes",
            got=f"{minutes:g} minutes",
            fix="Give more --minutes, or make the step smaller by --batch and --patch",
        )
    return steps
