"""The folder of a run while a command trains in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hsrzoo.cli.output import say


@contextmanager
def run_folder(folder: Path) -> Iterator[None]:
    """Hold the folder of a run; after Ctrl-C, say what is kept and how to go on.

    Raises LockedError, StoreError.
    """
    from hsrzoo.training.rundir import RunDir, hold_run

    with hold_run(folder):
        try:
            yield
        except KeyboardInterrupt:
            kept = "the last checkpoint" if RunDir(folder).checkpoint.is_file() else "no checkpoint yet"
            say(f"Kept in {folder}: {kept}. Run the same command with --resume to continue.")
            raise


__all__ = ["run_folder"]
