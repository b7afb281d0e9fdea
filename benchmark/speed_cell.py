"""One cell of the speed benchmark in a process of its own: peak memory and MACs of one prediction.

Run as ``python -m hsrzoo_benchmark.speed_cell JSON``; the last line on stdout is the result.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

OOM = "OOM"
_SIGNS = (
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "bad_alloc",
    "failed to map segment",  # a library that is imported late
)


def is_out_of_memory(error: BaseException) -> bool:
    """True for MemoryError and for what torch raises in its place."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError | ImportError) and any(
        sign in str(error).lower() for sign in _SIGNS
    )


def limit_memory(gib: float) -> None:
    """Make allocations beyond ``gib`` GiB fail in this process."""
    import resource

    # RLIMIT_DATA counts what a process allocates (Linux since 4.7); RLIMIT_AS also counts the
    # address space that libraries and thread stacks merely reserve.
    kind = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
    size = int(gib * 2**30)
    resource.setrlimit(kind, (size, size))


def resident_mib(peak: bool) -> float:
    """Resident memory of this process in MiB, now or at its highest.

    From /proc where there is one: Linux hands getrusage's maximum on from parent to child through
    fork and exec, which would report the parent's peak.
    """
    status = Path("/proc/self/status")
    if status.exists():
        key = "VmHWM:" if peak else "VmRSS:"
        line = next(text for text in status.read_text().splitlines() if text.startswith(key))
        return int(line.split()[1]) / 1024
    import resource

    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Load the model, predict once under torch's flop counter, report."""
    import torch
    from hsrzoo_benchmark.speed import sample_rgb
    from torch.utils.flop_counter import FlopCounterMode

    import hsrzoo
    from hsrzoo.complexity import unseen_macs

    torch.set_num_threads(request["threads"])
    model = hsrzoo.load(request["model"], device=request["device"])
    if model.identity != request["sha256"]:
        raise RuntimeError(f"the weights or the configuration of {request['model']} changed during the run")
    height, width = request["size"]
    # Only now: the limit is meant for the prediction, and importing torch fails in odd ways.
    if request["memory_limit_gib"] is not None:
        limit_memory(request["memory_limit_gib"])
    # Whatever the first prediction and the counter import or set up is no part of this cell.
    with FlopCounterMode(display=False):
        model.predict(sample_rgb((64, 64)))
    device = torch.device(request["device"])
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
        loaded = torch.cuda.memory_allocated(device) / 2**20
    else:
        # Linux forgets the peak so far (loading's) when told so.
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        loaded = resident_mib(peak=False)
    counter = FlopCounterMode(display=False)
    with counter:
        model.predict(sample_rgb((height, width)))
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else resident_mib(peak=True)
    return {
        "status": "ok",
        "peak_mib": round(peak, 1),
        "loaded_mib": round(loaded, 1),
        "macs": counter.get_total_flops() // 2 + unseen_macs(model.module, height, width),
    }


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
