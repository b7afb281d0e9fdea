"""Functions that tests run on Ray workers: a worker must be able to import them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from hsrzoo.errors import InputError


def count_runs(folder: Path, name: str) -> int:
    """Note one more run of ``name`` in ``folder``; returns which one it is, 1 for the first."""
    with open(folder / name, "a") as file:
        file.write(".")
        return file.tell()


def work(task: dict[str, Any]) -> dict[str, Any]:
    """Do what the task says: die so many times, raise, or say where it runs."""
    if task.get("die", 0) >= count_runs(Path(task["folder"]), task["name"]):
        os.kill(os.getpid(), signal.SIGKILL)
    if task.get("fail"):
        raise InputError("No such thing", got=task["name"])
    if task.get("break"):
        raise ValueError("two\nlines")
    found = {"name": task["name"], "folder": os.getcwd(), "plugins": os.environ.get("HSRZOO_PLUGINS")}
    if task.get("torch"):
        import torch  # slow: only for the test that needs it

        found["threads"] = torch.get_num_threads()
    return found
