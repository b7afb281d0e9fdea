"""Predict in child processes that are killed: ``python killed_prediction.py IMAGE FOLDER NAME:DTYPE ...``.

This process imports everything and predicts nothing itself, so that it can fork cheaply. Each cube is
made in ``FOLDER/one`` by one child, and in ``FOLDER/other`` by several, which are killed (SIGKILL) after
so many tiles, or in the middle of writing one. Prints what the last child of each tells.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from hsrzoo.io.stream import CubeStream
from hsrzoo.prediction.predict import PredictOptions, Step, predict_file
from tiled_networks import Chained, model

KILLS = (5, 33, 0, 2, 3, 1)
"""Of 12 tiles in 4 passes: 5 tiles; 32 more, and half of the second of the last pass; none; one and a
half; three; half of one."""


def predict(image: Path, out: Path, dtype: str, after: int | None, amid: bool) -> None:
    """Make the cube, unless killed after ``after`` tiles; ``amid``: with half of the next one written."""
    torch.set_num_threads(1)
    left = after

    def progress(step: Step) -> None:
        nonlocal left
        if left == 0 and not amid:
            os.kill(os.getpid(), signal.SIGKILL)
        left = None if left is None else left - 1

    write = CubeStream.write

    def half(self: CubeStream, top: int, left_: int, block) -> None:
        if left is not None and left <= 0:
            write(self, top, left_, block[: len(block) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, top, left_, block)

    if amid:
        CubeStream.write = half  # type: ignore[method-assign]
    options = PredictOptions(dtype=dtype, save_seconds=0)  # type: ignore[arg-type]
    said: list[str] = []
    report = predict_file(image, model(Chained, tile=16), out, options, progress, said.append)
    print(out, report.passes, report.resumed, *said, sep="|", flush=True)


def child(*arguments) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            predict(*arguments)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(image: Path, folder: Path, cubes: list[str]) -> None:
    for cube in cubes:
        name, dtype = cube.split(":")
        for place, kills in (("one", ()), ("other", KILLS)):
            out = folder / place / name
            out.parent.mkdir(exist_ok=True)
            for i, after in enumerate(kills):
                if child(image, out, dtype, after, i % 2 == 1) != -signal.SIGKILL:
                    sys.exit(f"child {i} was not killed after {after} tiles")
            if child(image, out, dtype, None, False):
                sys.exit(f"the last child of {cube} failed")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
