"""Train the toy network in two CPU processes of one group: ``python two_processes.py OUT PORT``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import accelerate  # noqa: F401  (imported here, once for both)
import timm.utils  # noqa: F401
import torch
import toys

from hsrzoo.training.loop import train
from hsrzoo.training.pairs import PairTask


class Reviving(PairTask):
    """Changes a codebook row now and then, in every process differently."""

    def after_step(self, step: int, generator: torch.Generator) -> dict[str, float]:
        if step % 5:
            return {}
        self.module.frozen.data += torch.rand(3, generator=generator)
        self.module.codebook[0] = torch.rand(4, generator=generator)
        return {"revived": 1.0}


def main(out: Path, rank: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(toys.NET.recipe.seed)
    data = toys.ToySet()
    task = Reviving(toys.NET, toys.ToyNet(data.bands), data, toys.NET.recipe)
    module = train(task, toys.NET.recipe, out, progress=False)
    torch.save(module.state_dict(), out / f"rank{rank}.pt")


if __name__ == "__main__":
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[2], "WORLD_SIZE": "2"}
    child = os.fork()
    os.environ["RANK"] = os.environ["LOCAL_RANK"] = str(int(child == 0))
    main(Path(sys.argv[1]), int(child == 0))
    if child == 0:
        os._exit(0)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
