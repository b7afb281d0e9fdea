"""The loop over scenes: load, perturb, predict, score, append.

Each scene is read and perturbed once for all models and predicted once for all protocols, which differ
only in what is scored. A row is appended to its file as soon as it is computed; stored rows are not
computed again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.camera import Camera
from hsrzoo.datasets.base import Scene
from hsrzoo.errors import BandsError, InputError, text_of
from hsrzoo.perturb import DoesNotApplyError
from hsrzoo.results import ScoreRow, digest
from hsrzoo.spec import MetricContext, PerturbationContext
from hsrzoo_benchmark.grouping import group_by
from hsrzoo_benchmark.plan.cells import Cell, Score, Source, Work, seen_in_training
from hsrzoo_benchmark.plan.models import DTYPES, execution, untrained
from hsrzoo_benchmark.protocol import Protocol, crop_border
from hsrzoo_benchmark.run import brightness, metamer, refinement, uncertainty

if TYPE_CHECKING:
    from hsrzoo.models.reconstructor import Reconstructor

log = logging.getLogger(__name__)


@cache
def provenance_of(device: str) -> dict[str, Any]:
    """Code and machine of this process, collected once: its rows share the state of the code at its
    start."""
    from hsrzoo.utils.provenance import collect

    return collect(device)


@dataclass(frozen=True)
class Scored:
    """A row, and the index of its score among those requested."""

    place: int
    row: ScoreRow


@dataclass(frozen=True)
class Failure:
    """A scene that gave no row."""

    scene: str
    what: str
    """Which step, model and condition."""
    error: str
    lost: int = 1
    """How many rows there would have been."""


@dataclass(frozen=True)
class Skipped(Failure):
    """A perturbation that does not apply to a scene (too small, or a photograph): no row, no failure."""


@dataclass
class Outcome:
    """What a run did."""

    computed: int = 0
    failures: list[Failure] = field(default_factory=list)
    skipped: list[Failure] = field(default_factory=list)


def run(work: Work, source: Source, advance: Callable[[str], None]) -> Outcome:
    """Compute what is missing. ``advance(what)`` is called once for each finished or failed score. A
    failing scene is noted and the others go on."""
    outcome = Outcome()
    for name, wanted in work:
        for result in score_scene(name, wanted, source):
            keep(result, wanted, outcome, advance)
    return outcome


def keep(
    result: Scored | Failure, cells: Sequence[Cell], outcome: Outcome, advance: Callable[[str], None]
) -> None:
    """Store what :func:`score_scene` found for ``cells``, and count it."""
    if isinstance(result, Scored):
        cell = cells[result.place]
        cell.file.append(result.row)
        outcome.computed += 1
        advance(f"{result.row.scene}: {_title(cell)}")
        return
    (outcome.skipped if isinstance(result, Skipped) else outcome.failures).append(result)
    for _ in range(result.lost):
        advance(result.scene)


def score_scene(name: str, scores: Sequence[Score], source: Source) -> Iterator[Scored | Failure]:
    """Compute all ``scores`` of one scene; yields rows, and failures with the number of lost rows."""

    def failed(what: str, error: Exception, lost: int) -> Failure:
        log.debug("%s failed on %s", what, name, exc_info=error)
        return Failure(name, what, text_of(error), lost)

    places = {id(score): place for place, score in enumerate(scores)}
    try:
        clean = source.dataset.load(source.split, name)
    except Exception as error:
        yield failed("reading", error, len(scores))
        return
    by_input = group_by(scores, lambda s: (s.protocol.condition, s.protocol.seed))
    for (condition, seed), perturbed in by_input.items():
        try:
            scene, info = perturb_scene(clean, perturbed[0].protocol)
        except DoesNotApplyError as error:
            yield Skipped(name, str(condition), str(error), len(perturbed))
            continue
        except Exception as error:
            yield failed(f"{condition}, seed {seed}", error, len(perturbed))
            continue
        for (model, tta), sharing in group_by(perturbed, lambda s: (s.model, s.protocol.tta)).items():
            try:
                pred, seconds = predict(model, scene, tta)
            except Exception as error:
                yield failed(_title(sharing[0]), error, len(sharing))
                continue
            for wanted in sharing:
                try:
                    measured = score(clean, scene, pred, wanted.protocol, wanted.model)
                except Exception as error:
                    yield failed(f"{_title(wanted)}, protocol {wanted.protocol.name}", error, 1)
                    continue
                row = _row(wanted, source, name, info, seconds, *measured)
                yield Scored(places[id(wanted)], row)


def _title(score: Score) -> str:
    """Model and condition, for people."""
    tta = " with TTA" if score.protocol.tta else ""
    return f"{score.model.name}{tta} on {score.protocol.condition}"


def perturb_scene(scene: Scene, protocol: Protocol) -> tuple[Scene, dict[str, Any]]:
    """The perturbed scene, and what the perturbation reports about itself."""
    if protocol.perturbation is None or protocol.severity is None:
        return scene, {}
    from hsrzoo.perturb import perturb

    asked = (protocol.perturbation, protocol.severity)
    return perturb(*asked, scene, protocol.seed or 0, protocol.rgb_bits, rendering(protocol))


def rendering(protocol: Protocol) -> PerturbationContext | None:
    """How the data set's RGB was rendered; None where it is a photograph, or of a camera of its own."""
    camera = Camera.recorded(protocol.dataset)
    if camera is None or protocol.bands is None:
        return None
    return PerturbationContext(protocol.bands, camera, protocol.rgb_bits)


def predict(model: Reconstructor, scene: Scene, tta: bool) -> tuple[np.ndarray, float]:
    """The cube of the whole scene, and the seconds it took."""
    begin = time.perf_counter()
    pred = model.predict(scene.rgb, tta=tta)
    return pred, time.perf_counter() - begin


def score(
    clean: Scene,
    scene: Scene,
    pred: np.ndarray,
    protocol: Protocol,
    model: Reconstructor | None = None,
) -> tuple[dict[str, float], dict[str, list[float]], int]:
    """Metric columns of one prediction of the perturbed ``scene``, errors of each of the data's bands (NaN
    for bands that are not scored), and how many of these are scored. ``model``: of the intervals."""
    from hsrzoo.metrics import measure

    truth, scored, bands = align(scene.cube, pred, protocol)
    if protocol.perturbation == refinement.NAME:
        truth, scored = refinement.refine(scene.name, truth, scored, bands, protocol)
    context = MetricContext(bands, protocol.mrae_epsilon, protocol.value_range[1])
    names = [name for name, _, _ in protocol.metrics]
    found = measure(names, truth, scored, context, check_range=False)
    columns, where = found.columns, _scored_bands(protocol, len(bands))
    per_band = {name: np.full(len(where), np.nan) for name in found.per_band}
    for name, values in found.per_band.items():
        per_band[name][where] = values
    if protocol.perturbation in brightness.CHANGED:
        columns |= brightness.floor(clean, scene, truth, protocol)
    rendered = rendering(protocol)
    if protocol.perturbation == metamer.NAME and rendered is not None:
        own, _, _ = align(clean.cube, pred, protocol)
        columns |= metamer.memory(own, truth, scored, rendered.camera.matrix(bands))
    if protocol.perturbation in uncertainty.NAMES and model is not None:
        found_columns, covered = uncertainty.score_intervals(
            model, scene, pred, lambda cube: align(scene.cube, cube, protocol)[:2], protocol.crop
        )
        columns |= found_columns
        per_band["coverage"] = np.full(len(where), np.nan)
        per_band["coverage"][where] = covered
    return columns, {name: values.tolist() for name, values in per_band.items()}, len(bands)


def _scored_bands(protocol: Protocol, scored: int) -> np.ndarray:
    """(C,) bool of the data's bands: those ``scored`` ones that the model's reach."""
    if protocol.resampled_from is None or protocol.bands is None:
        return np.ones(scored, dtype=bool)
    return protocol.resampled_from.resample_matrix(protocol.bands)[1]


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


def training_cost(config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the weights of a folder's ``config`` took: optimiser steps, seconds of wall-clock and of CPU
    (the codebooks' apart), seed, digest of the recipe without it. None where they were not trained by
    steps."""
    config = config or {}
    training, stage1 = config.get("training", {}), (config.get("codebook") or {}).get("stage1", ())
    if "recipe" not in training or "steps" not in training:
        return None
    recipe = {key: value for key, value in training["recipe"].items() if key != "seed"}
    found = {
        "steps": training["steps"],
        "wall_seconds": training.get("wall_seconds"),
        "cpu_seconds": training.get("cpu_seconds"),
        "seed": training.get("seed", training["recipe"].get("seed")),
        "recipe_sha256": digest(recipe),
    }
    for kind in ("wall_seconds", "cpu_seconds"):
        found[f"codebook_{kind}"] = sum(run.get(kind) or 0.0 for run in stage1)
    return found


def row_fields(bench: str, model: Reconstructor) -> dict[str, Any]:
    """What rows of both kinds have: the model, how and where it runs, and the time."""
    how = execution(model)
    return {
        "bench": bench,
        "model": model.name,
        "architecture": model.spec.name,
        "execution": how,
        "weights_sha256": model.weights_sha256,
        "model_sha256": model.identity,
        "untrained": untrained(model),
        "provenance": {**provenance_of(str(model.device)), "dtype": DTYPES[how["precision"]]},
        "timestamp": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _row(
    score: Score,
    source: Source,
    scene: str,
    info: dict[str, Any],
    seconds: float,
    metrics: Mapping[str, float],
    per_band: Mapping[str, Sequence[float]],
    scored_bands: int,
) -> ScoreRow:
    """A row: what was done, with what, on what, and its score."""
    protocol, model = score.protocol, score.model
    return ScoreRow(
        **row_fields(score.bench, model),
        training=training_cost(model.config),
        trained_on=trained_on(model),
        also_trained_on=tuple(also_trained_on(model)),
        seen_in_training=seen_in_training(model, source.dataset.name, scene),
        dataset=source.dataset.name,
        split=source.split,
        fingerprint=source.fingerprint,
        scene=scene,
        protocol_name=protocol.name,
        protocol_hash=protocol.hash,
        protocol_group=protocol.group,
        protocol=protocol.to_json(),
        perturbation=protocol.perturbation,
        severity=protocol.severity,
        seed=protocol.seed,
        tta=protocol.tta,
        info=info,
        seconds=round(seconds, 6),
        scored_bands=scored_bands,
        metrics=metrics,
        per_band={name: tuple(values) for name, values in per_band.items()},
    )
