"""The sources of a stage-1 run as the command line names them, and the run's result on disk."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hsrzoo.datasets import open_dataset
from hsrzoo.errors import InputError
from hsrzoo.spec import Recipe
from hsrzoo.training.recipe import check
from hsrzoo_mcga.codebook.folder import Source, write
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder
from hsrzoo_mcga.stage1.pooled import PooledTask
from hsrzoo_mcga.stage1.task import CodebookTask, split_state

_NEXT_OPTION = re.compile(r",(?=[A-Za-z_-]+=)")
"""A comma that begins another option; others belong to a value, as in bands=450,550."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """A source: a data set and how it is used."""

    dataset: str
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Of the data set."""
    name: str | None = None
    """In mixtures; None: the data set's."""
    split: str = "train"
    figures: str | None = None
    """Split whose cubes the final figures are of."""
    holdout: int | None = None
    """Training scenes kept out; None: as many as the recipe says."""


def parse_source(text: str) -> Choice:
    """``cave`` or ``enmap:bands=all,figures=test``: options of the data set, but ``name``, ``split``,
    ``figures`` and ``holdout``, which are those of :class:`Choice`."""
    dataset, colon, rest = text.partition(":")
    own: dict[str, Any] = {}
    options: dict[str, str] = {}
    for pair in _NEXT_OPTION.split(rest) if colon else ():
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not (dataset and key and equals and value):
            raise InputError(
                "A source cannot be read", expected="NAME or NAME:KEY=VALUE,KEY=VALUE", got=repr(text)
            )
        (own if key in ("name", "split", "figures", "holdout") else options)[key.replace("-", "_")] = value
    if "holdout" in own:
        if not own["holdout"].isdecimal():
            raise InputError("holdout is a number of scenes", expected="0, 1, ...", got=repr(text))
        own["holdout"] = int(own["holdout"])
    return Choice(dataset, options, **own)


def make_task(
    choices: Sequence[Choice], recipe: Recipe, root: Path | None, **settings: Any
) -> CodebookTask | PooledTask:
    """The run of one source, or of several that share one codebook; ``settings`` are those of
    :class:`SpectralAutoencoder`."""
    check(recipe)
    parts = []
    for choice in choices:
        data = open_dataset(choice.dataset, root, **choice.options)
        module = SpectralAutoencoder(len(data.bands), **settings)
        own = recipe if choice.holdout is None else dataclasses.replace(recipe, holdout=choice.holdout)
        part = CodebookTask(
            module, data, own, choice.name, choice.split, choice.options, figures_split=choice.figures
        )
        parts.append(part)
    return parts[0] if len(parts) == 1 else PooledTask(parts, recipe)


def save(
    folder: Path, task: CodebookTask | PooledTask, averaged: nn.Module, provenance: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Write the codebook of a finished run into ``folder``/codebook; returns its figures as rows of
    source, figure, value and on."""
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
