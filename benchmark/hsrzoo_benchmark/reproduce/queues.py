"""The queues under ``benchmark/hsrzoo_benchmark/studies``: which of them makes the rows of a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hsrzoo_benchmark.grouping import group_by

FOLDER = Path(__file__).parents[1] / "studies"
_SHOWN_AS = "benchmark/hsrzoo_benchmark/studies"


def queues_of(jobs: Iterable[str]) -> dict[Path | None, list[str]]:
    """Queue file -> those of ``jobs`` that it makes; None: no queue does."""
    from hsrzoo.training.queue import read_queue

    queues = {
        file: [job.name for job in read_queue(file, Path("runs"))] for file in sorted(FOLDER.glob("*.toml"))
    }
    return group_by(
        dict.fromkeys(jobs),
        lambda job: next((file for file, names in queues.items() if job in names), None),
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
