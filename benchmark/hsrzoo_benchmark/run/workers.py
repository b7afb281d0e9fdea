"""The same run on Ray workers: a task is one scene with all the scores that it lacks.

Workers get names, not open models, and open them once each; they send rows back, and this process
alone writes the store. So a row is written once, however often a worker dies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from hsrzoo.errors import InputError
from hsrzoo.utils.workers import TaskFailure, Workers, require_same, run_tasks
from hsrzoo_benchmark.plan.cells import Score, Source, Work
from hsrzoo_benchmark.plan.models import ModelSetup
from hsrzoo_benchmark.plan.options import Options
from hsrzoo_benchmark.protocol import Protocol
from hsrzoo_benchmark.run.scores import Failure, Outcome, Scored, keep, score_scene

if TYPE_CHECKING:
    from hsrzoo.models.reconstructor import Reconstructor


@dataclass(frozen=True)
class Opening:
    """What a worker needs to open the same data and models, and to verify that they are the same."""

    setups: tuple[ModelSetup, ...]
    identities: tuple[str | None, ...]
    device: str
    dataset: str
    data_root: Path | None
    data_options: tuple[tuple[str, str], ...]
    split: str
    fingerprint: str


@dataclass(frozen=True)
class Task:
    """One scene, and what is asked about it: (bench, number of the setup, protocol)."""

    opening: Opening
    scene: str
    asked: tuple[tuple[str, int, Protocol], ...]


def check(options: Options, workers: Workers) -> None:
    """InputError for models that the workers could not open: those that would be exported for the run,
    to files of this machine, where the workers may be on others."""
    exported = [e for name in options.models for e in options.ways.of(name) if e.to_export]
    if exported and workers.address is not None:
        raise InputError(
            "Models exported for the run are files of this machine alone",
            expected="--runtime torch on a Ray cluster",
            got=f"--runtime onnx with --ray {workers.address}",
            fix=f"Use --workers N, or export {exported[0].name} to a file that all machines have and give "
            "it as --model onnx:FILE",
        )


def run(
    work: Work,
    source: Source,
    setups: Mapping[str, ModelSetup],
    options: Options,
    workers: Workers,
    advance: Callable[[str], None],
) -> Outcome:
    """As :func:`hsrzoo_benchmark.run.scores.run`, on ``workers``. ``setups``: how each model, by its
    name, is loaded."""
    outcome = Outcome()
    models = {cell.model.name: cell.model for _, wanted in work for cell in wanted}
    first = next(iter(models.values()))
    opening = Opening(
        setups=tuple(setups[name] for name in models),
        identities=tuple(model.identity for model in models.values()),
        # GPU numbers differ between machines: Ray shows each task the one it may use.
        device="cuda" if workers.gpu else str(first.device),
        dataset=source.spec.name,
        data_root=options.data_root,
        data_options=tuple(options.data_options.items()),
        split=source.split,
        fingerprint=source.fingerprint,
    )
    numbers = {name: number for number, name in enumerate(models)}
    tasks = [
        Task(opening, name, tuple((cell.bench, numbers[cell.model.name], cell.protocol) for cell in wanted))
        for name, wanted in work
    ]
    for i, results in run_tasks(score, tasks, workers):
        name, wanted = work[i]
        if isinstance(results, TaskFailure):
            results = [Failure(name, "scoring on a worker", results.error, len(wanted))]
        for result in results:
            keep(result, wanted, outcome, advance)
    return outcome


def score(task: Task) -> list[Scored | Failure]:
    """What runs on a worker: all results of one scene."""
    source, models = _open(task.opening)
    scores = [Score(bench, models[number], protocol) for bench, number, protocol in task.asked]
    return list(score_scene(task.scene, scores, source))


@lru_cache(maxsize=1)
def _open(opening: Opening) -> tuple[Source, list[Reconstructor]]:
    """Data and models, once in each worker; InputError unless they are those of the asking process."""
    from hsrzoo.datasets import open_dataset
    from hsrzoo.registry import DATASETS

    dataset = open_dataset(opening.dataset, opening.data_root, **dict(opening.data_options))
    fingerprint = dataset.fingerprint()
    require_same(opening.dataset, "data", opening.fingerprint, fingerprint)
    models = [setup.load(opening.device) for setup in opening.setups]
    for model, identity in zip(models, opening.identities, strict=True):
        require_same(model.name, "weights", identity, model.identity)
    spec = DATASETS.get(opening.dataset)
    return Source(dataset, spec, opening.split, (), fingerprint), models
