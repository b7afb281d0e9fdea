"""Train the toy network in child processes that are killed: ``python killed_run.py OUT``.

This process imports everything and trains nothing itself, so that it can fork cheaply. It kills a
child after each of several numbers of log lines, one in the middle of writing a checkpoint, and
lets the last one finish.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import accelerate  # noqa: F401  (imported here, once for all children)
import torch
import toys

from hsrzoo.training import loop, rundir
from hsrzoo.training.pairs import PairTask

KILL_AT = (2, 7, 12, 16)


def lines_of(out: Path) -> int:
    log = out / "log.jsonl"
    return log.read_bytes().count(b"\n") if log.is_file() else 0


class Slow(PairTask):
    """Leaves the parent time to kill; after two lines too many it waits for that as long as it takes."""

    out: Path
    kill_at: int | None = None

    def loss(self, batch):
        time.sleep(0.01)
        while self.kill_at is not None and lines_of(self.out) >= self.kill_at + 2:
            time.sleep(0.01)
        return super().loss(batch)


def train(out: Path, kill_at: int | None = None) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(toys.NET.recipe.seed)
    data = toys.ToySet()
    task = Slow(toys.NET, toys.ToyNet(data.bands), data, toys.NET.recipe)
    task.out, task.kill_at = out, kill_at
    loop.train(task, toys.NET.recipe, out, resume=out.exists(), progress=False)


def die_while_writing(out: Path) -> None:
    """Killed after the new checkpoint's bytes are written and before they take the old one's place."""
    write, replace = rundir.write_atomically, os.replace

    def deadly(path: Path, data: bytes) -> None:
        if path.name == "checkpoint.pt":
            os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        write(path, data)

    rundir.write_atomically = deadly
    try:
        train(out)
    finally:
        os.replace = replace


def child(work) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(out: Path) -> None:
    for lines in KILL_AT:
        pid = child(lambda lines=lines: train(out, lines))
        while lines_of(out) < lines:
            time.sleep(0.001)
        os.kill(pid, signal.SIGKILL)
        if ended(pid) != -signal.SIGKILL:
            sys.exit(f"the child was not killed at {lines} lines")
    before = (out / "checkpoint.pt").read_bytes()
    if ended(child(lambda: die_while_writing(out))) != -signal.SIGKILL:
        sys.exit("the child did not die while writing")
    if (out / "checkpoint.pt").read_bytes() != before or not list(out.glob(".checkpoint.pt.*")):
        sys.exit("the old checkpoint was not kept, or nothing was half written")
    sys.exit(ended(child(lambda: train(out))))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
