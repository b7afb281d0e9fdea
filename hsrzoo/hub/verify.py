"""Requirements on a repository, and verification of its files on this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from hsrzoo.errors import HubError
from hsrzoo.utils.files import CONFIG, PICKLE_SUFFIXES, TENSORS, git_blob_sha1, sha256_of_file

_SHA1, _SHA256 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")


def require_safetensors(files: Sequence[str], where: str) -> None:
    """HubError unless the files include a configuration and weights as safetensors."""
    pickles = [name for name in files if name.lower().endswith(PICKLE_SUFFIXES)]
    if not any(name.endswith(".safetensors") for name in files):
        if pickles:
            raise HubError(
                f"{where} has its weights only as a Python pickle, and reading one can run any code",
                expected="a .safetensors file",
                got=_list_names(pickles),
                fix="Ask its authors for safetensors, or download the checkpoint and convert it with "
                "`hsrzoo convert`, which runs no code",
            )
        raise HubError(f"{where} has no weights", expected="a .safetensors file", got=_list_names(files))
    if CONFIG not in files:
        raise _foreign(where, f"{CONFIG} beside the weights", _list_names(files))


def check_digests(folder: Path, where: str) -> None:
    """HubError for a file whose content does not match its digest.

    The cache stores contents under their digests (large files: sha256; others: git's blob sha1), and a
    snapshot is a folder of links to them. On file systems without links only config.json is checked.
    """
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        expected = path.resolve().name
        if _SHA256.fullmatch(expected):
            found = sha256_of_file(path)
        elif _SHA1.fullmatch(expected):
            found = git_blob_sha1(path.read_bytes())
        else:
            continue
        if found != expected:
            kind = "sha256" if len(found) == 64 else "git blob sha1"
            name = path.relative_to(folder).as_posix()
            raise _changed(f"{name} of {where} is damaged", kind, expected, found, where)


def check_config(folder: Path, where: str) -> None:
    """HubError unless config.json is one of this zoo and lists the files beside it with their digests:
    ``weights_sha256`` of a model, ``sha256`` (file -> digest) of codebooks."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HubError(f"The {CONFIG} of {where} cannot be read as JSON", got=str(error)) from None
    if not isinstance(config, Mapping) or "schema" not in config:
        got = _list_names(sorted(config)) if isinstance(config, Mapping) else type(config).__name__
        raise _foreign(where, f"a {CONFIG} with a schema", f"one with {got}")
    listed = config.get("sha256")  # of codebooks
    declared = listed if isinstance(listed, Mapping) else {TENSORS: config.get("weights_sha256")}
    for name, expected in declared.items():
        path = folder / name
        found = sha256_of_file(path) if path.is_file() else "no such file"
        if found != expected:
            summary = f"{name} of {where} does not match its {CONFIG}"
            raise _changed(summary, "sha256", expected, found, where)


def _foreign(where: str, expected: str, got: str) -> HubError:
    expected = f"{expected}, as `hsrzoo push` writes it"
    return HubError(f"{where} is not a repository of hsrzoo", expected=expected, got=got)


def _changed(summary: str, kind: str, expected: object, found: str, where: str) -> HubError:
    return HubError(
        summary,
        expected=f"{kind} {expected}",
        got=found,
        fix=f"Download it again: hsrzoo pull --force {where}; if that fails too, it was pushed damaged",
    )


def _list_names(files: Sequence[str]) -> str:
    more = f" and {len(files) - 5} more" if len(files) > 5 else ""
    return ", ".join(files[:5]) + more if files else "no files"
