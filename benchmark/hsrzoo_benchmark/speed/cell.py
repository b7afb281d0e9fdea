"""One cell of the speed benchmark in a process of its own: peak memory and MACs of one prediction.

Run as ``python -m hsrzoo_benchmark.speed.cell JSON``; the last line on stdout is the result.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hsrzoo.errors import is_out_of_memory

if TYPE_CHECKING:
    import torch

    from hsrzoo.models.reconstructor import Reconstructor
    from hsrzoo_benchmark.plan.models import ModelSetup


OOM = "OOM"
SMALL = (64, 64)
"""Height and width of the image that warms up: what a first prediction imports and builds."""
LONG_COUNT = 5.0
"""Seconds of a prediction from which on MACs are counted without running it, if that can be done."""


def sample_rgb(size: tuple[int, int]) -> np.ndarray:
    """Noise (3, H, W) float32 in [0, 1], always the same."""
    return np.random.default_rng(0).random((3, *size), dtype=np.float32)


@contextlib.contextmanager
def memory_limited(gib: float | None, device: torch.device) -> Iterator[None]:
    """Make allocations beyond ``gib`` GiB fail meanwhile: of this process, or on a GPU of the device."""
    if gib is None:
        yield
        return
    if device.type == "cuda":
        import torch

        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, gib * 2**30 / total), device)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, device)
        return
    import resource

    # RLIMIT_DATA counts what a process allocates (Linux since 4.7); RLIMIT_AS also counts the
    # address space that libraries and thread stacks merely reserve.
    kind = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (int(gib * 2**30), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def free_gib(device: torch.device) -> float | None:
    """GiB that this process may hold in all before the machine runs out, so that a cell that does not fit
    ends as OOM and not as the end of some other process; None where that is not known, and on a GPU."""
    held = _status_kib("VmData:")
    if device.type != "cpu" or held is None:
        return None
    from hsrzoo.models.tiling.choice import available_memory

    return (available_memory(device) + held * 2**10) / 2**30


def _status_kib(key: str) -> int | None:
    """KiB of this process as /proc has them; None where there is no /proc."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(text for text in status.read_text().splitlines() if text.startswith(key))
    return int(line.split()[1])


def resident_mib(peak: bool) -> float:
    """Resident memory of this process in MiB, now or at its highest.

    From /proc where there is one: Linux hands getrusage's maximum on from parent to child through
    fork and exec, which would report the parent's peak.
    """
    kib = _status_kib("VmHWM:" if peak else "VmRSS:")
    if kib is not None:
        return kib / 1024
    import resource

    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Load the model, predict once, report memory; then count MACs, which needs memory of its own."""
    import torch

    from hsrzoo_benchmark.plan.models import ModelSetup

    torch.set_num_threads(request["threads"])
    setup = ModelSetup(**request["setup"])
    model = setup.load(request["device"])
    if model.identity != request["sha256"]:
        raise RuntimeError(f"the weights or the configuration of {model.name} changed during the run")
    size, device = request["size"], torch.device(request["device"])
    # Only now: the limit is meant for the prediction, and importing torch fails in odd ways.
    limit = request["memory_limit_gib"] or free_gib(device)
    with memory_limited(limit, device):
        found: dict[str, Any] = predict_once(model, size, device)
    if device.type == "cuda" and setup.runtime != "torch":  # torch counts its own allocations only
        found |= {"peak_mib": None, "loaded_mib": None}
    return {"status": "ok", **found, "macs": count_macs(model, setup, size, found["cold_seconds"])}


def predict_once(model: Reconstructor, size: tuple[int, int], device: torch.device) -> dict[str, float]:
    """MiB before the prediction and at its highest (GPU: allocated there; else: resident), and the
    seconds it took, the first of its size."""
    import torch

    model.predict(sample_rgb(SMALL))
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
        loaded = torch.cuda.memory_allocated(device) / 2**20
    else:
        # Linux forgets the peak so far (loading's) when told so.
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        loaded = resident_mib(peak=False)
    begin = time.perf_counter()
    model.predict(sample_rgb(size))
    seconds = time.perf_counter() - begin
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else resident_mib(peak=True)
    return {"peak_mib": round(peak, 1), "loaded_mib": round(loaded, 1), "cold_seconds": round(seconds, 4)}


def count_macs(
    model: Reconstructor, setup: ModelSetup, size: tuple[int, int], seconds: float
) -> int | None:
    """Multiply-accumulates of the network on an image of ``size``, as it is padded; a prediction took
    ``seconds``.

    None where torch's counter sees nothing (an exported file), and for tiles, which repeat work at
    their borders and pass by pass.
    """
    if setup.runtime != "torch" or setup.tile:
        return None
    import torch

    from hsrzoo.models.complexity import macs
    from hsrzoo.models.rgb import pad

    shape = pad(torch.empty(1, 3, *size, device="meta"), model.spec.input).shape[-2:]
    if seconds < LONG_COUNT:
        return macs(model.module, *shape)
    # Tensors without values give the same count in no time, but not where the network hands values
    # to code outside torch: then it runs.
    try:
        from torch._subclasses.fake_tensor import FakeTensorMode  # no public name

        with FakeTensorMode(allow_non_fake_inputs=True):
            return macs(model.module, *shape)
    except Exception:
        return macs(model.module, *shape)


def main() -> None:
    """Measure what the one argument asks for."""
    request = json.loads(sys.argv[1])
    try:
        result = measure(request)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        result = {"status": OOM}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
