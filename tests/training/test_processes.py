"""Training in a group of processes, as torchrun and ``accelerate launch`` start it."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hsrzoo.training.engine import seed_step


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_processes_share_gradients_and_end_with_the_same_weights(
    make_task, tmp_path, same_bits
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("two_processes.py")),
            str(tmp_path / "run"),
            str(port),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    one, other = (torch.load(tmp_path / "run" / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert same_bits(one, other)
    assert json.loads((tmp_path / "run" / "record.json").read_text())["processes"] == 2
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 25))
    assert lines[0]["grad_norm"] == pytest.approx(_norm_of_mean_gradient(make_task), rel=1e-5)


def _norm_of_mean_gradient(make_task) -> float:
    """Norm of the mean of the gradients of what the two processes draw at the first step."""
    sums: list[torch.Tensor] = []
    for process in (0, 1):
        task, recipe = make_task()
        task.prepare()
        loss, _ = task.loss(task.draw(seed_step(recipe.seed, 0, process)))
        grads = torch.autograd.grad(loss, [p for p in task.module.parameters() if p.requires_grad])
        sums = [a + b for a, b in zip(sums, grads, strict=True)] if sums else list(grads)
    return math.sqrt(sum(float((total / 2).double().square().sum()) for total in sums))
