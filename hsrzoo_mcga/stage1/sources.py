"""The sources of a stage-1 run as the command line names them, and the codebook that the run writes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.named import parse_named
from hsrzoo.errors import InputError
from hsrzoo.spec import Recipe
from hsrzoo.training.recipe import check
from hsrzoo_mcga.codebook.folder import Source, require_source_name, write
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder
from hsrzoo_mcga.stage1.init import Init, apply_init
from hsrzoo_mcga.stage1.pooled import PooledTask
from hsrzoo_mcga.stage1.task import CodebookTask, split_state


@dataclasses.dataclass(frozen=True)
class SourceOptions:
    """A source as the user names it: a data set and how to train on it."""

    dataset: str
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Options of the data set."""
    name: str | None = None
    """Name of the source in mixtures; None: the data set's."""
    split: str = "train"
    figures: str | None = None
    """Split to measure the final figures on; None: the held-out scenes."""
    holdout: int | None = None
    """Number of held-out training scenes; None: that of the recipe."""


def parse_source(text: str) -> SourceOptions:
    """Parse ``cave`` or ``enmap:bands=all,figures=test``. The keys ``name``, ``split``, ``figures`` and
    ``holdout`` are fields of :class:`SourceOptions`, all others options of the data set."""
    dataset, options = parse_named(text, "source")
    fields = ("name", "split", "figures", "holdout")
    own: dict[str, Any] = {key: options.pop(key) for key in fields if key in options}
    if "holdout" in own:
        if not own["holdout"].isdecimal():
            raise InputError("holdout is a number of scenes", expected="0, 1, ...", got=repr(text))
        own["holdout"] = int(own["holdout"])
    return SourceOptions(dataset, options, **own)


def make_task(
    sources: Sequence[SourceOptions], recipe: Recipe, root: Path | None, init: Init | None = None,
    **settings: Any,
) -> CodebookTask | PooledTask:  # fmt: skip
    """The task of one source, or of several that share one codebook; ``settings`` are arguments of
    :class:`SpectralAutoencoder`. ``init``: weights that the one source starts from, and their settings."""
    check(recipe)
    parts = []
    for source in sources:
        data = open_dataset(source.dataset, root, **source.options)
        require_source_name(source.name or data.name)
        module = SpectralAutoencoder(len(data.bands), **(init.settings if init else settings))
        record = apply_init(init, module, data.bands) if init else None
        own = recipe if source.holdout is None else dataclasses.replace(recipe, holdout=source.holdout)
        part = CodebookTask(
            module, data, own, source.name, source.split, source.options,
            figures_split=source.figures, init=record,
        )  # fmt: skip
        parts.append(part)
    return parts[0] if len(parts) == 1 else PooledTask(parts, recipe)


def save_codebook(
    folder: Path, task: CodebookTask | PooledTask, averaged: nn.Module, provenance: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Write the codebook of a finished run into ``folder``/codebook and return its figures, rows of source,
    figure, value and on (what the figure was measured on)."""
    parts = task.by_source(averaged)
    run = json.loads((folder / "record.json").read_text())
    codes: list[Tensor] = []
    sources, weights, rows = [], {}, []
    for part, module in parts:
        final = part.final_figures(module)
        record = {
            **part.record(),
            **run,
            "recipe": dataclasses.asdict(part.recipe),
            **final,
            "provenance": dict(provenance),
        }
        if len(parts) > 1:
            record["pooled_with"] = [other.source for other, _ in parts if other is not part]
        codes, weights[part.source] = split_state(module)
        sources.append(Source(part.source, part.dataset.bands, len(codes[0]), record))
        rows += [
            {"source": part.source, "figure": k, "value": round(v, 5), "on": final["figures_on"]}
            for k, v in final["figures"].items()
        ]
    write(folder / "codebook", codes, weights, sources, 2 * codes[0].shape[1])
    return rows
