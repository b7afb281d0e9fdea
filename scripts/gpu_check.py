"""Check and time what runs on a GPU, within 8 minutes: all results in one JSON file.

    python scripts/gpu_check.py [--out gpu_check.json] [--parts parity search speed loader training]

- ``parity``: every network on the GPU against the CPU, in float32.
- ``search``: the engines of the nearest-code search, Triton's kernel among them, against a float64 search.
- ``speed``: every network alone, in fp32 and bf16, and the time that moving its input and output takes.
- ``loader``: how many crops a second are drawn from scenes in memory, with workers and without, by the
  clock and for each second of CPU time, and how many a plain copy from uint16 to float32 gives.
- ``training``: a training of 4 minutes on made-up scenes: milliseconds of a step, by the clock and of CPU
  time; in float32 without a GPU. ``--batch`` and ``--patch`` set its crops and those of the loader.

The file is written after every part, with the seconds that it took. A part stops after its share of the
time and lists what it left out; one that fails keeps its error, and the others run. ``loader`` and
``training`` alone need no GPU. ``--dry-run`` does all of it in seconds on a CPU, with two networks, to see
that the script works. Needs no data.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hsrzoo.bands import VISIBLE_31
from hsrzoo.cli.output import print_table
from hsrzoo.datasets.synthetic import Synthetic
from hsrzoo.errors import text_of
from hsrzoo.models.loading import default_tag
from hsrzoo.models.names import parse_name
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.registry import MODELS
from hsrzoo.spec import build_module
from hsrzoo.training.loading.loader import Loader
from hsrzoo.training.loop import cpu_seconds, train
from hsrzoo.training.pairs import PairTask
from hsrzoo.training.recipe import recipes_of
from hsrzoo.training.rundir import RunDir
from hsrzoo.utils.allocator import keep_freed_memory
from hsrzoo.utils.provenance import collect
from hsrzoo_benchmark.plan.models import ModelSetup, Precision
from hsrzoo_benchmark.speed.bandwidth import (
    Timer,
    bound_megapixels_s,
    copy_bandwidth,
    gpu_seconds,
    network_seconds,
)
from hsrzoo_mcga.codebook.search import ENGINES, check_engine, nearest_code, search_engine

ROUNDING = 1e-5
"""Of a distance in float32, as a share of it."""
PARITY = 1e-3
"""Largest difference of two devices, as a share of the largest value, that is rounding."""


class Check(NamedTuple):
    """What is checked, and how much of it."""

    device: str = "cuda"
    networks: tuple[str, ...] = ()
    """Empty: all."""
    side: int = 64
    """Of the image of the parity."""
    pixels: int = 1 << 18
    """Features of the search."""
    codes: int = 1536
    sizes: tuple[int, ...] = (256, 512, 1024)
    """Sides of the images of the speed, pixels."""
    repeats: int = 10
    copy_bytes: int = 1 << 28
    trained: str = "mcga-s2"
    batch: int = 20
    patch: int = 128
    precision: Precision = "bf16"
    """Of the training."""
    scenes: int = 8
    scene_side: int = 512
    minutes: float | None = 4.0
    """Of the training; None: 2 steps."""
    loader_seconds: float = 3.0
    """For each number of workers."""
    loader_workers: tuple[int, ...] = (0, 1, 2)
    limits: tuple[tuple[str, float], ...] = (("parity", 60.0), ("search", 30.0), ("speed", 110.0))
    """Seconds after which a part begins nothing new."""


DRY = Check(
    "cpu", ("pixel-mlp", "mcga-s2"), side=16, pixels=64, codes=32, sizes=(16,), repeats=1, copy_bytes=65536,
    trained="pixel-mlp", batch=2, patch=8, precision="fp32", scenes=2, scene_side=16, minutes=None,
    loader_seconds=0.0, loader_workers=(0,),
)  # fmt: skip


class Budget:
    """Work in turn until the time is over; what is not begun is left out."""

    def __init__(self, seconds: float) -> None:
        self.end, self.out = time.perf_counter() + seconds, list[str]()

    def of(self, names: Sequence[str]) -> Iterator[str]:
        """Those of ``names`` that begin in time; the others go to ``out``."""
        for name in names:
            if time.perf_counter() < self.end:
                yield name
            else:
                self.out.append(name)


def networks(check: Check) -> list[str]:
    """Names of the networks to run, those with weights first."""
    found = sorted(check.networks) or [name for name in MODELS.names() if name != "ensemble"]
    return sorted(found, key=lambda name: default_tag(parse_name(name)) is None)


def load(name: str, device: str, precision: Precision = "fp32") -> Reconstructor:
    """A network with its default weights, else with seeded random ones, the same on every device."""
    random = None if default_tag(parse_name(name)) else VISIBLE_31.to_json()
    return ModelSetup(name, precision=precision, random_bands=random).load(device)


def image(side: int) -> np.ndarray:
    """(3, side, side) float32 in [0, 1]."""
    return np.random.default_rng(0).random((3, side, side), dtype=np.float32)


def parity(check: Check, left: Budget) -> dict[str, Any]:
    """Name -> largest difference of the cubes of both devices, as a share of the largest value."""
    found: dict[str, Any] = {}
    for name in left.of(networks(check)):
        try:
            on_cpu, on_gpu = (load(name, one).predict(image(check.side)) for one in ("cpu", check.device))
            difference = float(np.abs(on_cpu - on_gpu).max() / np.abs(on_cpu).max())
            found[name] = {"difference": difference, "ok": difference <= PARITY}
        except Exception as error:
            found[name] = {"error": text_of(error), "ok": False}
    return {"networks": found, "ok": all(one["ok"] for one in found.values())}


def search(check: Check, left: Budget) -> dict[str, Any]:
    """For each width of codes and engine: features whose code is further away than the nearest one by more
    than rounding, and milliseconds; an error where an engine does not run here."""
    generator, rows = torch.Generator().manual_seed(0), []
    for width in left.of(["8", "16", "32", "64"]):
        sizes = (check.pixels, int(width)), (check.codes, int(width))
        features, codes = (torch.randn(size, generator=generator).to(check.device) for size in sizes)
        rows += [
            {"width": int(width), "engine": e, **_searched(check, e, features, codes)} for e in ENGINES
        ]
    needed = {"torch", "triton" if check.device.startswith("cuda") else "faiss"}
    return {"rows": rows, "ok": all(row.get("wrong") == 0 for row in rows if row["engine"] in needed)}


def _searched(check: Check, engine: str, features: Tensor, codes: Tensor) -> dict[str, Any]:
    def work() -> Tensor:
        return nearest_code(features, codes)

    try:
        check_engine(engine, features)
        with search_engine(engine):
            chosen, timer = codes[work()], timer_of(check)
            times = [timer(features.device, work) for _ in range(check.repeats)]
    except Exception as error:  # faiss has no GPU, Triton no CPU
        return {"error": text_of(error)}
    nearest = torch.cat([torch.cdist(x.double(), codes.double()).amin(1) for x in features.split(1 << 14)])
    gap = (features.double() - chosen.double()).norm(dim=1) - nearest
    return {"wrong": int((gap > ROUNDING * (1 + nearest)).sum()), "ms": 1e3 * float(np.median(times))}


def timer_of(check: Check) -> Timer:
    """By events of the GPU; by the clock on a CPU."""

    def by_clock(device: torch.device, work: Callable[[], object]) -> float:
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    return gpu_seconds if check.device.startswith("cuda") else by_clock


def speed(check: Check, left: Budget) -> dict[str, Any]:
    """For each network, precision and size: milliseconds and megapixels a second of the network alone,
    milliseconds of ``predict``, and peak MiB on the GPU. ``floor_ms``: what moving RGB and cube takes."""
    timer, on_gpu = timer_of(check), check.device.startswith("cuda")
    bandwidth = copy_bandwidth(torch.device(check.device), timer, check.copy_bytes, check.repeats)
    bound = bound_megapixels_s(bandwidth, len(VISIBLE_31))
    rows: list[dict[str, Any]] = []
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    for name in left.of(networks(check)):
        for precision in precisions:
            try:
                model = load(name, check.device, precision)
                rows += [_timed(model, side, timer, check.repeats, on_gpu) for side in check.sizes]
            except Exception as error:
                rows.append({"network": name, "precision": precision, "error": text_of(error)})
    floors = {f"{side}": side * side / bound / 1e3 for side in check.sizes}
    return {"bandwidth": bandwidth, "bound_megapixels_s": bound, "floor_ms": floors, "rows": rows,
            "ok": not any("error" in row for row in rows)}  # fmt: skip


def _timed(model: Reconstructor, side: int, timer: Timer, repeats: int, on_gpu: bool) -> dict[str, Any]:
    rgb = image(side)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    seconds = network_seconds(model, rgb, timer, repeats)
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else None
    begin = time.perf_counter()
    model.predict(rgb)
    whole = time.perf_counter() - begin
    return {"network": model.spec.name, "precision": model.execution.precision, "side": side,
            "ms": 1e3 * seconds, "megapixels_s": side * side / seconds / 1e6, "predict_ms": 1e3 * whole,
            "peak_mib": peak}  # fmt: skip


def made_up_task(check: Check) -> PairTask:
    """Training on made-up scenes, whose values are those of 16-bit files."""
    spec = MODELS.get(check.trained)
    recipe = recipes_of(spec)["common"]
    recipe = replace(
        recipe, batch=check.batch, patch=check.patch, precision=check.precision, steps=2, holdout=0
    )
    data = Synthetic(VISIBLE_31, check.scenes, check.scene_side, bits=16)
    torch.manual_seed(recipe.seed)
    return PairTask(spec, build_module(spec, data.bands, {}), data, recipe)


def loader(check: Check, left: Budget) -> dict[str, Any]:
    """Crops a second, by the clock and of CPU time with that of the workers, for each number of workers and
    for a plain copy of as many values from uint16 to float32."""
    task = made_up_task(check)
    task.prepare()
    scene = np.zeros((len(VISIBLE_31), check.scene_side, check.scene_side), np.uint16)
    _, crops = task.empty_batch()

    def copy(number: int) -> None:
        for place, crop in enumerate(crops.numpy()):
            top, start = (which % (1 + check.scene_side - check.patch) for which in (number, 37 * place))
            crop[:] = scene[:, top : top + check.patch, start : start + check.patch]

    rows = [{"workers": "plain copy", **_crops_a_second(check, copy)}]
    for workers in check.loader_workers:
        with closing(Loader(task, 0, workers)) as batches:
            rows.append({"workers": workers, **_crops_a_second(check, batches.draw, batches.close)})
    print_table(rows, ["workers", "crops_s", "crops_cpu_s"])
    return {"batch": check.batch, "patch": check.patch, "rows": rows, "ok": True}


def _crops_a_second(
    check: Check, work: Callable[[int], object], end: Callable[[], object] = lambda: None
) -> dict[str, float]:
    """Of ``work(0)``, ``work(1)`` and so on, a batch each; ``end`` ends its processes, which count too."""
    work(0)
    done, begin, cpu = 0, time.perf_counter(), cpu_seconds()
    while not done or time.perf_counter() - begin < check.loader_seconds:
        work(1 + done)
        done += 1
    seconds = time.perf_counter() - begin
    end()
    drawn = check.batch * done
    return {"crops_s": drawn / seconds, "crops_cpu_s": drawn / max(cpu_seconds() - cpu, 1e-3)}


def training(check: Check, left: Budget) -> dict[str, Any]:
    """Steps, milliseconds a step and losses of a run."""
    task = made_up_task(check)
    recipe = task.recipe
    with tempfile.TemporaryDirectory() as folder:
        train(task, recipe, Path(folder, "run"), minutes=check.minutes, progress=False)
        run = RunDir(Path(folder, "run"))
        record = run.read_json(run.record)
        losses = [json.loads(line)["loss"] for line in run.log.read_text().splitlines()]
    step, cpu = (record[f"{kind}_seconds"] / record["steps"] for kind in ("wall", "cpu"))
    row = {"network": check.trained, "batch": recipe.batch, "patch": recipe.patch, "step_ms": 1e3 * step,
           "step_cpu_ms": 1e3 * cpu}  # fmt: skip
    print_table([row], list(row))
    return {
        **row, "precision": recipe.precision, "steps": record["steps"], "crops_s": recipe.batch / step,
        "first_loss": losses[0], "last_loss": losses[-1],
        "ok": bool(np.isfinite(losses).all()),
    }  # fmt: skip


PARTS: dict[str, Callable[[Check, Budget], dict[str, Any]]] = {
    "parity": parity, "search": search, "speed": speed, "loader": loader, "training": training,
}  # fmt: skip


def run(check: Check, parts: Sequence[str], out: Path) -> dict[str, Any]:
    """All ``parts`` in turn; ``out`` is written after each."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    limits = dict(check.limits)
    results: dict[str, Any] = {"check": check._asdict(), "provenance": collect(check.device), "parts": {}}
    for part in parts:
        left, begin = Budget(limits.get(part, float("inf"))), time.perf_counter()
        try:
            found = PARTS[part](check, left)
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {text_of(error)}", "ok": False}
        seconds = round(time.perf_counter() - begin, 3)
        results["parts"][part] = {"seconds": seconds, "left_out": left.out, **found}
        out.write_text(json.dumps(results, indent=1))
        print(f"{part}: {'ok' if found['ok'] else 'FAILED'}, {seconds:.0f} s", flush=True)
    return results


def parse(words: Sequence[str]) -> tuple[Check, list[str], Path]:
    """What to check, the parts and the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu_check.json"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--networks", nargs="+", default=(), help="these networks alone [all]")
    parser.add_argument("--minutes", type=float, default=Check().minutes, help="of the training [4]")
    parser.add_argument("--batch", type=int, default=Check().batch, help="crops of a step [20]")
    parser.add_argument("--patch", type=int, default=Check().patch, help="side of a crop, pixels [128]")
    parser.add_argument("--dry-run", action="store_true", help="everything small, on the CPU")
    options = parser.parse_args(words)
    gpu = torch.cuda.is_available() or set(options.parts) - {"loader", "training"}
    check = Check(
        "cuda" if gpu else "cpu", tuple(options.networks), minutes=options.minutes, batch=options.batch,
        patch=options.patch, precision="bf16" if gpu else "fp32",
    )  # fmt: skip
    return DRY if options.dry_run else check, options.parts, options.out


def main() -> int:
    """Run; 1 if a part failed."""
    keep_freed_memory()  # as the command line does
    found = run(*parse(sys.argv[1:]))
    return 0 if all(part["ok"] for part in found["parts"].values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
