"""Safetensors files, the only form in which weights are read: deterministic, atomic, never a pickle.

torch is imported inside the functions that need it, so that naming files costs no import.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsrzoo.errors import DivergedError, HsrzooError, WeightsError
from hsrzoo.utils.files import PICKLE_SUFFIXES, write_atomically

if TYPE_CHECKING:
    from torch import Tensor, nn

_METADATA_KEY = "hsrzoo"


def digest_of(module: nn.Module) -> str:
    """sha256 (hex) of a network's state: names, shapes and values. It names random weights."""
    digest = hashlib.sha256()
    for key, value in module.state_dict().items():
        digest.update(f"{key} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write :func:`tensor_bytes` atomically. DivergedError where a value is not finite: nobody could load
    such weights."""
    require_finite(tensors, str(path), DivergedError)
    write_atomically(path, tensor_bytes(tensors, metadata))


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None) -> bytes:
    """Tensors (dtype kept, made contiguous) as the content of a safetensors file.

    ``metadata`` is any JSON value with string keys. The same tensors and metadata give the same
    bytes: it goes into one key as sorted JSON, since safetensors does not order several keys.
    """
    from safetensors.torch import save

    # Cloned, because safetensors refuses tensors that share memory (tied weights, views).
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return save(copies, {_METADATA_KEY: json.dumps(dict(metadata or {}), sort_keys=True)})


def load_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU. Pickles and damaged files raise WeightsError."""
    from safetensors.torch import load_file

    require_safetensors(path)
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises a bare Exception subclass of its own
        raise _damaged(path, str(error)) from None


def metadata_of(path: Path) -> str:
    """The JSON text that :func:`tensor_bytes` stored as metadata; empty where there is none. WeightsError
    for pickles and damaged files."""
    from safetensors import safe_open

    require_safetensors(path)
    try:
        with safe_open(path, framework="pt") as file:
            return str((file.metadata() or {}).get(_METADATA_KEY, ""))
    except Exception as error:  # as above
        raise _damaged(path, str(error)) from None


def require_safetensors(path: Path) -> None:
    """Raise WeightsError unless ``path`` is a file that begins as safetensors do."""
    if not path.is_file():
        raise WeightsError("A file of weights is missing", expected=str(path))
    if looks_like_pickle(path):
        raise pickle_refused(path)
    with path.open("rb") as file:
        head = file.read(9)
    # 8 bytes: length of a JSON header, little endian; then the header itself.
    if len(head) < 9 or head[8:9] != b"{" or int.from_bytes(head[:8], "little") > path.stat().st_size:
        raise _damaged(path, "it does not begin as a safetensors file")


def require_finite(
    tensors: Mapping[str, Tensor],
    origin: str,
    error: type[HsrzooError] = WeightsError,
    fix: str | None = None,
) -> None:
    """Raise ``error`` if one of ``tensors`` holds NaN or an infinity; ``origin`` says whose they are."""
    bad = [key for key, value in tensors.items() if not bool(value.isfinite().all())]
    if bad:
        raise error(
            f"The weights of {origin} are not finite",
            expected="finite numbers, in float32",
            got=f"NaN or infinity in {len(bad)} of {len(tensors)} tensors, first {bad[0]}",
            fix=fix,
        )


def looks_like_pickle(path: Path) -> bool:
    """True if a file is called or begins as pickles do."""
    if path.suffix.lower() in PICKLE_SUFFIXES:
        return True
    with path.open("rb") as file:
        head = file.read(4)
    # A zip archive (torch since 1.6), or a bare pickle of protocol 2 to 5.
    return head == b"PK\x03\x04" or (head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05")


def pickle_refused(path: Path) -> WeightsError:
    """The error for a pickle given as weights."""
    return WeightsError(
        f"{path} is a Python pickle, and reading one can run any code",
        expected="a .safetensors file",
        fix="A checkpoint of a network's authors: `hsrzoo convert` makes weights of it and runs nothing",
    )


def _damaged(path: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"{path} is not a complete safetensors file", got=reason, fix="Fetch or write it again"
    )
