"""The tensors of a folder of weights, also where it leaves some of them to other bundled weights.

The field ``parts`` of config.json lists those: tensors whose names begin with ``prefix`` are the ones of
the bundled ``weights``, named ARCH.TAG, and lie in no second file. ``weights_sha256`` is that of the one
file that would hold all tensors: with and without parts these are the same weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hsrzoo.errors import WeightsError
from hsrzoo.models.building import Size
from hsrzoo.models.locate import folder_of
from hsrzoo.models.names import parse_name
from hsrzoo.models.tensors import load_tensors, require_safetensors, tensor_bytes
from hsrzoo.utils.files import CONFIG, TENSORS, sha256_of_file
from hsrzoo.utils.json_kinds import Kind

if TYPE_CHECKING:
    from torch import Tensor

PARTS: Kind = [{"prefix": str, "weights": str, "weights_sha256": str}]


class Stored(NamedTuple):
    """What a folder of weights holds."""

    state: dict[str, Tensor]
    sha256: str
    """Of the file of all tensors, hexadecimal."""
    size: Size


def stored(folder: Path, config: Mapping[str, Any]) -> Stored:
    """All tensors of ``folder``, whose config.json is ``config``. WeightsError where a file is missing,
    damaged, or not the one that is described."""
    path, parts = folder / TENSORS, config.get("parts", ())
    require_intact(folder, config)
    if not parts:
        return Stored(load_tensors(path), config["weights_sha256"], Size.of(path))
    state, size = load_tensors(path), Size.of(path)
    for part in parts:
        more, its_size = _read(part, str(folder / CONFIG))
        state |= more
        size += its_size
    sha = hashlib.sha256(file_of(state, config)).hexdigest()
    _require(sha, config["weights_sha256"], f"{path} and its parts are not what its {CONFIG} describes")
    return Stored(state, sha, size)


def require_intact(folder: Path, config: Mapping[str, Any]) -> None:
    """WeightsError where the tensors of ``folder`` are missing or not those that ``config`` describes. The
    digest of a folder with parts is that of all tensors together: :func:`stored` compares it."""
    path = folder / TENSORS
    require_safetensors(path)
    if not config.get("parts"):
        sha = sha256_of_file(path)
        _require(sha, config["weights_sha256"], f"{path} is not the file that its {CONFIG} describes")


def size_of(folder: Path, config: Mapping[str, Any]) -> Size:
    """How much a folder and its parts hold, from the headers of their files."""
    paths = [folder, *(_folder_of(part, str(folder / CONFIG)) for part in config.get("parts", ()))]
    first, *others = [Size.of(path / TENSORS) for path in paths]
    return sum(others, start=first)


def file_of(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> bytes:
    """The one file of all tensors, floating-point ones as float32."""
    wide = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    return tensor_bytes(wide, {"architecture": config["architecture"], "schema": config["schema"]})


def without_parts(state: Mapping[str, Tensor], parts: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """The tensors that a folder with ``parts`` holds itself."""
    prefixes = tuple(str(part["prefix"]) for part in parts)
    return {key: value for key, value in state.items() if not (prefixes and key.startswith(prefixes))}


def _read(part: Mapping[str, Any], where: str) -> tuple[dict[str, Tensor], Size]:
    path = _folder_of(part, where) / TENSORS
    _require(
        sha256_of_file(path), part["weights_sha256"], f"{part['weights']} is not what {where} was made with"
    )
    return {f"{part['prefix']}{key}": value for key, value in load_tensors(path).items()}, Size.of(path)


def _folder_of(part: Mapping[str, Any], where: str) -> Path:
    name = parse_name(part["weights"])
    if name.kind != "zoo" or name.tag is None or name.variant is not None:
        raise WeightsError(
            f"{where} names a part that is not bundled", expected="ARCH.TAG", got=part["weights"]
        )
    return folder_of(name)


def _require(sha: str, expected: str, problem: str) -> None:
    if sha != expected:
        raise WeightsError(
            problem,
            expected=f"sha256 {expected[:16]}...",
            got=f"{sha[:16]}...",
            fix="Fetch or write the folder again",
        )
