"""From trained models to the weights of one ensemble."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.errors import InputError
from hsrzoo.models.ensemble import SPEC
from hsrzoo.models.ensemble.network import Ensemble, Member
from hsrzoo.models.loading import load
from hsrzoo.models.names import parse_name
from hsrzoo.spec import ModelSpec, RgbInput

if TYPE_CHECKING:
    from hsrzoo.models.reconstructor import Reconstructor

SUM_TOLERANCE = 1e-6
"""How far shares may be from a sum of 1."""


@dataclass(frozen=True)
class Made:
    """An ensemble and what a folder of its weights says of it."""

    module: nn.Module
    spec: ModelSpec
    """With the input that suits all members, their sources and licences."""
    bands: BandSet
    arguments: Mapping[str, Any]
    training: Mapping[str, Any]
    codebook: Mapping[str, Any] | None
    parts: Sequence[Mapping[str, str]]
    """The members that are bundled weights, for a folder without copies of them (:mod:`..parts`)."""


def make(
    models: Sequence[Reconstructor],
    shares: Sequence[float] | np.ndarray | None = None,
    spec: ModelSpec = SPEC,
    shares_from: Mapping[str, Any] | None = None,
) -> Made:
    """The weighted mean of trained models.

    Args:
        models: The members (:func:`load_members`).
        shares: One for each member, or (members, C) of them, 0 or more, of sum 1; None: equal ones.
        spec: Of the ensemble; one with a name of its own fixes the architectures of its members, each of
            which may come more than once.
        shares_from: How the shares were found, for the record.

    Returns:
        The ensemble with the members' weights.

    Raises:
        InputError: Impossible shares, or other architectures than ``spec`` has.
    """
    first = models[0]
    module = Ensemble(
        [model.module for model in models], [m.spec.input.normalise for m in models], len(first.bands)
    )
    module.shares.copy_(shares_of(shares, len(models), len(first.bands)))
    members = [
        {
            "architecture": model.spec.name,
            "arguments": dict(model.config["arguments"]),
            "normalise": model.spec.input.normalise,
        }
        for model in models
    ]
    origins = ", ".join(f"{model.name} ({model.config['source']})" for model in models)
    licences = dict.fromkeys(str(model.config["licence"]) for model in models)
    _require_members(spec, [model.spec.name for model in models])
    spec = replace(
        spec,
        input=_common_input([model.spec.input for model in models]),
        source=f"Mean of {origins}",
        licence=", ".join(licences),
    )
    return Made(
        module.eval(),
        spec,
        first.bands,
        {"members": members},
        {**record_of(models), **({"shares_from": dict(shares_from)} if shares_from else {})},
        codebook_of(models),
        _parts(models),
    )


def _require_members(spec: ModelSpec, architectures: Sequence[str]) -> None:
    if spec.build != SPEC.build:
        raise InputError(f"{spec.name} is no ensemble", fix="Omit --arch, or name an ensemble")
    own = [Member.of(member).architecture for member in spec.arguments["members"]]
    if spec.name != SPEC.name and own != list(dict.fromkeys(architectures)):
        raise InputError(
            f"These are not the members of {spec.name}",
            expected=f"{' and '.join(own)}, each once or more",
            got=" and ".join(architectures),
        )


def _parts(models: Sequence[Reconstructor]) -> list[Mapping[str, str]]:
    found: list[Mapping[str, str]] = []
    for i, model in enumerate(models):
        name = parse_name(model.name)
        if name.kind == "zoo" and "parts" not in model.config:
            weights = str(replace(name, variant=None))
            sha = str(model.weights_sha256)
            found.append({"prefix": f"members.{i}.", "weights": weights, "weights_sha256": sha})
    return found


def load_members(names: Sequence[str]) -> list[Reconstructor]:
    """The models called ``names``, at least two.

    Raises InputError for fewer, exported files, members for other cameras or that correct their cubes by a
    camera, BandsError where members have different bands, and what :func:`hsrzoo.load` raises.
    """
    if len(names) < 2:
        raise InputError("An ensemble needs members", expected="two or more", got=len(names))
    for name in names:
        if parse_name(name).kind == "onnx":
            raise InputError(
                f"{name} cannot be a member: an exported file has no weights", fix="Name the weights"
            )
    models = [load(name, device="cpu") for name in names]
    _require_alike(models)
    return models


def _require_alike(models: Sequence[Reconstructor]) -> None:
    first = models[0]
    for model in models:
        first.bands.require_same(
            model.bands, first.name, model.name, fix="Choose members of the same bands"
        )
        if model.own_consistency is not None:
            raise InputError(
                f"{model.name} cannot be a member of an ensemble",
                expected="networks whose cubes are used as they are",
                got="one trained to be corrected by a camera",
            )
    cameras = sorted(
        {str(model.config["training"].get("dataset_info", {}).get("response")) for model in models}
    )
    if len(cameras) > 1:
        raise InputError(
            "The members expect images of different cameras", expected="one", got=" and ".join(cameras)
        )


def shares_of(shares: Sequence[float] | np.ndarray | None, count: int, bands: int) -> Tensor:
    """Shares (members, C), float64, from one for each member or (members, C) of them; InputError for
    impossible ones."""
    given = np.full(count, 1 / count) if shares is None else np.asarray(shares, np.float64)
    given = given[:, None] if given.ndim == 1 else given
    fits = given.shape in ((count, 1), (count, bands)) and np.isfinite(given).all() and (given >= 0).all()
    if not fits or np.abs(given.sum(0) - 1).max() > SUM_TOLERANCE:
        raise InputError(
            "The shares do not fit",
            expected=f"{count} numbers of 0 or more with the sum 1",
            got=", ".join(f"{share:g}" for share in given.ravel()[:8]),
        )
    return torch.from_numpy(given).expand(count, bands)


def _common_input(inputs: Sequence[RgbInput]) -> RgbInput:
    """Sizes that suit all; each member normalises for itself."""
    multiple = math.lcm(*(wanted.multiple for wanted in inputs))
    return RgbInput(multiple=multiple, min_size=max(wanted.min_size for wanted in inputs))


_FACTS = ("dataset", "split", "scenes", "fingerprint", "dataset_info")
_COSTS = ("steps", "cpu_seconds", "wall_seconds")


def record_of(models: Sequence[Reconstructor]) -> dict[str, Any]:
    """How the weights came about: the first member's data as its own, those of the others as extra ones."""
    records = [model.config["training"] for model in models]
    sets: list[Mapping[str, Any]] = []
    for record in records:
        own = {key: record[key] for key in _FACTS if key in record}
        before = (record.get("init") or {}).get("trained_on", ())
        sets += [one for one in (own, *record.get("extra", ()), *before) if one and one not in sets]
    members = [
        {
            "name": model.name,
            "weights_sha256": model.weights_sha256,
            **{key: record[key] for key in (*_COSTS, "seed", "command", "provenance") if key in record},
        }
        for model, record in zip(models, records, strict=True)
    ]
    return {
        "method": "mean of members",
        "members": members,
        **(sets[0] if sets else {}),
        **({"extra": sets[1:]} if sets[1:] else {}),
    }


def codebook_of(models: Sequence[Reconstructor]) -> dict[str, Any] | None:
    """The record of the members' codebooks; with those of several, the first one's and all sources."""
    found = [model.config["codebook"] for model in models if model.config.get("codebook")]
    if not found:
        return None
    sources = dict.fromkeys(name for one in found for name in one.get("sources", ()))
    stage1 = [run for one in found for run in one.get("stage1", ())]
    return {**found[0], "sources": list(sources), "stage1": stage1}
