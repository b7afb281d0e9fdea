"""What a run of ``hsrzoo bench`` or ``hsrzoo compare`` was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hsrzoo.cli.options import DEFAULT_STORE
from hsrzoo.utils.workers import Workers
from hsrzoo_benchmark.plan.models import RunModes
from hsrzoo_benchmark.protocol import DEFAULT_METRICS


@dataclass(frozen=True)
class Options:
    """What both commands take."""

    models: tuple[str, ...]
    dataset: str | None
    benches: tuple[str, ...]
    metrics: tuple[str, ...] = DEFAULT_METRICS
    """In column order."""
    data_options: dict[str, str] = field(default_factory=dict)
    split: str | None = None
    protocols: tuple[str, ...] = ()
    """Empty: those of the data set."""
    tta: bool = False
    """Run models that can adapt with adaptation too; brightness does so always."""
    seeds: tuple[int, ...] = (0,)
    limit: int | None = None
    resample: bool = False
    data_root: Path | None = None
    store: Path = DEFAULT_STORE
    device: str | None = None
    threads: int | None = None
    as_json: bool = False
    as_csv: bool = False
    ways: RunModes = field(default_factory=RunModes)
    """How every model is run: runtimes, precisions, compiled or not, tiles."""
    random_weights: bool = False
    """A smoke test: all networks with random weights, on one crop, rows not kept."""
    workers: Workers | None = None
    """Where scenes are scored; None: in this process. Speed is always measured in this one."""
