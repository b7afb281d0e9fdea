"""The options ``--workers`` and ``--ray`` of commands that can run on several processes or machines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from hsrzoo.utils.workers import Workers

_OPTIONS = (
    click.option("--workers", "worker_count", type=click.IntRange(min=1), metavar="N",
                 help="Work in N processes on this machine, by Ray."),
    click.option("--ray", "ray_address", metavar="HOST:PORT",
                 help="Work on a running Ray cluster (`ray start --head`); auto: the one on this machine."),
)  # fmt: skip


def worker_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add both options, as ``worker_count`` and ``ray_address``."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def chosen_workers(
    worker_count: int | None, ray_address: str | None, threads: int | None, device: str | None
) -> Workers | None:
    """The workers that were asked for; None: this process does the work itself.

    ``device`` as the user gave it: None is the GPU if there is one.
    """
    if worker_count is None and ray_address is None:
        return None
    if worker_count is not None and ray_address is not None:
        raise click.UsageError("--workers and --ray exclude each other")
    from hsrzoo.utils.devices import torch_device  # imports torch

    gpu = torch_device(device).type == "cuda"
    return Workers(worker_count, ray_address, threads, gpu)
