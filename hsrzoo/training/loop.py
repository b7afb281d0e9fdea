"""The training loop: one path for every task, from the first step or from a checkpoint."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import time
import warnings
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import nn

from hsrzoo.errors import DivergedError, TrainingError
from hsrzoo.models.tensors import require_finite
from hsrzoo.spec import Recipe
from hsrzoo.training.engine import Engine, make_accelerator
from hsrzoo.training.loading.loader import automatic_workers
from hsrzoo.training.progress import Progress
from hsrzoo.training.rundir import (
    RunDir,
    damaged_checkpoint,
    hold_run,
    load_checkpoint,
    require_same_run,
    save_checkpoint,
)
from hsrzoo.training.task import Task, require_equal_shares

WARM_UP_STEPS = 5
TIMED_STEPS = 50
FREE_TO_CHANGE = ("checkpoint_every", "valid_every")
"""Fields of the recipe that do not change the weights, so that a resumed run may change them."""


def train(
    task: Task,
    recipe: Recipe,
    run_dir: Path,
    *,
    resume: bool = False,
    minutes: float | None = None,
    progress: bool = True,
    stop_after: int | None = None,
    notes: Mapping[str, Any] | None = None,
    workers: int | None = None,
) -> nn.Module:
    """Train ``task`` and return its module in eval mode on the CPU, with averaged weights.

    ``minutes``: fix the number of steps by timing instead of ``recipe.steps``. ``resume``: go on
    from the checkpoint in ``run_dir`` (from the start if it was stopped before the first one).
    ``stop_after``: leave with a checkpoint after that many steps. ``notes``: what else goes into
    config.json. ``workers``: processes that draw batches ahead, which changes no weight; None: none on a
    CPU. Raises DivergedError when the loss or the weights are not finite, TrainingError when ``run_dir``
    holds another run, LockedError when another process trains in it.
    """
    with hold_run(run_dir):
        return _train(task, recipe, run_dir, resume, minutes, progress, stop_after, notes or {}, workers)


def _train(
    task: Task, recipe: Recipe, run_dir: Path, resume: bool, minutes: float | None, progress: bool,
    stop_after: int | None, notes: Mapping[str, Any], workers: int | None,
) -> nn.Module:  # fmt: skip
    accelerator = make_accelerator(recipe)
    require_equal_shares(recipe.batch, accelerator.num_processes)
    identity = _identity(task, recipe, minutes)
    folder, main = RunDir(run_dir), accelerator.is_main_process
    if main:
        folder.open(identity, notes, resume)
    accelerator.wait_for_everyone()
    task.prepare()
    if workers is None:
        workers = automatic_workers(accelerator.device)
    engine = Engine(task, recipe, accelerator, workers)
    steps = _fix_steps(engine, folder, minutes)
    identity = {**identity, "steps": steps}
    done, *spent = _restore(engine, folder, identity) if resume else (0, 0.0, 0.0)
    last = steps if stop_after is None else min(stop_after, steps)
    if main:
        folder.truncate_log(done)
    with (
        Progress(steps, done, progress and main) as bar,
        open(folder.log if main else os.devnull, "a", buffering=1) as log,
        closing(engine.loader),
    ):
        clock = Clock(*spent)
        while done < last:
            save = (done + 1) % recipe.checkpoint_every == 0 or done + 1 == last
            figures = _step(engine, folder, done, steps, save)
            done += 1
            valid = engine.validate() if done % recipe.valid_every == 0 or done == steps else {}
            _write_log(log, done, clock, figures, valid)
            bar.update(done, figures)
            bar.validated(done, valid)
            if main and save:
                _save(engine, folder, log, clock, identity, done)
        engine.loader.close()  # the seconds of workers count when they have ended
        # A run resumed after its end has nothing to add.
        if main and not folder.read_json(folder.record).get("complete"):
            seconds = {"wall_seconds": round(clock.wall(), 3), "cpu_seconds": round(clock.cpu(), 3)}
            folder.update_record(steps_done=done, complete=done == steps, **seconds)
    return engine.average_module().to("cpu").eval()


class Clock:
    """Wall-clock and CPU seconds of a run over all its pieces; lost work does not count. Workers count when
    they have ended."""

    def __init__(self, wall: float, cpu: float) -> None:
        """Starts; ``wall`` and ``cpu`` are the seconds that earlier pieces took."""
        self._wall, self._cpu = time.perf_counter() - wall, cpu_seconds() - cpu

    def wall(self) -> float:
        return time.perf_counter() - self._wall

    def cpu(self) -> float:
        return cpu_seconds() - self._cpu


def cpu_seconds() -> float:
    """CPU seconds of this process and of those of its children that have ended."""
    own = os.times()
    return time.process_time() + own.children_user + own.children_system


def _identity(task: Task, recipe: Recipe, minutes: float | None) -> dict[str, Any]:
    """What must be equal for one run to go on with another one's checkpoint."""
    fields = {k: v for k, v in dataclasses.asdict(recipe).items() if k not in FREE_TO_CHANGE}
    if minutes is not None:
        del fields["steps"]
    return {"recipe": fields, "minutes": minutes, "task": task.record()}


def _fix_steps(engine: Engine, folder: RunDir, minutes: float | None) -> int:
    """The number of steps of this run, timed once and then read from record.json."""
    from accelerate.utils import broadcast  # slow to import, and only training needs it

    record = folder.read_json(folder.record)
    if "steps" in record:
        if engine.accelerator.is_main_process and not record.get("complete"):
            _warn_of_changes(folder, record, _machine(engine))
        return int(record["steps"])
    steps, timed = engine.recipe.steps, None
    if minutes is not None:
        timed = time_steps(engine)
        steps = steps_in(minutes, timed, engine.recipe.valid_every)
    # One process's timing decides for all.
    steps = int(broadcast(torch.tensor(steps, device=engine.device)))
    if engine.accelerator.is_main_process:
        folder.update_record(
            steps=steps,
            minutes=minutes,
            timed_step_seconds=timed and timed.step_seconds,
            timed_valid_seconds=timed and timed.valid_seconds,
            **_machine(engine),
        )
    return steps


def _warn_of_changes(folder: RunDir, record: Mapping[str, Any], machine: Mapping[str, Any]) -> None:
    """Sums are split by threads and processes: with another number of them the last bits of the
    weights differ."""
    for what, fix in (("threads", "Use --threads {}"), ("processes", "Start {}")):
        before, now = record.get(what), machine[what]
        if before is not None and now != before:
            folder.update_record(**{f"{what}_after_resuming": now})
            warnings.warn(
                f"This run was started with {before} {what} and is resumed with {now}: its weights will "
                f"not be those of an uninterrupted run, bit for bit. {fix.format(before)}.",
                stacklevel=2,
            )


def _machine(engine: Engine) -> dict[str, Any]:
    return {
        "threads": torch.get_num_threads(),
        "processes": engine.accelerator.num_processes,
        "device": str(engine.device.type),
    }


def _restore(engine: Engine, folder: RunDir, identity: Mapping[str, Any]) -> tuple[int, float, float]:
    """Load the checkpoint, if there is one; returns the steps done, and the seconds that they took by the
    wall clock and of the CPU."""
    if not folder.checkpoint.is_file():
        return 0, 0.0, 0.0
    state = load_checkpoint(folder.checkpoint)
    try:
        before = json.loads(state["identity"])
    except (ValueError, RecursionError) as error:
        raise damaged_checkpoint(folder.checkpoint, str(error)) from None
    require_same_run(before if isinstance(before, dict) else {}, identity, folder.checkpoint)
    try:
        engine.load_state(state["engine"])
    except Exception as error:  # each part of the state raises what it does for a value of another kind
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise damaged_checkpoint(folder.checkpoint, reason) from None
    return int(state["step"]), state["wall_seconds"], state["cpu_seconds"]


def _step(engine: Engine, folder: RunDir, done: int, steps: int, save: bool) -> dict[str, float]:
    """One step; if it diverges, the error names the last good checkpoint. Before a ``save`` the
    weights must be finite: an update can overflow although loss and gradient were finite."""
    try:
        figures = engine.step(done, steps)
        if save:
            state = engine.average_module().state_dict()
            require_finite(state, f"step {done + 1}", DivergedError, "Lower the learning rate (--lr)")
        return figures
    except TrainingError as error:
        kept = f"The last good checkpoint is kept in {folder.checkpoint}"
        fix = kept if folder.checkpoint.is_file() else "There is no checkpoint yet"
        raise type(error)(str(error), fix=fix) from None


def _write_log(
    log: TextIO, done: int, clock: Clock, figures: Mapping[str, float], valid: Mapping[str, float]
) -> None:
    """Append one JSON line; figures of the held-out scenes are named valid_*."""
    line = {
        "step": done,
        "seconds": round(clock.wall(), 3),
        "cpu_seconds": round(clock.cpu(), 3),
        **figures,
        **{f"valid_{name}": value for name, value in valid.items()},
    }
    # JSON has no NaN: such a figure is written as null.
    clean = {k: v if not isinstance(v, float) or math.isfinite(v) else None for k, v in line.items()}
    log.write(json.dumps(clean) + "\n")


def _save(
    engine: Engine, folder: RunDir, log: TextIO, clock: Clock, identity: Mapping[str, Any], done: int
) -> None:
    """Write the log, then the checkpoint, durably and in this order."""
    log.flush()
    os.fsync(log.fileno())
    save_checkpoint(
        folder.checkpoint,
        {
            "identity": json.dumps(identity, sort_keys=True),
            "step": done,
            "wall_seconds": clock.wall(),
            "cpu_seconds": clock.cpu(),
            "engine": engine.state(),
        },
    )


@dataclass(frozen=True)
class Timing:
    """Wall-clock seconds of one step (mean) and of one validation (0 where there is none)."""

    step_seconds: float
    valid_seconds: float


def time_steps(engine: Engine) -> Timing:
    """Time 50 steps of this very run, then restore all that they changed bit for bit.

    Random numbers need no restoring: every step seeds its own.
    """
    before = copy.deepcopy(engine.state())  # which hands out tensors that steps change in place
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
    engine.load_state(before)
    for parameter in engine.trained:
        parameter.grad = None
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
