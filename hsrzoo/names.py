"""Model names: ``arch``, ``arch.tag``, ``local-dir:PATH`` and ``hf-hub:org/repo@rev`` as one value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hsrzoo.errors import UnknownNameError

_ARCH = re.compile(r"[a-z0-9][a-z0-9-]*(:[a-z0-9-]+)?")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_REPO = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class ModelName:
    """A parsed model name."""

    kind: Literal["zoo", "local-dir", "hf-hub"]
    arch: str | None = None
    tag: str | None = None
    path: Path | None = None
    repo: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        if self.kind == "local-dir":
            return f"local-dir:{self.path}"
        if self.kind == "hf-hub":
            return f"hf-hub:{self.repo}" + (f"@{self.revision}" if self.revision else "")
        return f"{self.arch}.{self.tag}" if self.tag else str(self.arch)


def parse_name(text: str) -> ModelName:
    """Parse what a user typed; raises UnknownNameError when it has none of the four forms."""
    scheme, found, rest = text.partition(":")
    if found and scheme == "local-dir" and rest:
        return ModelName("local-dir", path=Path(rest).expanduser())
    if found and scheme == "hf-hub":
        repo, _, revision = rest.partition("@")
        if _REPO.fullmatch(repo):
            return ModelName("hf-hub", repo=repo, revision=revision or None)
    arch, dot, tag = text.partition(".")
    if _ARCH.fullmatch(arch) and (not dot or _TAG.fullmatch(tag)):
        return ModelName("zoo", arch=arch, tag=tag or None)
    raise UnknownNameError(
        f"{text!r} is not a model name",
        expected="ARCH, ARCH.TAG, local-dir:PATH or hf-hub:ORG/REPO[@REVISION]",
        fix="hsrzoo list shows the names of this zoo",
    )
