"""The bound that a device's memory sets, with clocks and copies of our own in place of a GPU's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import hsrzoo
from hsrzoo_benchmark.speed import bandwidth


class Timer:
    """Does the work and reports the next of ``seconds``."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = list(seconds)
        self.results: list[Any] = []

    def __call__(self, device: torch.device, work: Any) -> float:
        self.results.append(work())
        return self.seconds.pop(0)


def test_a_copy_reads_and_writes_every_byte_and_the_fastest_counts() -> None:
    timer = Timer(0.001, 0.5, 0.25, 1.0)  # the first is not counted
    found = bandwidth.copy_bandwidth(torch.device("cpu"), timer, size=1000, repeats=3)
    assert found == 2 * 1000 / 0.25
    assert not timer.seconds
    assert all(target.shape == (1000,) and not target.any() for target in timer.results)


def test_bound_of_a_cube_of_31_bands() -> None:
    # a pixel: 3 + 31 floats of 4 bytes = 136 bytes
    assert bandwidth.bound_megapixels_s(3.35e12, 31) == pytest.approx(3.35e12 / 136 / 1e6)


def test_the_network_alone_runs_on_a_padded_image_that_lies_on_the_device(save_model) -> None:
    model = hsrzoo.load(save_model("net"), device="cpu")
    rgb = np.random.default_rng(0).random((3, 9, 11), dtype=np.float32)
    timer = Timer(9.0, 1.0, 3.0, 2.0)
    assert bandwidth.network_seconds(model, rgb, timer, repeats=3) == 2.0  # the median
    np.testing.assert_allclose(timer.results[-1][0, :, :9, :11].numpy(), model.predict(rgb), atol=1e-6)


def test_the_cpu_has_no_bound_and_a_gpu_s_is_measured_once(monkeypatch) -> None:
    measured: list[str] = []
    monkeypatch.setattr(bandwidth, "network_seconds", lambda model, rgb: 0.25)
    monkeypatch.setattr(bandwidth, "copy_bandwidth", lambda device: measured.append(str(device)) or 1.5e12)
    bandwidth._bandwidth.cache_clear()
    gpu, cpu = (SimpleNamespace(device=torch.device(name)) for name in ("cuda:1", "cpu"))
    rgb = np.zeros((3, 4, 4), np.float32)
    assert bandwidth.on_device(cpu, rgb) == {}  # type: ignore[arg-type]
    for _ in range(2):
        found = bandwidth.on_device(gpu, rgb)  # type: ignore[arg-type]
        assert found == {"device_p50": 0.25, "bandwidth": 1.5e12}
    assert measured == ["cuda:1"]
    bandwidth._bandwidth.cache_clear()
