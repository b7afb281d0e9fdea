"""Weights of a trained model that training starts from, and the parameters that stay as they are."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hsrzoo.bands import BandSet
from hsrzoo.camera import Camera
from hsrzoo.errors import TrainingError, WeightsError, note
from hsrzoo.extras import CameraResponse
from hsrzoo.hub.client import origin_of
from hsrzoo.models import weights as weight_files
from hsrzoo.models.loading import with_tag
from hsrzoo.models.locate import find_weights
from hsrzoo.models.names import ModelName, parse_name
from hsrzoo.spec import ModelSpec, Recipe, build_module, settled_extras

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Init:
    """Trained weights, read and verified."""

    name: str
    """As records name them: folders of the machine are left out."""
    spec: ModelSpec
    """The architecture, with the input that these weights expect."""
    arguments: Mapping[str, Any]
    """Of the constructor."""
    bands: BandSet
    state: Mapping[str, Tensor]
    """The whole state_dict: parameters and buffers."""
    codebook: Mapping[str, Any]
    """Where the codebooks among the buffers come from; empty: there are none."""
    record: Mapping[str, Any]
    """For config.json: name, revision (of the Hub) and sha256, and the scenes they were trained on."""


def read_init(
    text: str, spec: ModelSpec, asked: Mapping[str, Any], recipe: Recipe, camera: Camera | None = None
) -> Init:
    """Read the weights that training shall start from.

    Args:
        text: ``ARCH.TAG``, ``local-dir:PATH`` or ``hf-hub:ORG/REPO[@REVISION]``.
        spec: The architecture to train.
        asked: Constructor arguments that the user gave; all others are those of the weights, but for the
            response that the network gets: it is that of the camera of the new pairs.
        recipe: Its ``normalise`` must be that of the weights.
        camera: That of the new pairs, None where it is not known.

    Returns:
        The weights.

    Raises:
        WeightsError: There are none, they are damaged, or of another architecture.
        TrainingError: The arguments or the input that were asked for are not those of the weights.
    """
    name = parse_name(text)
    if name.variant or name.kind == "onnx":
        raise TrainingError(
            f"Training cannot start from {text}",
            expected="ARCH.TAG, local-dir:PATH or hf-hub:ORG/REPO[@REVISION]",
            got="a variant" if name.variant else "an exported file",
        )
    if name.kind == "zoo":
        if name.arch != spec.name:
            raise WeightsError(
                f"The weights {text} belong to another architecture", expected=spec.name, got=name.arch
            )
        name = with_tag(name, spec)
    found, folder = find_weights(name)
    config = weight_files.read_config(folder)
    module, sha = weight_files.load_module(folder, spec, config)
    _require_arguments(config["arguments"], {k: v for k, v in asked.items() if k not in spec.extras}, text)
    kept = config["arguments"]
    if camera is not None:
        kept = {k: v for k, v in kept.items() if not isinstance(spec.extras.get(k), CameraResponse)}
    wanted = weight_files.input_of(config, folder)
    if recipe.normalise not in ("spec", wanted.normalise):
        raise TrainingError(
            f"The weights {text} expect another input",
            expected=f"normalise={wanted.normalise}",
            got=f"normalise={recipe.normalise}",
            fix=f"Use --set normalise={wanted.normalise}",
        )
    return Init(
        _plain_name(found, folder),
        replace(spec, input=wanted),
        settled_extras(spec, {**kept, **asked}, camera),
        BandSet.from_json(config["bands"]),
        module.state_dict(),
        config["codebook"] or {},
        _record(found, folder, sha, config["training"]),
    )


def _plain_name(name: ModelName, folder: Path) -> str:
    origin = origin_of(folder)
    if origin is not None:
        return f"hf-hub:{origin['repo']}"
    return str(name) if name.kind == "zoo" else f"local-dir:{folder.resolve().name}"


def _record(name: ModelName, folder: Path, sha: str, training: Mapping[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {"name": _plain_name(name, folder), "sha256": sha}
    if origin := origin_of(folder):
        record["revision"] = origin["revision"]
    before = (training.get("init") or {}).get("trained_on", ())
    keys = ("dataset", "split", "scenes", "fingerprint")
    own = [
        {key: one[key] for key in keys if key in one}
        for one in (training, *training.get("extra", ()))
        if "dataset" in one
    ]
    return {**record, "trained_on": [*own, *before]}


def _require_arguments(found: Mapping[str, Any], asked: Mapping[str, Any], text: str) -> None:
    same = json.loads(json.dumps(dict(asked)))
    wrong = {key: value for key, value in same.items() if key not in found or found[key] != value}
    if wrong:
        raise TrainingError(
            f"The weights {text} were trained with other arguments",
            expected=", ".join(f"{key}={found.get(key, 'its default')}" for key in wrong),
            got=", ".join(f"{key}={value}" for key, value in wrong.items()),
            fix="Omit --arg: the arguments are those of the weights",
        )


def build_from(init: Init, bands: BandSet) -> tuple[nn.Module, list[str]]:
    """The network with the weights of ``init``.

    Args:
        init: The weights.
        bands: The C bands of the network. With another number of bands than the weights', layers whose
            shape depends on it keep the first weights that the constructor gives them.

    Returns:
        The module, and the names of those layers.
    """
    module = build_module(init.spec, bands, init.arguments, fresh=False)
    fresh = take_over(module, init.state, init.name, init.bands, bands)
    return module, fresh


def take_over(
    module: nn.Module, state: Mapping[str, Tensor], name: str, before: BandSet, now: BandSet
) -> list[str]:
    """Copy ``state``, of weights called ``name`` for the bands ``before``, into ``module`` for the bands
    ``now``.

    Returns:
        Names of the layers that were left as they are, because the shape of one of their tensors depends
        on the number of bands.

    Raises:
        WeightsError: The tensors have other names, other shapes at the same number of bands, or none fits.
    """
    own = module.state_dict()
    differing = [key for key in own if key in state and own[key].shape != state[key].shape]
    if own.keys() != state.keys() or len(before) == len(now):
        weight_files.require_fit(own, state, name)
    fresh = sorted({layer_of(key) for key in differing})
    taken = [key for key in own if layer_of(key) not in fresh]
    if not taken:
        raise WeightsError(
            f"No layer of {name} fits another number of bands",
            expected=f"{len(before)} bands",
            got=f"{len(now)} bands",
            fix="Train without --init, or on the bands of the weights (hsrzoo data resample)",
        )
    with torch.no_grad():
        for key in taken:
            own[key].copy_(state[key])
    if not fresh and not before.same_as(now):
        note(f"{name} was trained for {before}; training goes on for {now}")
    return fresh


def layer_of(key: str) -> str:
    """The layer that holds the tensor ``key`` of a state_dict; a tensor of the network itself is one."""
    return key.rpartition(".")[0] or key


def freeze_parameters(module: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Keep parameters as they are: gradients are no longer computed for them.

    Args:
        module: The network.
        patterns: Names of parameters or of parts of the network, or shell patterns of these.

    Returns:
        The parts that are frozen as a whole. They must stay in eval mode: batch normalisation would
        change its statistics in training.

    Raises:
        TrainingError: A pattern matches nothing, or nothing is left to train.
    """
    parameters = dict(module.named_parameters(remove_duplicate=False))
    frozen: set[int] = set()
    for pattern in patterns:
        found = [key for key in parameters if _matches(key, pattern)]
        if not found:
            parts = ", ".join(dict.fromkeys(key.partition(".")[0] for key in parameters))
            raise TrainingError(
                f"--freeze {pattern!r} matches no parameter",
                expected=f"a shell pattern of a parameter's name, or a part of the network: {parts}",
            )
        frozen |= {id(parameters[key]) for key in found}
    if not patterns:
        return []
    for parameter in parameters.values():
        if id(parameter) in frozen:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise TrainingError(
            "--freeze leaves nothing to train", expected="a parameter that no pattern matches",
            got=", ".join(patterns),
        )  # fmt: skip
    inside = [(part, {id(p) for p in part.parameters()}) for part in module.modules()]
    return [part for part, own in inside if own and own <= frozen]


def _matches(key: str, pattern: str) -> bool:
    return fnmatchcase(key, pattern) or fnmatchcase(key, f"{pattern}.*")


def require_trained(module: nn.Module, layers: Collection[str]) -> None:
    """TrainingError if a parameter of ``layers``, which have no trained weights, is frozen."""
    for key, parameter in module.named_parameters():
        if layer_of(key) in layers and not parameter.requires_grad:
            raise TrainingError(
                f"{key} is initialised anew for the number of bands, and frozen",
                expected="layers without trained weights to be trained",
                fix="Narrow --freeze, or train on the bands of the weights (hsrzoo data resample)",
            )
