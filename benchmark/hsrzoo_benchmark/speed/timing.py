"""The speed benchmark: batch 1, models timed in turn, each one's memory in a process of its own.

Times are those of ``Reconstructor.predict``: normalise, pad, forward, crop, and on an accelerator
the copies to and from it, which also synchronise it. Ratios come from rounds in which both models
ran (A B A B in one process), so that a busy machine slows both alike.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hsrzoo.cli import output
from hsrzoo.errors import InputError, is_out_of_memory
from hsrzoo.results import SPEED, SpeedRow, by_time
from hsrzoo_benchmark.plan.models import ModelSetup
from hsrzoo_benchmark.run import scores
from hsrzoo_benchmark.run.scores import Failure, Outcome, row_fields
from hsrzoo_benchmark.speed import bandwidth
from hsrzoo_benchmark.speed.cell import OOM, SMALL, sample_rgb
from hsrzoo_benchmark.store import ResultFile, Store

if TYPE_CHECKING:
    from hsrzoo.models.reconstructor import Reconstructor

SIZES = ((256, 256), (512, 512), (1024, 1024), (482, 512))
"""Height and width, pixels; the last one is ARAD-1K's."""
METHOD = 2
"""How a row was measured; rows of another method are not used. 2: memory without the counter of MACs."""
MIN_RUNS, MIN_SECONDS = 10, 5.0
MIN_RUNS_CAPPED = 3
"""Runs of a cell that is so slow that it reaches ``speed_seconds`` first."""
LONG_RUN = 60.0
"""Seconds of a run that is enough by itself, once ``speed_seconds`` is reached."""
CHILD_SECONDS = 1800.0
"""How long a cell's process may take to load, predict once and count MACs."""
WARM_UP = 2
VERSIONS = ("hsrzoo", "torch", "processor")
"""Provenance: times of other versions and processors are not reused, those of other commits are, with a
note."""
SEARCH = "HSRZOO_SEARCH"
"""Variable of the environment that forces an engine of code search, and so decides speed and memory."""
KEPT_ROUNDS = 200
"""Times that a row keeps, the first ones: ratios are taken from rounds that both models ran."""


@dataclass(frozen=True)
class SpeedOptions:
    """How long to measure, and on what."""

    references: Sequence[str] = ()
    """Models that ratios refer to; empty: the default ones."""
    sizes: tuple[tuple[int, int], ...] = SIZES
    speed_seconds: float = 30.0
    """A cell stops after this long even with fewer than 10 runs, but not with fewer than 3 unless a
    single one takes a minute."""
    memory_limit: float | None = None
    """Limit of a cell's child process, GiB; what does not fit is OOM."""


class Run(NamedTuple):
    """One prediction."""

    seconds: float
    cpu_seconds: float
    """Of all threads of the process."""


@dataclass
class TimedModel:
    """One model of a run, the file of its rows, and what was measured at one size."""

    setup: ModelSetup
    model: Reconstructor
    file: ResultFile[SpeedRow]
    cell: dict[str, Any] | None = None
    """Memory and MACs as :func:`in_child` gives them; None where measuring failed."""
    runs: list[Run] = field(default_factory=list)


def measure(
    setups: Mapping[str, ModelSetup],
    models: Sequence[Reconstructor],
    options: SpeedOptions,
    store: Store,
    outcome: Outcome,
) -> list[SpeedRow]:
    """Rows of every size and model, measured under a progress bar where the store has none of one common
    run; ``outcome`` counts them.

    ``setups``: how each model, by its name, is loaded. Ratios need one run, so a size is measured again
    for all models unless one stored run holds them all, made under the same :func:`conditions` and by the
    same :data:`VERSIONS`. Returns the rows in order of size and model.
    """
    import torch

    threads = torch.get_num_threads()
    timed = []
    for model in models:
        device = f"{model.device}_{scores.provenance_of(str(model.device))['device_name']}"
        file = store.speed(model.name, model.identity, device, threads)
        timed.append(TimedModel(setups[model.name], model, file))
    files, versions = [one.file for one in timed], _versions(scores.provenance_of(str(models[0].device)))

    def stored() -> dict[tuple[int, int], list[SpeedRow]]:
        return {size: _common_run(files, conditions(size, options), versions) for size in options.sizes}

    rows = stored()
    if not all(rows.values()):
        with store.hold(files, output.say):
            rows = stored()  # with what another run has measured meanwhile
            missing = [size for size, found in rows.items() if not found]
            with output.steps("speed", 2 * len(models) * len(missing)) as advance:
                for size in missing:
                    rows[size] = _measure_size(timed, size, options, outcome, advance)
    return [row for found in rows.values() for row in found]


def conditions(size: tuple[int, int], options: SpeedOptions) -> dict[str, Any]:
    """What a row says about how it was measured, besides device and threads, which its file has."""
    return {
        "method": METHOD,
        "size": size,
        "memory_limit_gib": options.memory_limit,
        "cap_seconds": options.speed_seconds,
        "search": os.environ.get(SEARCH) or None,
    }


def _versions(provenance: Mapping[str, Any]) -> dict[str, Any]:
    return {key: provenance.get(key) for key in VERSIONS}  # older rows name no processor


def _common_run(
    files: Sequence[ResultFile[SpeedRow]], wanted: Mapping[str, Any], versions: Mapping[str, Any]
) -> list[SpeedRow]:
    """One row a file, of the newest run of these conditions and versions that holds all of them; empty
    if there is none. What ran out of memory without a declared limit did so in what was free at the time:
    that is not used again."""

    def fits(row: SpeedRow) -> bool:
        same = all(getattr(row, key) == value for key, value in wanted.items())
        if row.status == OOM and row.memory_limit_gib is None:
            return False
        return same and _versions(row.provenance) == versions

    by_run = [{row.run: row for row in by_time(file.rows) if fits(row)} for file in files]
    common = [run for run in by_run[0] if all(run in rows for rows in by_run)]
    return [rows[common[-1]] for rows in by_run] if common else []


def _measure_size(
    timed: Sequence[TimedModel],
    size: tuple[int, int],
    options: SpeedOptions,
    outcome: Outcome,
    advance: Callable[[str], None],
) -> list[SpeedRow]:
    """Memory and MACs of each model in a child, then all that fit in turn; rows at the end. Failures go to
    ``outcome``."""

    def failed(what: str, error: Exception | str, lost: int = 1) -> None:
        outcome.failures.append(Failure(_text(size), what, str(error), lost))

    for one in timed:
        one.cell, one.runs = None, []
        advance(f"{_text(size)}: memory of {one.model.name}")
        try:
            one.cell = in_child(one.setup, one.model, size, options)
        except Exception as error:
            failed(f"memory of {one.model.name}", error)
    fits = [one for one in timed if one.cell is not None and one.cell["status"] == "ok"]
    long = [one.cell is not None and one.cell.get("cold_seconds", 0.0) >= LONG_RUN for one in fits]
    found = time_in_turn([one.model for one in fits], size, options.speed_seconds, advance, long)
    for one, result in zip(fits, found, strict=True):
        if isinstance(result, list):
            one.runs = result
        elif is_out_of_memory(result):
            one.cell = {"status": OOM}
        else:
            one.cell = None
            failed(f"timing {one.model.name}", result)
    run = {"run": uuid.uuid4().hex, **conditions(size, options)}
    rows = []
    for one in timed:
        if one.cell is not None:
            device = {}
            try:
                if one.runs and one.setup.runtime == "torch" and not one.setup.tile:
                    device = bandwidth.on_device(one.model, sample_rgb(size))
            except Exception as error:
                what = f"timing {one.model.name} on the device alone"
                failed(what, f"{type(error).__name__}: {error}", lost=0)
            common = {**row_fields(SPEED, one.model), "bands": len(one.model.bands), **run}
            one.file.append(SpeedRow.from_json({**common, **one.cell, **device, **_timing(one.runs)}))
            rows.append(one.file.rows[-1])
    outcome.computed += len(rows)
    return rows


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _timing(runs: Sequence[Run]) -> dict[str, Any]:
    """What a row keeps of the times of its runs, in seconds."""
    if not runs:
        return {"runs": 0, "p50": None, "p90": None, "cpu_p50": None, "seconds": []}
    wall, cpu = np.asarray(runs).round(7).T
    return {
        "runs": len(runs),
        "p50": round(float(np.median(wall)), 7),
        "p90": round(float(np.percentile(wall, 90)), 7),
        "cpu_p50": round(float(np.median(cpu)), 7),
        "seconds": wall[:KEPT_ROUNDS].tolist(),
    }


def time_in_turn(
    models: Sequence[Reconstructor],
    size: tuple[int, int],
    cap_seconds: float,
    advance: Callable[[str], None] = lambda _: None,
    long: Sequence[bool] = (),
) -> list[list[Run] | Exception]:
    """The runs of each model, one run of every unfinished model a round; in place of
    them the exception that a model raised. Models known to take ``long`` warm up on a small image.
    """
    rgb, small = sample_rgb(size), sample_rgb(SMALL)
    times: list[list[Run] | Exception] = [[] for _ in models]

    def once(i: int, keep: bool, image: np.ndarray = rgb) -> float:
        begin = Run(time.perf_counter(), time.process_time())
        try:
            models[i].predict(image)
        except Exception as error:
            times[i] = error
            return 0.0
        run = Run(time.perf_counter() - begin.seconds, time.process_time() - begin.cpu_seconds)
        seen = times[i]
        if keep and isinstance(seen, list):
            seen.append(run)
        return run.seconds

    for i, model in enumerate(models):
        advance(f"{_text(size)}: timing {model.name}")
        # A second warm-up run only where it is cheap: the first one fills all caches.
        image = small if i < len(long) and long[i] else rgb
        spent, left = once(i, keep=False, image=image), WARM_UP - 1
        while left and spent < MIN_SECONDS and isinstance(times[i], list):
            spent, left = spent + once(i, keep=False, image=image), left - 1
    active = [i for i, seen in enumerate(times) if isinstance(seen, list)]
    while active:
        for i in active:
            once(i, keep=True)
        active = [i for i in active if not _has_enough_runs(times[i], cap_seconds)]
    return times


def _has_enough_runs(seen: list[Run] | Exception, cap_seconds: float) -> bool:
    if not isinstance(seen, list):
        return True
    seconds = [run.seconds for run in seen]
    total = sum(seconds)
    least = 1 if max(seconds) >= LONG_RUN else MIN_RUNS_CAPPED
    enough = len(seen) >= MIN_RUNS and total >= min(MIN_SECONDS, cap_seconds)
    return enough or (len(seen) >= least and total >= cap_seconds)


def in_child(
    setup: ModelSetup, model: Reconstructor, size: tuple[int, int], options: SpeedOptions
) -> dict[str, Any]:
    """Peak memory and MACs of one prediction in a separate process, so that cells do not affect each
    other: ``{"status": "ok", "peak_mib", "loaded_mib", "cold_seconds", "macs"}`` or ``{"status": "OOM"}``.
    """
    if model.identity is None:
        raise InputError("Random weights cannot be loaded again in another process")
    import torch

    request = {
        "setup": asdict(setup),
        "sha256": model.identity,
        "size": list(size),
        "device": str(model.device),
        "threads": torch.get_num_threads(),
        "memory_limit_gib": options.memory_limit,
    }
    command = [sys.executable, "-m", "hsrzoo_benchmark.speed.cell", json.dumps(request)]
    try:
        done = subprocess.run(command, capture_output=True, errors="replace", timeout=CHILD_SECONDS)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"one prediction took more than {CHILD_SECONDS:g} s") from None
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    # -9: the kernel's out-of-memory killer. -6: C++ code that died of std::bad_alloc.
    if done.returncode == -9 or "bad_alloc" in done.stderr or "MemoryError" in done.stderr:
        return {"status": OOM}
    reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    raise RuntimeError(f"the measuring process failed: {reason[0]}")
