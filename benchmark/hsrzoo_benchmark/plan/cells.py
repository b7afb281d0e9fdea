"""What a run computes: every model under every protocol and condition, each with its file."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hsrzoo.datasets.base import Dataset
from hsrzoo.errors import BandsError, HsrzooError, WeightsError
from hsrzoo.models.locate import weights_command
from hsrzoo.models.metadata import trained_scenes
from hsrzoo.results import FOLD, ScoreRow
from hsrzoo.spec import DatasetSpec, resolve
from hsrzoo_benchmark.grouping import group_by
from hsrzoo_benchmark.plan.conditions import conditions_of
from hsrzoo_benchmark.plan.models import plain_name, untrained
from hsrzoo_benchmark.plan.options import Options
from hsrzoo_benchmark.protocol import Protocol, resolve_protocol
from hsrzoo_benchmark.results.versions import held
from hsrzoo_benchmark.store import ResultFile, Store

if TYPE_CHECKING:
    from hsrzoo.models.reconstructor import Reconstructor


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
class Score:
    """One model under one protocol: with a scene, a row."""

    bench: str
    model: Reconstructor
    protocol: Protocol


@dataclass(frozen=True)
class Cell(Score):
    """One model under one protocol, and the file its rows go to."""

    file: ResultFile[ScoreRow]

    def finished(self, source: Source) -> set[str]:
        """Scenes of ``source`` whose rows hold all metrics of the protocol already."""
        wanted = {name for name, _, _ in self.protocol.metrics}
        rows = (row for row in self.file.rows if row.fingerprint == source.fingerprint)
        found = group_by(rows, lambda row: row.scene)
        return {scene for scene, own in found.items() if wanted <= {name for r in own for name in held(r)}}


Work = list[tuple[str, list[Cell]]]
"""Scenes, each with the cells that lack its row."""


def plan(models: Sequence[Reconstructor], source: Source, options: Options, store: Store) -> list[Cell]:
    """All cells in table order."""
    return [
        Cell(
            bench,
            model,
            protocol,
            store.scores(model.name, model.identity, source.dataset.name, source.split, protocol),
        )
        for name in options.protocols or source.spec.protocols
        for bench in options.benches
        for condition in conditions_of(bench)
        for seed in (options.seeds if condition.perturbation else options.seeds[:1])
        for model in models
        for tta in _adaptations(model, bench, options.tta)
        for protocol in [
            resolve_protocol(
                name,
                source.dataset,
                source.spec,
                condition=condition,
                metrics=options.metrics,
                seed=seed,
                tta=tta,
                tta_settings=_adaptation_settings(model) if tta else None,
                model_bands=None if model.bands.same_as(source.dataset.bands) else model.bands,
            )
        ]
    ]


def reason_not_scored(model: Reconstructor, source: Source, resample: bool) -> HsrzooError | None:
    """Why ``model`` is not scored on ``source``: random weights, a fold that it was trained on, or other
    bands without ``resample``. None: it is scored."""
    if untrained(model):
        return no_weights(model, source)
    seen = sorted(trained_scenes(model.config, source.dataset.name).intersection(source.scenes))
    if seen and FOLD.fullmatch(source.split):
        return WeightsError(
            f"{model.name} was trained on scenes of {source.dataset.name}/{source.split}",
            expected="weights that were trained without them, as cross-validation asks",
            got=f"trained on {', '.join(seen)}",
            fix=f"Train them on --split without-{source.split}",
        )
    try:
        if not resample:
            source.dataset.bands.require_same(
                model.bands, f"the data set {source.dataset.name}", f"the model {model.name}"
            )
    except BandsError as error:
        return error
    return None


def no_weights(model: Reconstructor, source: Source, name: str | None = None) -> WeightsError:
    """The error that ``model`` has no weights to score; ``name`` stands for it in the text if given."""
    command = weights_command(model.spec.name, source.spec.name, name)
    return WeightsError(
        f"There are no trained weights for {name or plain_name(model.name)}",
        fix=f"Make some with `{command}` and give their folder as --model local-dir:PATH",
    )


def seen_in_training(model: Reconstructor, dataset: str, scene: str) -> bool:
    """Whether ``scene`` is one of those that the model was trained on, in any way."""
    return scene in trained_scenes(model.config, dataset)


def _adaptation_settings(model: Reconstructor) -> dict[str, Any]:
    """Defaults of the model's ``adapt`` function: they decide the figures as much as weights do."""
    if model.spec.adapt is None:
        return {}
    parameters = inspect.signature(resolve(model.spec.adapt)).parameters.values()
    # the response comes from the weights' config and is no setting
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.name != "response"}


def _adaptations(model: Reconstructor, bench: str, asked: bool) -> tuple[bool, ...]:
    """Without and, where the model can and the benchmark wants it, with test-time adaptation."""
    asked = (asked or bench == "brightness") and bench != "uncertainty"
    return (False, True) if asked and model.spec.adapt is not None else (False,)


def missing(cells: Sequence[Cell], source: Source) -> Work:
    """Each scene with missing rows, and the cells that they are missing from."""
    done = [cell.finished(source) for cell in cells]
    found = [
        (name, [cell for cell, finished in zip(cells, done, strict=True) if name not in finished])
        for name in source.scenes
    ]
    return [(name, wanted) for name, wanted in found if wanted]
