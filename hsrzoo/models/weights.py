"""Folders of weights: config.json, model.safetensors and a card. Safetensors only, loaded strictly.

A folder written twice from the same values has the same bytes. Pickles are always refused, because reading
one can run any code. torch is imported inside the functions that need it,
so that finding weights costs no import.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsrzoo.bands import BandSet
from hsrzoo.errors import WeightsError
from hsrzoo.models.building import build_for
from hsrzoo.models.locate import require_folder
from hsrzoo.models.metadata import CODEBOOK, LINK, MOST_PADDED, TRAINING, read_object
from hsrzoo.models.parts import PARTS, file_of, stored, without_parts
from hsrzoo.models.tensors import pickle_refused, require_finite, save_tensors
from hsrzoo.registry import MODELS
from hsrzoo.spec import NORMALISATIONS, ModelSpec, RgbInput
from hsrzoo.utils.files import (
    CARD,
    CONFIG,
    PICKLE_SUFFIXES,
    TENSORS,
    make_folder,
    remove_leftovers,
    sha256_of_file,
    write_atomically,
    write_json,
)
from hsrzoo.utils.json_kinds import Kind
from hsrzoo.utils.locks import hold_folder

if TYPE_CHECKING:
    from torch import Tensor, nn

SCHEMA = 1
"""Version of config.json; a higher number in a file asks the user to upgrade."""
_FIELDS: dict[str, Kind] = {
    "schema": int,
    "library_version": str,
    "architecture": str,
    "arguments": dict,
    "bands": dict,
    "input": dict,
    "training": TRAINING,
    "source": str,
    "licence": str,
    "codebook": CODEBOOK,
    "codebook_repository?": LINK,
    "parts?": PARTS,
    "weights_sha256": str,
}


def save_folder(
    folder: Path,
    module: nn.Module,
    spec: ModelSpec,
    bands: BandSet,
    *,
    arguments: Mapping[str, Any],
    training: Mapping[str, Any],
    codebook: Mapping[str, Any] | None = None,
    parts: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write a model's folder; each file appears whole or not at all, config.json last.
    Raises LockedError if another process is writing it.

    ``arguments`` override the spec's own; ``training`` is the record of the run; ``codebook`` says
    where a codebook came from; ``parts``: tensors that stay in other bundled weights (:mod:`.parts`).
    Floating-point weights are stored as float32; DivergedError where they are not finite.
    """
    state = {k: v.float() if v.is_floating_point() else v for k, v in module.state_dict().items()}
    config = make_config(spec, bands, arguments=arguments, training=training, codebook=codebook)
    make_folder(folder)
    with hold_folder(folder):
        remove_leftovers(folder / name for name in (TENSORS, CARD, CONFIG))
        own = without_parts(state, parts)
        save_tensors(folder / TENSORS, own, {"architecture": spec.name, "schema": SCHEMA})
        config["weights_sha256"] = sha256_of_file(folder / TENSORS)
        if parts:
            config["weights_sha256"] = hashlib.sha256(file_of(state, config)).hexdigest()
            config["parts"] = [dict(part) for part in parts]
        write_atomically(folder / CARD, _card(config).encode())
        write_json(folder / CONFIG, config)


def make_config(
    spec: ModelSpec,
    bands: BandSet,
    *,
    arguments: Mapping[str, Any],
    training: Mapping[str, Any],
    codebook: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """config.json as a dict, all fields but the weights' sha256."""
    return {
        "schema": SCHEMA,
        "library_version": version("hsrzoo"),
        "architecture": spec.name,
        "arguments": {**spec.arguments, **arguments},
        "bands": bands.to_json(),
        "input": spec.input.to_json(),
        "training": dict(training),
        "source": spec.source,
        "licence": spec.licence,
        "codebook": None if codebook is None else dict(codebook),
        **requirement(spec.name),
    }


def requirement(architecture: str) -> dict[str, str]:
    """The field ``requires`` of config.json: what others need for an architecture of a plugin; empty for
    those of hsrzoo."""
    requires = MODELS.requires(architecture)
    return {} if requires is None else {"requires": requires}


_CARD_FACTS = ("dataset", "split", "steps", "minutes", "wall_seconds", "cpu_seconds", "threads", "command")
"""Fields of the training record that the card shows; config.json has all of them."""


_CARD = """# {title}

Weights for hsrzoo. RGB is expected linear, in [0, 1], as the camera of the training data
gives it; scenes and cameras unlike those are out of this model's domain.

| | |
|---|---|
{table}
"""


def _card(config: Mapping[str, Any]) -> str:
    from hsrzoo.hub.card import init_fact  # imports what only cards need

    bands, training = BandSet.from_json(config["bands"]), config["training"]
    facts = {
        "source": config["source"],
        "licence": config["licence"],
        "sha256": config["weights_sha256"],
        "commit": training.get("provenance", {}).get("commit"),
        "fine-tuned from": init_fact(training),
        **{key: training[key] for key in _CARD_FACTS if key in training},
    }
    if config["codebook"]:
        facts["codebooks from"] = ", ".join(config["codebook"].get("sources", []))
        stage1 = config["codebook"].get("stage1", [])
        facts["their wall seconds"] = sum((run.get("wall_seconds", 0.0) for run in stage1), 0.0)
    lines = [f"| {key.replace('_', ' ')} | {_in_card(value)} |" for key, value in facts.items() if value]
    return _CARD.format(title=f"{config['architecture']}: RGB to {bands}", table="\n".join(lines))


def _in_card(value: Any) -> str:
    return f"{value:.0f}" if isinstance(value, float) else str(value).replace("|", "\\|")


def read_config(folder: Path) -> dict[str, Any]:
    """The validated config.json of a folder. Raises WeightsError naming what is wrong."""
    folder = require_folder(folder)
    _refuse_run(folder)
    path = folder / CONFIG
    if not path.is_file():
        _refuse_pickles_in(folder)
        raise WeightsError("A folder of weights lacks its configuration", expected=str(path))
    return read_object(path, _FIELDS, SCHEMA, str(path), WeightsError)


def _refuse_run(folder: Path) -> None:
    """WeightsError for the folder of a run of `hsrzoo train`, whose weights are in a folder below it."""
    if (folder / TENSORS).exists() or not (folder / "record.json").is_file():
        return
    weights = folder / "weights"
    resume = "It has none yet: repeat the command that started it with --resume"
    raise WeightsError(
        f"{folder} is the folder of a run, not of weights",
        expected=str(weights),
        fix="Name that folder" if (weights / CONFIG).is_file() else resume,
    )


def _refuse_pickles_in(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in PICKLE_SUFFIXES:
            raise pickle_refused(path)


def input_of(config: Mapping[str, Any], folder: Path) -> RgbInput:
    """What these weights expect of their RGB input: config.json decides, not the architecture."""
    found = dict(config["input"])
    signal = {key: found.pop(key, None) for key in ("order", "range")}
    if signal != {"order": "RGB", "range": [0, 1]}:
        raise WeightsError(
            f"{folder / CONFIG} asks for an input that this version cannot give",
            expected="order RGB, range [0, 1]",
            got=f"order {signal['order']}, range {signal['range']}",
        )
    where = f"of the input in {folder / CONFIG}"
    try:
        wanted = RgbInput(**found)
    except TypeError:
        raise WeightsError(f"{folder / CONFIG} describes an unknown input", got=str(found)) from None
    if wanted.normalise not in NORMALISATIONS:
        expected, got = " or ".join(NORMALISATIONS), repr(wanted.normalise)
        raise WeightsError(
            f"{folder / CONFIG} asks for an unknown normalisation", expected=expected, got=got
        )
    for key in ("multiple", "min_size"):
        value = getattr(wanted, key)
        if type(value) is not int or not 1 <= value <= MOST_PADDED:
            expected = f"a whole number from 1 to {MOST_PADDED}"
            raise WeightsError(f"The {key} {where} is impossible", expected=expected, got=repr(value))
    return wanted


def load_module(folder: Path, spec: ModelSpec, config: Mapping[str, Any]) -> tuple[nn.Module, str]:
    """Build ``spec`` as ``config`` says and load the folder's weights strictly.

    Returns the module in eval mode on the CPU and the sha256 of its file. Raises WeightsError for
    another architecture, a changed file, missing or extra keys, other shapes or kinds of numbers, NaN and
    infinities.
    """
    if config["architecture"] != spec.name:
        raise WeightsError(
            f"The weights in {folder} belong to another architecture",
            expected=spec.name,
            got=config["architecture"],
        )
    path = folder / TENSORS
    if not path.exists():
        _refuse_pickles_in(folder)
    found = stored(folder, config)
    bands = BandSet.from_json(config["bands"])
    module = build_for(spec, bands, config["arguments"], found.size, str(folder / CONFIG))
    load_strictly(module, found.state, str(path))
    return module.eval(), found.sha256


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Copy ``state`` into ``module``. WeightsError, naming the first, for any difference of keys, shapes or
    kinds of numbers, and for values that are not finite in the module's precision. Constants that the
    module computes itself may be missing (see :func:`without_constants`)."""
    state = without_constants(module, state, origin)
    own = module.state_dict()
    require_fit(own, state, origin)
    _require_same_kinds(own, state, origin)
    module.load_state_dict(state, strict=True)
    require_finite(module.state_dict(), origin)


def without_constants(module: nn.Module, state: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """``state`` without the buffers that ``module`` computes itself (those that are not persistent), which
    files may hold or not. WeightsError where one has another shape or, off the device ``meta``, value."""
    own = module.state_dict()
    constants = {key: value for key, value in module.named_buffers() if key not in own}
    for key in constants.keys() & state.keys():
        there, here = state[key], constants[key]
        same = there.shape == here.shape
        if not same or not (here.is_meta or bool((there.to(here) == here).all())):
            raise WeightsError(
                f"{origin} holds another {key} than the network computes",
                expected="the constant that the network has, or none",
                got=f"shape {tuple(there.shape)}" if not same else "other values",
            )
    return {key: value for key, value in state.items() if key not in constants}


def require_fit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], origin: str) -> None:
    """WeightsError unless ``state`` has the keys and shapes of ``own``, a network's state_dict."""
    missing = [f"missing {key}" for key in own if key not in state]
    unexpected = [f"unexpected {key}" for key in state if key not in own]
    shapes = [
        f"{key} is {tuple(state[key].shape)}, not {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    problems = [*missing, *unexpected, *shapes]
    if problems:
        shown = [*missing[:2], *unexpected[:2], *shapes[:2]]
        more = f" and {len(problems) - len(shown)} more" if len(problems) > len(shown) else ""
        raise WeightsError(
            f"The weights in {origin} do not fit the network",
            expected=f"{len(own)} tensors",
            got=f"{len(state)}: {'; '.join(shown)}{more}",
        )


def _require_same_kinds(own: Mapping[str, Tensor], state: Mapping[str, Tensor], origin: str) -> None:
    """Weights of any precision are weights; whole numbers, flags or complex numbers in their place are
    not."""
    for key, value in own.items():
        if _kind(value) != _kind(state[key]):
            raise WeightsError(
                f"{origin} holds other numbers than the network",
                expected=f"{key} of {value.dtype}",
                got=f"{state[key].dtype}",
            )


def _kind(tensor: Tensor) -> tuple[bool, bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex(), str(tensor.dtype) == "torch.bool"
