"""Train toys in two CPU processes of one group: ``python two_processes.py OUT PORT``.

The test that starts it imports this file, too, and trains the same in one process.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import toys
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.spec import Recipe
from hsrzoo.training.loop import train
from hsrzoo.training.pairs import PairTask
from hsrzoo.training.task import Task
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder
from hsrzoo_mcga.stage1.task import CodebookTask

PAIRS = Recipe(steps=24, batch=4, patch=16, checkpoint_every=5, valid_every=8, holdout=1)
# Long enough for two revivals of dead codes: of 64 some are unused by step 50.
CODES = Recipe(steps=110, batch=4, patch=16, loss="own", checkpoint_every=200, valid_every=200)
STOP = 10


class PlainNet(nn.Module):
    """Two convolutions and a buffer: no layer that couples samples or draws by itself."""

    def __init__(self, bands: BandSet) -> None:
        super().__init__()
        self.enter, self.leave = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, len(bands), 1)
        self.register_buffer("codebook", torch.randn(16, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(torch.relu(self.enter(x)))


class Reviving(PairTask):
    """Changes a weight and a buffer now and then, from numbers of the whole batch."""

    def fill(self, batch: tuple[Tensor, Tensor], generator: torch.Generator) -> None:
        self.means = None
        super().fill(batch, generator)

    def loss(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
        self.means = batch[1].mean((1, 2, 3))
        loss, logs = super().loss(batch)
        return loss, {**logs, "mean": float(self.means.mean())}

    def after_step(self, step: int, generator: torch.Generator) -> dict[str, float]:
        if step % 5:
            return {}
        self.module.codebook[0] = self.gather(self.means)
        self.module.leave.bias += 0.1 * torch.rand(5, generator=generator)
        return {"revived": 1.0}


def pairs() -> tuple[Task, Recipe]:
    torch.manual_seed(0)
    data = toys.ToySet()
    return Reviving(toys.NET, PlainNet(data.bands), data, PAIRS), PAIRS


def codes() -> tuple[Task, Recipe]:
    torch.manual_seed(0)
    return CodebookTask(SpectralAutoencoder(5, latent=8, n_codes=64), toys.ToySet(), CODES), CODES


def main(out: Path, rank: int) -> None:
    torch.set_num_threads(1)
    for name, make in (("pairs", pairs), ("codes", codes)):
        task, recipe = make()
        if name == "pairs" and rank:  # the group must begin with one process's weights
            nn.init.zeros_(task.module.leave.weight)
        module = train(task, recipe, out / name, progress=False)
        torch.save(module.state_dict(), out / name / f"rank{rank}.pt")
    task, recipe = pairs()
    train(task, recipe, out / "part", progress=False, stop_after=STOP)


if __name__ == "__main__":
    import accelerate  # noqa: F401  (imported here, once for both)

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[2], "WORLD_SIZE": "2"}
    child = os.fork()
    os.environ["RANK"] = os.environ["LOCAL_RANK"] = str(int(child == 0))
    main(Path(sys.argv[1]), int(child == 0))
    if child == 0:
        os._exit(0)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
