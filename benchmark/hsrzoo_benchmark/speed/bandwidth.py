"""On a GPU: how fast the network is on an image that lies there already, and how fast the device's
memory lets any network be.

Every network must read the RGB image and write the cube; what the memory can move therefore bounds the
megapixels a second of all of them. ``Reconstructor.predict``, which the speed benchmark times, also
copies both over the bus between host and device, so the network alone is timed here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from hsrzoo.models.reconstructor import Reconstructor

FLOAT_BYTES = 4
COPY_BYTES = 2**28
"""256 MiB: several times what a GPU caches."""
REPEATS = 10
Timer = Callable[["torch.device", Callable[[], object]], float]
"""``timer(device, work)``: the seconds that ``work`` keeps the device busy."""


def gpu_seconds(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds between two CUDA events around ``work``, once it is done."""
    import torch

    with torch.cuda.device(device):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3


def copy_bandwidth(
    device: torch.device, timer: Timer = gpu_seconds, size: int = COPY_BYTES, repeats: int = REPEATS
) -> float:
    """Bytes a second that the device's memory moves in a copy of ``size`` bytes within it.

    Each byte is read once and written once, so a copy moves twice its size. The fastest of ``repeats``
    copies after one that is not timed.
    """
    import torch

    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = [timer(device, lambda: target.copy_(source)) for _ in range(1 + repeats)]
    return 2 * size / min(seconds[1:])


def bound_megapixels_s(bandwidth: float, bands: int) -> float:
    """Megapixels a second at which reading RGB and writing ``bands`` values a pixel, all in float32,
    takes all of ``bandwidth`` (bytes a second)."""
    return bandwidth / (FLOAT_BYTES * (3 + bands)) / 1e6


def network_seconds(
    model: Reconstructor, rgb: np.ndarray, timer: Timer = gpu_seconds, repeats: int = REPEATS
) -> float:
    """Median seconds of the network alone on ``rgb`` (3, H, W), float32 in [0, 1], normalised, padded
    and copied to the device beforehand; the cube stays there."""
    import torch

    from hsrzoo.models.rgb import normalise, pad

    image = torch.from_numpy(rgb)[None].to(model.device)
    batch = pad(normalise(image, model.spec.input.normalise), model.spec.input)
    seconds = [timer(model.device, lambda: model.run(batch)) for _ in range(1 + repeats)]
    return float(np.median(seconds[1:]))


def on_device(model: Reconstructor, rgb: np.ndarray) -> dict[str, float]:
    """What a row of a model on a GPU keeps besides: ``device_p50`` in seconds, ``bandwidth`` in bytes a
    second; nothing on the CPU, where nothing is copied."""
    if model.device.type != "cuda":
        return {}
    seconds, bandwidth = network_seconds(model, rgb), _bandwidth(str(model.device))
    return {"device_p50": round(seconds, 7), "bandwidth": round(bandwidth)}


@cache
def _bandwidth(device: str) -> float:
    """Measured once a device and run."""
    import torch

    return copy_bandwidth(torch.device(device))
