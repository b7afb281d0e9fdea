"""The queues under ``benchmark/hsrzoo_benchmark/studies``: which of them makes the rows of a run."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from hsrzoo_benchmark.grouping import group_by

FOLDER = Path(__file__).parents[1] / "studies"
_SHOWN_AS = "benchmark/hsrzoo_benchmark/studies"


def all_jobs() -> frozenset[str]:
    """The names of all jobs."""
    return frozenset(name for names in _queues(FOLDER).values() for name in names)


@cache
def _queues(folder: Path) -> dict[Path, list[str]]:
    from hsrzoo.training.queue import read_queue

    files = sorted(folder.glob("*.toml"))
    return {file: [job.name for job in read_queue(file, Path("runs"))] for file in files}


def queues_of(jobs: Iterable[str]) -> dict[Path | None, list[str]]:
    """Queue file -> those of ``jobs`` that it makes; None: no queue does."""
    return group_by(
        dict.fromkeys(jobs),
        lambda job: next((file for file, names in _queues(FOLDER).items() if job in names), None),
    )


def missing_lines(jobs: Iterable[str]) -> list[str]:
    """What lacks rows, and the command that makes them."""
    lines = []
    for file, names in queues_of(jobs).items():
        made = (
            f"`hsrzoo train --queue {_SHOWN_AS}/{file.name}` makes them" if file else "no queue makes them"
        )
        lines.append(f"No rows of {', '.join(names)}: {made}.")
    return lines
