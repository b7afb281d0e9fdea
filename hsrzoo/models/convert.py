"""Conversion of the authors' checkpoints, ``{"state_dict": ...}`` in a pickle, to folders of weights.

Every tensor must find its place in the network by name and shape (by order and shape where
``Official.by_position`` says so). torch is imported inside the functions that need it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsrzoo.bands import BandSet
from hsrzoo.errors import WeightsError
from hsrzoo.models.pickles import read_pickle
from hsrzoo.models.tensors import load_tensors
from hsrzoo.models.weights import load_strictly, require_fit
from hsrzoo.registry import MODELS
from hsrzoo.spec import ModelSpec, Official, build_module, resolve
from hsrzoo.utils.files import sha256_of_file

if TYPE_CHECKING:
    from torch import Tensor, nn

_PREFIX = "module."
"""Before every name that DataParallel and DistributedDataParallel save."""
_SHOWN = 6
"""Names in a message."""
_TRIED = 16
"""Band counts that are tried for the advice in an error."""


@dataclass(frozen=True)
class Converted:
    """A network with the weights of a checkpoint, and where they come from."""

    module: nn.Module
    """In eval mode, on the CPU."""
    record: dict[str, Any]
    """For the field ``training`` of config.json."""


def convert(path: Path, spec: ModelSpec, bands: BandSet) -> Converted:
    """The network ``spec`` for ``bands`` with the weights of the authors' checkpoint ``path``.

    ``path``: a file of torch.save, read by :func:`.read_pickle`, or safetensors, with the
    tensors themselves or a dict that holds them under one of ``spec.official.containers``. Raises
    WeightsError for a file that cannot be read, that belongs to another network or band count, and for
    weights that are not finite.
    """
    official = official_of(spec)
    state = read_checkpoint(path, official)
    module = build_module(spec, bands, {}).eval()
    ours = _in_our_names(state, official, module)
    try:
        require_fit(module.state_dict(), ours, str(path))
    except WeightsError as error:
        counts = _other_counts(ours, module)
        raise WeightsError(str(error), fix=_advice(state, spec, bands, counts)) from None
    load_strictly(module, ours, str(path))
    record = {
        "method": "converted",
        "converted_from": path.name,
        "sha256": sha256_of_file(path),
        "training_data": "as the authors trained it; not recorded in the file",
        "note": official.note,
    }
    return Converted(module, record)


def official_of(spec: ModelSpec) -> Official:
    """How the authors' checkpoints are read; WeightsError, naming who has any, where it is not known."""
    if spec.official is not None:
        return spec.official
    raise WeightsError(
        f"No checkpoints of {spec.name}'s authors are known that could be converted",
        expected=f"one of {', '.join(_names_with_official())}",
    )


def _names_with_official() -> list[str]:
    return [name for name, spec in MODELS.working() if spec.official is not None]


def read_checkpoint(path: Path, official: Official) -> dict[str, Tensor]:
    """The tensors of a checkpoint under their official names, without ``module.`` before them."""
    found = load_tensors(path) if path.suffix == ".safetensors" else read_pickle(path)
    if isinstance(found, dict):
        found = next((found[key] for key in official.containers if key in found), found)
    return _without_prefix(_require_tensors(found, path, official))


def _require_tensors(found: Any, path: Path, official: Official) -> dict[str, Tensor]:
    from torch import Tensor

    if not isinstance(found, dict):
        got = f"a {type(found).__name__}"
    else:
        items = list(dict.items(found))  # a file can put anything in the place of found.items
        if items and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in items):
            return dict(items)
        kinds = ", ".join(_kind(key, value) for key, value in items[:_SHOWN])
        got = f"a dict of {kinds}" if items else "an empty dict"
    raise WeightsError(
        f"{path} holds no tensors where the weights should be",
        expected=f"a dict of tensors, or one under {' or '.join(map(repr, official.containers))}",
        got=got,
    )


def _kind(key: Any, value: Any) -> str:
    return f"{str(key)[:60]!r} ({type(value).__name__})"


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    if all(key.startswith(_PREFIX) for key in state):
        return {key.removeprefix(_PREFIX): value for key, value in state.items()}
    return state


def _in_our_names(state: Mapping[str, Tensor], official: Official, module: nn.Module) -> dict[str, Tensor]:
    """``state`` under the names of ``module``'s own state_dict, as far as they are known."""
    if official.rename is not None:
        state = resolve(official.rename)(dict(state))
    own = module.state_dict()
    if official.by_position and len(own) == len(state) and own.keys() != state.keys():
        return dict(zip(own, state.values(), strict=True))
    return dict(state)


def _advice(state: Mapping[str, Tensor], spec: ModelSpec, bands: BandSet, counts: Sequence[int]) -> str:
    """What these tensors fit: ``spec`` at one of the band counts ``counts``, or another network."""
    for count in counts:
        if _fits(state, spec, count):
            return (
                f"These are weights of {spec.name} for {count} bands, and {len(bands)} were asked for: "
                f"name the {count} band centres with --bands"
            )
    for name in _names_with_official():
        if name != spec.name and _fits(state, MODELS.get(name), len(bands)):
            return f"These are weights of {name}: --arch {name}"
    return "Check --arch and --bands, and whether the file is the authors' own"


def _other_counts(ours: Mapping[str, Tensor], module: nn.Module) -> list[int]:
    """Band counts that a file may be for: lengths of its tensors that are of another length here."""
    own = module.state_dict()
    shared = [(own[key], value) for key, value in ours.items() if key in own and value.dim()]
    return sorted({there.shape[0] for here, there in shared if here.shape[:1] != there.shape[:1]})[:_TRIED]


def _fits(state: Mapping[str, Tensor], spec: ModelSpec, count: int) -> bool:
    """True if all names and shapes are those of ``spec`` at ``count`` bands; no weights are made."""
    import torch

    try:
        bands = BandSet(tuple(float(400 + i) for i in range(count)))
        with torch.device("meta"):
            module = build_module(spec, bands, {})
        ours = _in_our_names(state, official_of(spec), module)
    except Exception:  # this is advice for an error, which no other error may hide
        return False
    return {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in module.state_dict().items()}
