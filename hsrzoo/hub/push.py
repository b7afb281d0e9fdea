"""One commit to the Hub: new, changed and unchanged files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hsrzoo.errors import FormatError, InputError
from hsrzoo.hub import card as cards
from hsrzoo.hub import client
from hsrzoo.hub.rows import PUBLISHED
from hsrzoo.utils.files import CARD, git_blob_sha1, sha256_of_file

Content = Path | bytes
"""Bytes, or a file on this machine."""


@dataclass(frozen=True)
class Target:
    """Where and how to push."""

    repo: str
    public: bool = False
    """Of a repository that this push creates."""
    create_pr: bool = False
    revision: str | None = None
    """The branch; None: main."""
    message: str | None = None
    dry_run: bool = False
    kind: client.Kind = "model"

    @property
    def branch(self) -> str:
        return self.revision or "main"

    @property
    def title(self) -> str:
        """The repository's own name, without its owner."""
        return self.repo.partition("/")[2]


@dataclass
class Push:
    """What a push changes."""

    repo: str
    url: str | None = None
    """Of the commit or pull request; of the current commit if nothing changed; None in a dry run."""
    created: bool = False
    private: bool = True
    changes: dict[str, str] = field(default_factory=dict)
    """Path -> new, changed, unchanged or deleted."""

    @property
    def unchanged(self) -> bool:
        return set(self.changes.values()) <= {"unchanged"}


def publish(
    target: Target,
    files: Mapping[str, Content],
    metadata: Mapping[str, Any],
    block: str,
    before: client.State | None,
    ours: re.Pattern[str] | None = PUBLISHED,
) -> Push:
    """Send ``files`` and the merged card as one commit on top of ``before``, the state of the repository
    (None: it does not exist). Files there that match ``ours`` (None: none) and are not among ``files`` are
    deleted. A concurrent commit by somebody else is an error. If nothing changes, there is no commit.
    """
    held = before.files if before else {}
    _require_kind(target.repo, held, files)
    existing = (
        client.read_file(target.repo, CARD, before.oid, target.kind) if before and CARD in held else None
    )
    card = cards.merge(_text(existing, target.repo), metadata, block)
    files = {**files, CARD: card.encode()}
    stale = sorted(path for path in held if ours and ours.fullmatch(path) and path not in files)
    push = Push(
        target.repo,
        created=before is None,
        private=before.private if before else not target.public,
        changes={p: _change(c, held.get(p)) for p, c in files.items()} | dict.fromkeys(stale, "deleted"),
    )
    if target.dry_run:
        return push
    if before is None:
        client.create_repo(target.repo, not target.public, target.kind)
    push.url = client.commit(
        target.repo,
        files,
        target.message or "hsrzoo push",
        delete=stale,
        revision=target.revision,
        create_pr=target.create_pr,
        parent=before.oid if before else client.head(target.repo, kind=target.kind),
        kind=target.kind,
    )
    return push


def _require_kind(repo: str, held: Iterable[str], files: Iterable[str]) -> None:
    """InputError if the repository has weights and none of them would be replaced: codebooks must not
    overwrite a model's config.json, nor a model that of codebooks."""
    theirs, ours = ({p for p in paths if p.endswith(".safetensors")} for paths in (held, files))
    if theirs and ours and not theirs & ours:
        raise InputError(
            f"{repo} has other contents",
            expected=f"a new repository, or one with {min(ours)}",
            got=f"one with {min(theirs)}",
            fix="Give each model and each set of codebooks a repository of its own",
        )


def _text(card: bytes | None, repo: str) -> str | None:
    try:
        return None if card is None else card.decode("utf-8-sig")
    except UnicodeDecodeError:
        problem = f"The {CARD} of {repo} is not UTF-8, so its text cannot be kept"
        raise FormatError(problem, fix="Fix or remove that file on the Hub") from None


def _change(content: Content, digest: str | None) -> str:
    """``digest``: of the file in the repository, sha256 or git's blob sha1."""
    if digest is None:
        return "new"
    if isinstance(content, Path) and len(digest) == 64:  # too large to be read at once
        return "unchanged" if sha256_of_file(content) == digest else "changed"
    data = content if isinstance(content, bytes) else content.read_bytes()
    own = git_blob_sha1(data), hashlib.sha256(data).hexdigest()
    return "unchanged" if digest in own else "changed"
