"""The batches of a run, drawn in the process that trains or, ahead of it, in workers."""

from __future__ import annotations

import hashlib
import mmap
import multiprocessing
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hsrzoo.errors import TrainingError
from hsrzoo.training.task import Task
from hsrzoo.utils.threads import usable_cpus
from hsrzoo.utils.workers import TaskFailure, attempt

AHEAD = 2
"""Batches that each worker draws ahead."""
MOST_AUTOMATIC = 4
"""Workers for a GPU unless the user decides: each draws about a thousand crops of 128 x 128 a second."""
_ENDLESS = 1 << 62


def seed_step(seed: int, index: int, process: int = 0) -> torch.Generator:
    """The generator of one step of one process; torch's global ones are seeded likewise."""
    digest = hashlib.sha256(f"{seed}/{index}/{process}".encode()).digest()
    own = int.from_bytes(digest[:8], "little") >> 1
    torch.manual_seed(own ^ 0x5DEECE66D)  # for layers that draw themselves, as dropout does
    return torch.Generator().manual_seed(own)


class Loader:
    """The batch of every step of a task, which is a function of the seed and of the step alone: order and
    bytes are the same for any number of workers.

    Workers are forked when the first batch is asked for, and share the scenes with this process. They write
    into memory that is shared too, and used in turn: a batch is valid until the next one is asked for.
    """

    def __init__(self, task: Task, seed: int, workers: int = 0) -> None:
        """``workers``: 0: this process draws. That it does always for tasks without ``empty_batch``.
        TrainingError where processes cannot be forked."""
        if workers and "fork" not in multiprocessing.get_all_start_methods():
            raise TrainingError(
                "This system has no fork, which workers need", expected="0 workers", got=workers
            )
        self._task, self._seed = task, seed
        self._workers, self._slots = workers, list[Any]()
        self._next = -1
        self._drawn: Iterator[Any] = iter(())

    def draw(self, index: int) -> tuple[Any, torch.Generator]:
        """The batch of step ``index`` and the generator that has drawn it. Torch's global generators are as
        if it had been drawn here.

        Raises:
            TrainingError: It cannot be drawn.
        """
        if not self._slots:
            self._slots = self._memory()
        generator, batch = seed_step(self._seed, index), self._slots[index % len(self._slots)]
        if batch is None:
            return self._task.draw(generator), generator
        if not self._workers:
            self._task.fill(batch, generator)
            return batch, generator
        if index != self._next:
            self._start(index)
        drawn, self._next = next(self._drawn), index + 1
        if isinstance(drawn, TaskFailure):
            raise TrainingError(drawn.error)
        own, torchs = drawn
        generator.set_state(torch.from_numpy(own))
        torch.set_rng_state(torch.from_numpy(torchs))
        return batch, generator

    def close(self) -> None:
        """End the workers."""
        self._drawn, self._next = iter(()), -1

    def _memory(self) -> list[Any]:
        """As many batches as are drawn ahead, and the one that is in use."""
        from accelerate.utils import recursively_apply  # slow to import, and only training needs it

        first = self._task.empty_batch()
        if first is None or not self._workers:
            return [first]
        return [recursively_apply(_shared, first) for _ in range(AHEAD * self._workers + 1)]

    def _start(self, index: int) -> None:
        self.close()
        # The loader hands out a new index before it gives the oldest batch: that of the batch before.
        loader = DataLoader(
            _Steps(self._task, self._seed, self._slots),
            batch_size=None,
            sampler=range(index, _ENDLESS),
            num_workers=self._workers,
            collate_fn=_as_it_is,
            prefetch_factor=AHEAD,
            multiprocessing_context="fork",
            generator=torch.Generator(),  # torch's global one stays as it is
        )
        self._drawn = iter(loader)


class _Steps(Dataset[Any]):
    """Draws batches in a worker."""

    def __init__(self, task: Task, seed: int, slots: list[Any]) -> None:
        self._task, self._seed, self._slots = task, seed, slots

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray] | TaskFailure:
        """The states of the generator and of torch's global one after the batch ``index`` was drawn."""
        generator = seed_step(self._seed, index)
        failed = attempt(self._task.fill, self._slots[index % len(self._slots)], generator)
        if failed is not None:
            return failed
        return generator.get_state().numpy(), torch.get_rng_state().numpy()


def automatic_workers(device: torch.device) -> int:
    """How many workers a run has unless the user decides: none on a CPU, whose time they would take from
    the training."""
    if device.type != "cuda" or "fork" not in multiprocessing.get_all_start_methods():
        return 0
    return min(MOST_AUTOMATIC, usable_cpus() - 1)


def _shared(tensor: Tensor) -> Tensor:
    """Memory of the size of ``tensor`` for this process and those forked from it. Not by torch: its shared
    memory is files in /dev/shm, which containers limit to 64 MB."""
    memory = mmap.mmap(-1, max(1, tensor.nbytes))
    return torch.frombuffer(memory, dtype=tensor.dtype, count=tensor.numel()).view(tensor.shape)


def _as_it_is(drawn: Any) -> Any:
    return drawn
