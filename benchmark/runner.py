"""The loop over scenes: load, perturb, predict, score, append.

Scene by scene, so that each is read and disturbed once for all models, and predicted once for all
protocols (they differ in what is scored, not in what a model sees); each result goes to its own file
as soon as it is there. What is stored already is not computed again.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
from hsrzoo_benchmark.entrants import DTYPES, execution
from hsrzoo_benchmark.protocol import Condition, Protocol, crop_border, resolve_protocol
from hsrzoo_benchmark.store import ResultFile, Store

from hsrzoo.bands import BandSet
from hsrzoo.datasets.base import Dataset, Scene
from hsrzoo.errors import BandsError, HsrzooError, InputError
from hsrzoo.perturb import DoesNotApplyError
from hsrzoo.spec import DatasetSpec, MetricContext, resolve

if TYPE_CHECKING:
    from hsrzoo.reconstructor import Reconstructor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """The scenes of one run."""

    dataset: Dataset
    spec: DatasetSpec
    split: str
    scenes: tuple[str, ...]
    fingerprint: str
    """Of the files on disk: rows made from other files do not count as finished."""


@dataclass(frozen=True)
class Cell:
    """One model under one protocol, and the file its rows go to."""

    bench: str
    model: Reconstructor
    protocol: Protocol
    file: ResultFile

    def finished(self, source: Source) -> set[str]:
        """Scenes of ``source`` that have a row already."""
        return {row["scene"] for row in self.file.rows if row["fingerprint"] == source.fingerprint}


@dataclass(frozen=True)
class Failure:
    """A scene that gave no row."""

    scene: str
    what: str
    """Which step, model and condition."""
    error: str


@dataclass
class Outcome:
    """What a run did."""

    computed: int = 0
    failures: list[Failure] = field(default_factory=list)
    skipped: list[Failure] = field(default_factory=list)
    """Perturbations that a scene is too small for: no row, and no failure either."""


@dataclass(frozen=True)
class Request:
    """What decides which cells a run has, besides models and data."""

    protocols: tuple[str, ...]
    conditions: tuple[tuple[str, Condition], ...]
    """(bench, condition) in table order."""
    metrics: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    tta: bool = False
    """Run models that can adapt with adaptation too; brightness does so always."""
    resample: bool = False


def plan(models: Sequence[Reconstructor], source: Source, request: Request, store: Store) -> list[Cell]:
    """All cells in table order. BandsError where bands differ and resampling was not asked for."""
    for model in models:
        if not request.resample:
            source.dataset.bands.require_same(
                model.bands, f"the data set {source.dataset.name}", f"the model {model.name}"
            )
    return [
        Cell(bench, model, protocol, _file(store, model, source, protocol))
        for name in request.protocols
        for bench, condition in request.conditions
        for seed in (request.seeds if condition.perturbation else request.seeds[:1])
        for model in models
        for tta in _adaptations(model, bench, request.tta)
        for protocol in [
            resolve_protocol(
                name,
                source.dataset,
                source.spec,
                condition=condition,
                metrics=request.metrics,
                seed=seed,
                tta=tta,
                tta_settings=_adaptation_settings(model) if tta else None,
                model_bands=None if model.bands.same_as(source.dataset.bands) else model.bands,
            )
        ]
    ]


def _file(store: Store, model: Reconstructor, source: Source, protocol: Protocol) -> ResultFile:
    return store.scores(model.name, model.identity, source.dataset.name, source.split, protocol)


def _adaptation_settings(model: Reconstructor) -> dict[str, Any]:
    """Defaults of the model's ``adapt`` function: they decide the figures as much as weights do."""
    if model.spec.adapt is None:
        return {}
    parameters = inspect.signature(resolve(model.spec.adapt)).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _adaptations(model: Reconstructor, bench: str, asked: bool) -> tuple[bool, ...]:
    """Without and, where the model can and the benchmark wants it, with test-time adaptation."""
    wanted = model.spec.adapt is not None and (asked or bench == "brightness")
    return (False, True) if wanted else (False,)


def run(
    cells: Sequence[Cell],
    source: Source,
    provenance: Callable[[str], dict[str, Any]],
    advance: Callable[[str], None],
) -> Outcome:
    """Compute what is missing. ``provenance(device)`` describes code and machine; ``advance(what)``
    is called once for each finished or failed score. A failing scene is noted and the others go on."""
    outcome = Outcome()
    done = [cell.finished(source) for cell in cells]
    for name in source.scenes:
        missing = [cell for cell, finished in zip(cells, done, strict=True) if name not in finished]
        if missing:
            _run_scene(name, missing, source, provenance, advance, outcome)
    return outcome


def count_missing(cells: Iterable[Cell], source: Source) -> int:
    """How many scores :func:`run` would compute."""
    return sum(len(set(source.scenes) - cell.finished(source)) for cell in cells)


def _run_scene(
    name: str,
    cells: list[Cell],
    source: Source,
    provenance: Callable[[str], dict[str, Any]],
    advance: Callable[[str], None],
    outcome: Outcome,
) -> None:
    def failed(what: str, error: Exception, lost: int) -> None:
        log.debug("%s failed on %s", what, name, exc_info=error)
        text = str(error) if isinstance(error, HsrzooError) else f"{type(error).__name__}: {error}"
        outcome.failures.append(Failure(name, what, text))
        for _ in range(lost):
            advance(name)

    try:
        clean = source.dataset.load(source.split, name)
    except Exception as error:
        failed("reading", error, len(cells))
        return
    for (condition, seed), disturbed in _grouped(cells, lambda c: (c.protocol.condition, c.protocol.seed)):
        try:
            scene, info = disturb(clean, disturbed[0].protocol)
        except DoesNotApplyError as error:
            outcome.skipped.append(Failure(name, str(condition), str(error)))
            for _ in disturbed:
                advance(name)
            continue
        except Exception as error:
            failed(f"{condition}, seed {seed}", error, len(disturbed))
            continue
        for (model, tta), sharing in _grouped(disturbed, lambda c: (c.model, c.protocol.tta)):
            what = f"{model.name}{' with TTA' if tta else ''} on {condition}"
            try:
                pred, seconds = predict(model, scene, tta)
            except Exception as error:
                failed(what, error, len(sharing))
                continue
            for cell in sharing:
                try:
                    metrics, scored_bands = score(scene, pred, cell.protocol)
                except Exception as error:
                    failed(f"{what}, protocol {cell.protocol.name}", error, 1)
                    continue
                row = _row(cell, source, name, info, seconds, provenance)
                cell.file.append({**row, "scored_bands": scored_bands, "metrics": metrics})
                outcome.computed += 1
                advance(f"{name}: {what}")


def _grouped(cells: Iterable[Cell], key: Callable[[Cell], Any]) -> list[tuple[Any, list[Cell]]]:
    """Cells of one key, keys and cells in order of appearance."""
    found: dict[Any, list[Cell]] = {}
    for cell in cells:
        found.setdefault(key(cell), []).append(cell)
    return list(found.items())


def disturb(scene: Scene, protocol: Protocol) -> tuple[Scene, dict[str, Any]]:
    """The scene as the protocol's perturbation leaves it, and what was measured on the way."""
    if protocol.perturbation is None or protocol.severity is None:
        return scene, {}
    from hsrzoo.perturb import perturb

    return perturb(protocol.perturbation, protocol.severity, scene, protocol.seed or 0, protocol.rgb_bits)


def predict(model: Reconstructor, scene: Scene, tta: bool) -> tuple[np.ndarray, float]:
    """The cube of the whole scene, and the seconds it took."""
    begin = time.perf_counter()
    pred = model.predict(scene.rgb, tta=tta)
    return pred, time.perf_counter() - begin


def score(scene: Scene, pred: np.ndarray, protocol: Protocol) -> tuple[dict[str, float], int]:
    """Metric columns of one prediction, and on how many of the data's bands they were computed."""
    from hsrzoo.metrics import compute

    truth, pred, bands = align(scene.cube, pred, protocol)
    context = MetricContext(bands, protocol.mrae_epsilon, protocol.value_range[1])
    return compute([name for name, _, _ in protocol.metrics], truth, pred, context), len(bands)


def align(
    truth: np.ndarray, pred: np.ndarray, protocol: Protocol
) -> tuple[np.ndarray, np.ndarray, BandSet]:
    """Truth and prediction (C, H, W) on the bands and pixels that are scored, and those bands.

    Where the model has other bands, its output is resampled to the data's: the truth stays as it
    was measured, one for all models. Data bands beyond the model's are left out.
    """
    bands = protocol.bands
    if bands is None:
        raise InputError("The protocol has not met a data set", fix="Use resolve_protocol")
    if protocol.resampled_from is not None:
        pred, covered = protocol.resampled_from.resample(pred, bands)
        if not covered.any():
            raise BandsError(
                "Model and data share no band", expected=str(bands), got=str(protocol.resampled_from)
            )
        kept = np.flatnonzero(covered)
        truth, pred, bands = truth[kept], pred[kept], bands.select(kept.tolist())
    if pred.shape != truth.shape:
        raise InputError("The model's cube does not fit the truth", expected=truth.shape, got=pred.shape)
    return crop_border(truth, protocol.crop), crop_border(pred, protocol.crop), bands


def trained_on(model: Reconstructor) -> str | None:
    """Name of the data set whose pairs the weights were trained on, as their config records it."""
    return (model.config or {}).get("training", {}).get("dataset")


def also_trained_on(model: Reconstructor) -> list[str]:
    """Names of the other data sets that the model's codebooks come from."""
    sources = ((model.config or {}).get("codebook") or {}).get("sources", [])
    return [name for name in sources if name != trained_on(model)]


def seen_in_training(model: Reconstructor, dataset: str, split: str, scene: str) -> bool:
    """True if the weights were trained on this very scene."""
    training = (model.config or {}).get("training", {})
    same = (training.get("dataset"), training.get("split")) == (dataset, split)
    return same and scene in training.get("scenes", ())


def _row(
    cell: Cell,
    source: Source,
    scene: str,
    info: dict[str, Any],
    seconds: float,
    provenance: Callable[[str], dict[str, Any]],
) -> dict[str, Any]:
    """All of a row but the score: what was done, with what, on what."""
    protocol, model = cell.protocol, cell.model
    return {
        "bench": cell.bench,
        "model": model.name,
        "architecture": model.spec.name,
        "weights_sha256": model.weights_sha256,
        "model_sha256": model.identity,
        "trained_on": trained_on(model),
        "also_trained_on": also_trained_on(model),
        "seen_in_training": seen_in_training(model, source.dataset.name, source.split, scene),
        "dataset": source.dataset.name,
        "split": source.split,
        "fingerprint": source.fingerprint,
        "scene": scene,
        "protocol_name": protocol.name,
        "protocol_hash": protocol.hash,
        "protocol_group": protocol.group,
        "protocol": protocol.to_json(),
        "perturbation": protocol.perturbation,
        "severity": protocol.severity,
        "seed": protocol.seed,
        "tta": protocol.tta,
        "info": info,
        "seconds": round(seconds, 6),
        "provenance": {**provenance(str(model.device)), "dtype": DTYPES[execution(model)["precision"]]},
        "timestamp": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
