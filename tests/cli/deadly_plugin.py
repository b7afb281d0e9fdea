"""A network of one 1x1 convolution that can kill the process it runs in."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from hsrzoo.bands import BandSet
from hsrzoo.spec import ModelSpec


def build(bands: BandSet, counter: str = "", deadly: int = 0):
    """``deadly``: which run of the network ends with SIGKILL; runs are counted in the file ``counter``."""
    import torch
    from torch import nn

    class Net(nn.Module):
        halo = 0

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, len(bands), 1)

        def forward(self, rgb: torch.Tensor) -> torch.Tensor:
            if deadly:
                with Path(counter).open("a") as file:
                    file.write(".")
                    runs = file.tell()
                if runs == deadly:
                    os.kill(os.getpid(), signal.SIGKILL)
            return self.conv(rgb)

    return Net()


NET = ModelSpec(name="deadly-net", build=build, summary="1x1", source="tests")
