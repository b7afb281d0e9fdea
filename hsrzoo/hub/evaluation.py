"""Results of a model as the Hub lists them: ``model-index`` of the card, and ``.eval_results`` for the
leaderboards of benchmark data sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hsrzoo.hub.rows import Figure
from hsrzoo.results import HASH_LENGTH

TASK = "image-to-image"
FILE = ".eval_results/hsrzoo.yaml"
"""Path in a repository."""
_TITLES = {"de2000": "dE2000"}


@dataclass(frozen=True)
class Benchmark:
    """A data set on the Hub that is registered there as a benchmark."""

    repo: str
    tasks: Mapping[str, str]
    """Metric -> the task's identifier in its ``eval.yaml``."""
    revision: str | None = None
    """A commit."""


BENCHMARKS: Mapping[tuple[str, str, str], Benchmark] = {}
"""(data set, split, first digits of the protocol's hash) -> its benchmark. The Hub refuses results for data
sets that are not registered, so nothing is written while this is empty."""


@dataclass(frozen=True)
class Evaluations:
    """The same results in both forms."""

    model_index: list[dict[str, Any]]
    """Metadata of the card."""
    files: Mapping[str, bytes]
    """:data:`FILE`, where a benchmark has some of the results; else nothing."""


def evaluations(
    name: str, figures: Sequence[Figure], benchmarks: Mapping[tuple[str, str, str], Benchmark] = BENCHMARKS
) -> Evaluations:
    """Results of unchanged input, on scenes that were not trained on.

    The name of each metric contains the protocol, the first digits of its hash and the number of scenes,
    because figures of different protocols must not be compared.

    Args:
        name: The model's in ``model-index``.
        figures: Means of its scores.
        benchmarks: Data sets that the Hub has leaderboards for.
    """
    found = [f for f in figures if f.condition is None and not f.seen and f.means]
    results = [
        {
            "task": {"type": TASK, "name": "Spectral reconstruction from RGB"},
            "dataset": {"type": figure.dataset, "name": figure.source, "split": figure.split},
            "metrics": [
                {"type": metric, "name": _metric_name(metric, figure), "value": _round(value)}
                for metric, value in figure.means.items()
            ],
        }
        for figure in found
    ]
    entries = [entry for figure in found for entry in _entries(figure, benchmarks)]
    return Evaluations([{"name": name, "results": results}], {FILE: _yaml(entries)} if entries else {})


def _entries(
    figure: Figure, benchmarks: Mapping[tuple[str, str, str], Benchmark]
) -> Iterator[dict[str, Any]]:
    """Fields of huggingface_hub's ``EvalResultEntry``, for the metrics that are tasks of a benchmark."""
    benchmark = benchmarks.get((figure.dataset, figure.split, figure.protocol_hash[:HASH_LENGTH]))
    if benchmark is None or figure.tta:
        return
    for metric, task in benchmark.tasks.items():
        if metric in figure.means:
            yield {
                "dataset_id": benchmark.repo,
                "task_id": task,
                "value": _round(figure.means[metric]),
                "dataset_revision": benchmark.revision,
                "notes": _metric_name(metric, figure),
            }


def _yaml(entries: Sequence[Mapping[str, Any]]) -> bytes:
    import yaml  # only for writing a card

    from hsrzoo.hub.client import evaluation_entries

    return yaml.safe_dump(evaluation_entries(entries), sort_keys=False).encode()


def _metric_name(metric: str, figure: Figure) -> str:
    protocol = f"{figure.protocol}{', adapted' if figure.tta else ''}"
    number = f"mean of {figure.scenes} scene{'s' * (figure.scenes > 1)}"
    return f"{title(metric)}, {protocol}, hash {figure.protocol_hash[:HASH_LENGTH]}, {number}"


def _round(value: float) -> float:
    return float(f"{value:.6g}")


def title(metric: str) -> str:
    """A metric's name in tables."""
    return _TITLES.get(metric, metric.upper())
