"""The JSON that folders of weights and exported files carry: its validation, what it says of a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from hsrzoo.bands import BandSet
from hsrzoo.camera import Camera
from hsrzoo.colour.spectra import ERROR
from hsrzoo.errors import HsrzooError
from hsrzoo.spec import Execution, RgbInput
from hsrzoo.utils.json_kinds import TEXT, Kind, problems

ESTIMATE = "estimate"
"""Instead of a camera's name: the camera is estimated from each image."""
BANDS: Kind = {"centres_nm": [float], "widths_nm?": ([float], type(None))}
LINK: Kind = ({"repo": str, "revision": str}, type(None))
"""A repository on the Hub at a commit."""
TRAINING: Kind = {
    "dataset?": TEXT,
    "split?": TEXT,
    "scenes?": ([str], type(None)),
    "dataset_info?": ({"response?": TEXT}, type(None)),
    "recipe?": (dict, type(None)),
    "provenance?": (dict, type(None)),
}
"""What is read of the record of a training."""
CODEBOOK: Kind = (
    {"sources?": [str], "stage1?": [{"wall_seconds?": float}], "sha256?": dict, "repository?": LINK},
    type(None),
)
"""What is read of the record of the codebooks that a network was started from."""
_SHOWN = 6
"""Problems in a message."""
LARGEST = 64 << 20
"""Bytes of a file of JSON."""
MOST_PADDED = 4096
"""Of the multiple and the least size of images in JSON: larger ones would make any image absurdly large."""


def read_object(
    source: Path | str, fields: Mapping[str, Kind], schema: int, what: str, error: type[HsrzooError]
) -> dict[str, Any]:
    """The JSON object in a file or text, with ``fields`` (name -> kind, see :mod:`hsrzoo.utils.json_kinds`)
    and, if it has any, valid bands, written by this version or an older one: its ``schema`` is at most the
    given one. Raises ``error``."""
    try:
        if isinstance(source, Path) and source.stat().st_size > LARGEST:
            raise ValueError(f"{source.stat().st_size} bytes, more than {LARGEST}")
        found = json.loads(source if isinstance(source, str) else source.read_bytes())
    except (OSError, ValueError, RecursionError) as problem:
        raise error(f"{what} cannot be read as JSON", got=str(problem)) from None
    if not isinstance(found, dict):
        raise error(f"{what} is incomplete", expected="a JSON object", got=type(found).__name__)
    if isinstance(found.get("schema"), int) and found["schema"] > schema:
        raise error(
            f"{what} was written by a newer hsrzoo",
            expected=f"schema {schema} or lower",
            got=f"schema {found['schema']}, library {found.get('library_version')}",
            fix="Upgrade: pip install --upgrade hsrzoo",
        )
    wrong = list(islice(problems(found, dict(fields)), _SHOWN))
    if wrong:
        expected = ", ".join(name.removesuffix("?") for name in fields)
        raise error(f"{what} is incomplete", expected=expected, got=", ".join(wrong))
    try:
        if "bands" in fields:
            BandSet.from_json(found["bands"])
    except (HsrzooError, KeyError, TypeError, ValueError, OverflowError) as problem:
        raise error(f"{what} holds no valid bands", got=str(problem)) from None
    return found


def own_consistency(config: Mapping[str, Any]) -> str | None:
    """The camera that cubes are corrected for because the network was trained so; None otherwise."""
    recipe = (config.get("training") or {}).get("recipe") or {}
    camera = Camera.of_training(config) if recipe.get("consistency") else None
    return camera.name if camera else None


def camera_identity(camera: str) -> dict[str, Any]:
    """What camera consistency adds to the identity of a model; ``camera``: its name, or "estimate"."""
    return {"consistency": camera, "consistency_error": ERROR}


def input_identity(wanted: RgbInput) -> dict[str, Any]:
    """What the input that weights expect adds to the identity of a model."""
    return {"input": asdict(wanted)}


def network_identity(
    architecture: str, arguments: Mapping[str, Any], bands: BandSet, execution: Execution
) -> dict[str, Any]:
    """What the network and how it is run add to the identity of a model."""
    return {
        "architecture": architecture,
        "arguments": arguments,
        "bands": bands.to_json(),
        **execution.changes(),
    }


def identity_of(decides: Mapping[str, Any]) -> str:
    """sha256 (hex) of all that decides a model's output."""
    text = json.dumps(decides, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def trained_scenes(config: Mapping[str, Any] | None, dataset: str) -> set[str]:
    """Names of the scenes of ``dataset`` that weights with this config.json, those that they were
    fine-tuned from or their codebooks were trained on, whichever split they lay in then: a set may be split
    in more than one way, and in each of them a name stands for one scene."""
    config = config or {}
    training = config.get("training") or {}
    before = (training.get("init") or {}).get("trained_on", ())
    codebooks = (config.get("codebook") or {}).get("stage1", ())
    sets = [training, *training.get("extra", ()), *before, *codebooks]
    return {name for one in sets if one.get("dataset") == dataset for name in one.get("scenes") or ()}
