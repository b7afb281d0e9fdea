"""Pushing codebooks to the Hub: the files of a folder, and its card."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hsrzoo.errors import WeightsError
from hsrzoo.hub import card, client
from hsrzoo.hub.push import Content, Push, Target, publish
from hsrzoo.models.tensors import looks_like_pickle, pickle_refused
from hsrzoo.utils.files import CONFIG
from hsrzoo_mcga.codebook.folder import CodebookFolder, Source
from hsrzoo_mcga.plugin import MCGA_S2

ROWS = "results/stage1.jsonl"
SCHEMA = "hsrzoo.stage1/1"
TABLES = re.compile(r"(codebooks|autoencoders)/[^/]+\.safetensors")
"""Files that a push removes from a repository unless it replaces them."""


def read_complete(path: Path) -> CodebookFolder:
    """The codebooks in ``path``, a folder of codebooks or the run that wrote one, verified and read as a
    whole. Raises WeightsError if they are damaged or not trained to the end."""
    folder = CodebookFolder.read(path / "codebook" if (path / "codebook" / CONFIG).is_file() else path)
    for name in folder.sha256:
        if looks_like_pickle(folder.path / name):
            raise pickle_refused(folder.path / name)
    rows = {len(table) for table in folder.codes()}
    last = max((source.rows.stop for source in folder.sources), default=0)
    if rows != {last}:
        raise WeightsError(
            f"The codebooks in {folder.path} do not fit its {CONFIG}",
            expected=f"{last} codes at every scale",
            got=", ".join(map(str, sorted(rows))) or "no codebook",
        )
    for source in folder.sources:
        folder.autoencoder(source)
        if source.record.get("complete") is False:
            raise WeightsError(
                f"The codebook of {source.name} was not trained to its end",
                got=f"{source.record.get('steps_done')} steps",
                fix="Finish it with `hsrzoo codebook train --resume`, then push",
            )
    return folder


def push_codebook(folder: CodebookFolder, target: Target) -> Push:
    """Push codebooks, autoencoders, their figures as rows, and a card, as one commit."""
    files: dict[str, Content] = {
        CONFIG: folder.path / CONFIG,
        **{name: folder.path / name for name in sorted(folder.sha256)},
        ROWS: rows(folder),
    }
    before = client.state(target.repo, target.revision)
    return publish(target, files, metadata(), block(folder, target), before, TABLES)


def rows(folder: CodebookFolder) -> bytes:
    """One line a source: its figures and the record of its run."""
    lines = [{"schema": SCHEMA, "source": s.name, **s.record} for s in folder.sources]
    return "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines).encode()


def metadata() -> dict[str, Any]:
    """The keys of the card's front matter that a push manages."""
    return {
        "library_name": card.LIBRARY,
        "tags": [*card.TAGS, "mcga", "codebook"],
        **card.licence(MCGA_S2.licence),
    }


def block(folder: CodebookFolder, target: Target) -> str:
    """The managed text of the card."""
    address = f"hf-hub:{target.repo}@{target.branch}"
    widths = ", ".join(str(table.shape[1]) for table in folder.codes())
    model = f"mcga-s{folder.scales}"
    parts = [
        f"# {target.title}",
        f"Codebooks of stage 1 of MCGA, {folder.scales} scales of widths {widths}, learned from measured "
        "cubes, with the autoencoder of each source. For the Python package hsrzoo.",
        f"```\nhsrzoo pull {target.repo}\n"
        f"hsrzoo train {model} --dataset NAME --start {address}\n"
        f"hsrzoo codebook mix {address} OTHER --out mixture\n```",
        "## Sources",
        card.table(("source", "bands", "codes", "trained on", "steps"), map(_source, folder.sources)),
        "## Figures",
        "Of each source's own autoencoder, from `results/stage1.jsonl`: RMSE of reconstructed cubes, from "
        "all bands and from the bands that the training mask keeps; share of used codes and their "
        "perplexity, by scale.",
        _figures(folder),
        "## Files",
        card.table(("file", "sha256"), sorted(folder.sha256.items())),
        "Codes are learned from the scenes of these data sets and are valid for similar spectra; each data "
        "set has its own terms of use.",
        "## Citation",
        f"{card.plain(MCGA_S2.source)}. Licence: {MCGA_S2.licence}.",
    ]
    return "\n\n".join(parts)


def _source(source: Source) -> tuple[object, ...]:
    record = source.record
    data = f"{record['dataset']}/{record.get('split')}" if record.get("dataset") else ""
    scenes = f", {len(record['scenes'])} scenes" if record.get("scenes") else ""
    codes = f"{source.first_code} to {source.rows.stop - 1}"
    init = record.get("init")
    tuned = f", fine-tuned from {init['name']} ({init['source']})" if init else ""
    return source.name, source.bands, codes, data + scenes + tuned, record.get("steps", "")


def _figures(folder: CodebookFolder) -> str:
    found: list[Mapping[str, Any]] = [source.record.get("figures", {}) for source in folder.sources]
    names = list(dict.fromkeys(name for figures in found for name in figures))
    lines = [
        (s.name, s.record.get("figures_on", ""), *(f"{f[n]:.4g}" if n in f else "" for n in names))
        for s, f in zip(folder.sources, found, strict=True)
    ]
    return card.table(("source", "measured on", *(name.replace("_", " ") for name in names)), lines)
