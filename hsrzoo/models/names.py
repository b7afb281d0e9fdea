"""Model names as one value: ``arch``, ``arch.tag``, ``arch:variant``, ``arch.tag:variant``,
``local-dir:PATH``, ``hf-hub:org/repo``, ``hf-hub:org/repo@rev``, these three also with ``:variant``, and
``onnx:FILE``."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hsrzoo.errors import UnknownNameError
from hsrzoo.hub.ids import is_revision, suggest_repo

_ARCH = re.compile(r"[a-z0-9][a-z0-9-]*")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_SCHEMES = ("local-dir", "hf-hub", "onnx")


@dataclass(frozen=True)
class ModelName:
    """A parsed model name."""

    kind: Literal["zoo", "local-dir", "hf-hub", "onnx"]
    arch: str | None = None
    tag: str | None = None
    variant: str | None = None
    path: Path | None = None
    repo: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        if self.kind == "zoo":
            name = f"{self.arch}.{self.tag}" if self.tag else str(self.arch)
        elif self.kind == "hf-hub":
            name = f"hf-hub:{self.repo}@{self.revision}" if self.revision else f"hf-hub:{self.repo}"
        else:
            name = f"{self.kind}:{self.path}"
        return f"{name}:{self.variant}" if self.variant else name


def parse_name(text: str) -> ModelName:
    """Parse what a user typed; raises UnknownNameError when it has none of these forms."""
    if not isinstance(text, str):
        raise UnknownNameError(
            "A model name is text", got=repr(text), fix="For a folder write local-dir:PATH"
        )
    scheme, found, rest = text.partition(":")
    if found and scheme in _SCHEMES:
        parsed = _hub(rest) if scheme == "hf-hub" else _local(scheme, rest)
    else:
        arch, dot, tag = scheme.partition(".")
        valid = _ARCH.fullmatch(arch) and (not dot or _TAG.fullmatch(tag))
        valid = valid and (not found or _ARCH.fullmatch(rest))
        parsed = ModelName("zoo", arch=arch, tag=tag or None, variant=rest or None) if valid else None
    if parsed is not None:
        return parsed
    hint = "hsrzoo list shows the names of this zoo"
    if not found and ("/" in text or "\\" in text):
        on_hub = f", for a repository on the Hub hf-hub:{text}" if _hub(text) else ""
        hint = f"For a folder write local-dir:{text}{on_hub}"
    better = suggest_repo(rest.partition("@")[0]) if scheme == "hf-hub" else None
    raise UnknownNameError(
        f"{text!r} is not a model name",
        expected="ARCH[.TAG][:VARIANT], local-dir:PATH[:VARIANT], onnx:FILE or "
        "hf-hub:ORG/REPO[@REVISION][:VARIANT]",
        fix=f"Names on the Hub have no spaces or other signs, for example hf-hub:{better}"
        if better
        else hint,
    )


def path_hint(name: ModelName) -> str | None:
    """What to write instead of an unknown name of the zoo where a folder or an exported file has it."""
    text = str(name)
    if os.path.isdir(text):
        return f"For the folder of that name write local-dir:{text}"
    is_exported = text.endswith(".onnx") and os.path.isfile(text)
    return f"For the file of that name write onnx:{text}" if is_exported else None


def _local(scheme: str, rest: str) -> ModelName | None:
    if not rest:
        return None
    try:
        whole = Path(rest).expanduser()
    except RuntimeError:  # ~nobody: no such home
        return None
    if scheme == "onnx":
        return ModelName("onnx", path=whole)
    # a folder's name may hold colons: its end is a variant only where that reading alone leads to a folder
    head, colon, variant = rest.rpartition(":")
    if head and colon and _ARCH.fullmatch(variant) and not os.path.isdir(whole):
        folder = Path(head).expanduser()
        if os.path.isdir(folder):
            return ModelName("local-dir", path=folder, variant=variant)
    return ModelName("local-dir", path=whole)


def _hub(rest: str) -> ModelName | None:
    address, colon, variant = rest.partition(":")  # which neither a repository nor a revision may hold
    repo, at, revision = address.partition("@")
    if not _REPO.fullmatch(repo) or (at and not is_revision(revision)):
        return None
    if colon and not _ARCH.fullmatch(variant):
        return None
    return ModelName("hf-hub", repo=repo, revision=revision or None, variant=variant or None)
