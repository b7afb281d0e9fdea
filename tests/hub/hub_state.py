"""Repositories, users and faults of the Hub on loopback, all in memory."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import yaml


@dataclass(frozen=True)
class File:
    """A file of one commit; ``lfs``: it went to large-file storage and is known by its sha256."""

    sha256: str
    size: int
    lfs: bool
    git_oid: str

    @classmethod
    def of(cls, data: bytes, lfs: bool) -> File:
        sha256 = hashlib.sha256(data).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(data)}\n"
        stored = pointer.encode() if lfs else data
        return cls(sha256, len(data), lfs, hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest())

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.git_oid

    def entry(self, path: str) -> dict[str, Any]:
        """As the tree listing gives it."""
        found: dict[str, Any] = {"type": "file", "oid": self.git_oid, "size": self.size, "path": path}
        return {**found, **self._lfs("oid")}

    def sibling(self, path: str) -> dict[str, Any]:
        """As a repository's details give it when asked for its files."""
        return {"rfilename": path, "blobId": self.git_oid, "size": self.size, **self._lfs("sha256")}

    def _lfs(self, key: str) -> dict[str, Any]:
        return {"lfs": {key: self.sha256, "size": self.size, "pointerSize": 134}} if self.lfs else {}


@dataclass(frozen=True)
class Commit:
    oid: str
    title: str
    parent: str | None
    files: dict[str, File]
    author: str
    date: str


@dataclass
class Repo:
    """``refs``: branches by name, pull requests as refs/pr/N; ``tags`` apart."""

    name: str
    private: bool
    gated: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        return self.id.partition("/")[0]

    @property
    def id(self) -> str:
        """The name without the kind that data sets have in front."""
        return self.name.removeprefix("datasets/")

    def find(self, revision: str) -> str | None:
        """The commit behind a branch, tag, pull request or commit id."""
        known = {**self.refs, **self.tags}
        return known.get(revision) or (revision if revision in self.commits else None)

    def add(self, files: dict[str, File], title: str, author: str, ref: str, parent: str | None) -> Commit:
        date = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        made = Commit(secrets.token_hex(20), title, parent, files, author, date)
        self.commits[made.oid] = made
        self.refs[ref] = made.oid
        return made

    def history(self, oid: str | None) -> list[Commit]:
        """Newest first."""
        found = []
        while oid is not None:
            found.append(self.commits[oid])
            oid = found[-1].parent
        return found


@dataclass
class Fault:
    """What goes wrong with requests whose path matches: ``kind`` is status, drop, corrupt or stall."""

    path: str
    kind: str
    method: str = "GET"
    after: int = 0
    """Bytes of the body (of an upload or of an answer) that still pass."""
    times: int = 1
    status: int = 503
    body: str = '{"error": "made to fail"}'
    headers: dict[str, str] = field(default_factory=dict)


class Hub:
    """``users``: token -> names of the user and of the organisations that they may write to."""

    def __init__(self, users: dict[str, list[str]]) -> None:
        self.users = users
        self.reset()

    def reset(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.log: list[dict[str, Any]] = []

    def store(self, data: bytes, lfs: bool) -> File:
        made = File.of(data, lfs)
        self.blobs[made.sha256] = data
        return made

    def fault_for(self, method: str, path: str) -> Fault | None:
        """The next fault for this request, used up by it."""
        for fault in self.faults:
            if fault.times > 0 and fault.method == method and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return None

    def details(self, repo: Repo, oid: str, blobs: bool = False) -> dict[str, Any]:
        """What /api/models gives for a repository at a commit."""
        commit = repo.commits[oid]
        card = self._card(commit)
        library = card.get("library_name")
        return {
            "_id": hashlib.sha1(repo.name.encode()).hexdigest()[:24],
            "id": repo.id,
            "modelId": repo.id,
            "author": repo.owner,
            "sha": oid,
            "private": repo.private,
            "gated": "manual" if repo.gated else False,
            "disabled": False,
            "downloads": 7,
            "likes": 0,
            "tags": sorted({*(card.get("tags") or []), *([library] if library else [])}),
            "library_name": library,
            "pipeline_tag": card.get("pipeline_tag"),
            "cardData": card,
            "createdAt": repo.history(oid)[-1].date,
            "lastModified": commit.date,
            "siblings": [
                file.sibling(path) if blobs else {"rfilename": path}
                for path, file in sorted(commit.files.items())
            ],
        }

    def _card(self, commit: Commit) -> dict[str, Any]:
        file = commit.files.get("README.md")
        text = self.blobs[file.sha256].decode(errors="replace") if file else ""
        found = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
        try:
            return (yaml.safe_load(found[1]) or {}) if found else {}
        except yaml.YAMLError:
            return {}
