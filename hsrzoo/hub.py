"""The Hugging Face Hub: fetch repositories, list them, and write to them in one atomic commit.

The only module that imports huggingface_hub, and only inside functions: it reads the environment (HF_HOME,
HF_ENDPOINT, HF_HUB_OFFLINE) when it is imported, and most commands do without it.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsrzoo import hub_errors
from hsrzoo.errors import HubError
from hsrzoo.hub_errors import at
from hsrzoo.tensorfile import PICKLE_SUFFIXES, sha256_of_file

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LIBRARY = "hsrzoo"
"""``library_name`` of cards, by which the Hub finds repositories of this zoo."""
PATTERNS = ("config.json", "README.md", "*.safetensors", "results/*.jsonl")
"""What is fetched of a repository; ``*`` also matches folders, so codebooks come along."""
_PART = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9_])?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONGEST = 96


@dataclass(frozen=True)
class Commit:
    """What :func:`commit` left behind; ``oid`` is the commit's sha1 (40 hex digits)."""

    url: str
    oid: str
    pr_url: str | None = None


def require_repo(text: str) -> str:
    """``text`` if it can name a repository, else HubError with a name that could."""
    parts = text.split("/")
    fits = len(parts) == 2 and all(_PART.fullmatch(part) for part in parts) and len(text) <= _LONGEST
    if fits and not re.search(r"--|\.\.", text) and not text.endswith(".git"):
        return text
    words = [re.sub(r"[^\w.]+|\.\.+", "-", part.strip(), flags=re.ASCII).strip("-._") for part in parts]
    better = "/".join(word.removesuffix(".git") for word in words)
    usable = len(parts) == 2 and all(words) and len(better) <= _LONGEST
    raise HubError(
        f"{text!r} cannot name a repository on the Hub",
        expected=f"ORG/NAME of letters, digits and - _ . (none of them at an end, no -- or ..), "
        f"{_LONGEST} characters at most",
        fix=f"For example {better}" if usable else None,
    )


def pull(
    repo: str, revision: str | None = None, patterns: Iterable[str] | None = None, *, force: bool = False
) -> Path:
    """The folder in the Hub's cache that holds a repository at a revision; its name is the commit's id.

    ``revision``: a branch, tag, pull request (refs/pr/1) or commit; None: the main branch. ``patterns``:
    what to fetch instead of :data:`PATTERNS`. ``force``: fetch again what is here already. With
    HF_HUB_OFFLINE=1, or where the Hub does not answer, the cache decides. Every file is checked before its
    folder is returned. Raises HubError, WeightsError, StoreError.
    """
    repo, wanted = require_repo(repo), list(patterns or PATTERNS)
    with _translated(repo, revision):
        folder = _fetch(repo, revision, wanted, force)
    _check_digests(folder, at(repo, revision), wanted)
    if patterns is None:
        _check_config(folder, at(repo, revision))
    return folder


def _fetch(repo: str, revision: str | None, patterns: list[str], force: bool) -> Path:
    from huggingface_hub import is_offline_mode, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    def snapshot(**how: bool) -> Path:
        found = snapshot_download(
            repo, revision=revision, allow_patterns=patterns,
            library_name=LIBRARY, library_version=version(LIBRARY), **how,
        )  # fmt: skip
        return Path(found)

    if is_offline_mode():
        return snapshot(local_files_only=True)
    if revision and _COMMIT.fullmatch(revision) and not force:  # what a commit holds never changes
        try:
            return snapshot(local_files_only=True)
        except LocalEntryNotFoundError:
            pass
    try:
        info = _api().model_info(repo, revision=revision)
    except Exception as error:
        if force or not hub_errors.is_unreachable(error):
            raise
        try:
            folder = snapshot(local_files_only=True)
        except LocalEntryNotFoundError:
            raise error from None
        warnings.warn(
            f"The Hub does not answer: {at(repo, revision)} is used as it was last pulled, "
            f"commit {folder.name[:8]}.",
            stacklevel=4,
        )
        return folder
    if patterns == list(PATTERNS):
        _require_safetensors([file.rfilename for file in info.siblings or ()], at(repo, revision))
    return snapshot()


def _require_safetensors(files: Sequence[str], where: str) -> None:
    """HubError unless the names are those of a repository with a configuration and safe weights."""
    pickles = [name for name in files if name.lower().endswith(PICKLE_SUFFIXES)]
    if not any(name.endswith(".safetensors") for name in files):
        if pickles:
            raise HubError(
                f"{where} offers its weights only as a Python pickle, and reading one can run any code",
                expected="a .safetensors file",
                got=", ".join(pickles[:3]),
                fix="Download it by hand if you trust its authors: `hsrzoo convert` makes weights of an "
                "official checkpoint and runs nothing",
            )
        raise HubError(f"{where} holds no weights", expected="a .safetensors file", got=_listed(files))
    if "config.json" not in files:
        raise HubError(
            f"{where} is no repository of {LIBRARY}",
            expected="config.json beside the weights, as `hsrzoo push` writes it",
            got=_listed(files),
        )


def _listed(files: Sequence[str]) -> str:
    more = f" and {len(files) - 5} more" if len(files) > 5 else ""
    return ", ".join(files[:5]) + more if files else "no files"


def _check_digests(folder: Path, where: str, patterns: list[str]) -> None:
    """HubError for a file that is not what the Hub calls it.

    The cache holds contents under their digests (large files: sha256; others: git's sha1), and a snapshot
    is a folder of links to them. Without links, as on some file systems, the configuration decides alone.
    """
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        expected = path.resolve().name
        if _SHA256.fullmatch(expected):
            found = sha256_of_file(path)
        elif _COMMIT.fullmatch(expected):
            data = path.read_bytes()
            found = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        else:
            continue
        if found != expected:
            raise _damaged(path.relative_to(folder).as_posix(), where, expected, found)


def _damaged(name: str, where: str, expected: str, found: str) -> HubError:
    return HubError(
        f"{name} of {where} is damaged on this machine",
        expected=f"digest {expected}",
        got=found,
        fix=f"Fetch it again: hsrzoo pull --force {where}",
    )


def _check_config(folder: Path, where: str) -> None:
    """WeightsError or HubError unless config.json is one of this zoo and describes the files beside it."""
    from hsrzoo.weights import CONFIG, TENSORS, read_config

    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        declared = dict(config.get("sha256") or {})
        known = "schema" in config
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise HubError(f"The {CONFIG} of {where} cannot be read", got=str(error)) from None
    if not known:
        raise HubError(
            f"{where} is no repository of {LIBRARY}",
            expected=f"a {CONFIG} with a schema, as `hsrzoo push` writes it",
            got=f"one with {_listed(sorted(config))}",
        )
    if not declared:  # a model; codebooks list all their files
        declared = {TENSORS: read_config(folder)["weights_sha256"]}
    for name, expected in declared.items():
        inside = folder / name
        found = sha256_of_file(inside) if inside.is_file() else "no such file"
        if found != expected:
            raise HubError(
                f"{name} of {where} is not the file that its {CONFIG} describes",
                expected=f"sha256 {expected}",
                got=found,
                fix=f"Fetch it again: hsrzoo pull --force {where}; if that does not help, it has to be "
                "pushed again",
            )


def list_repos(org: str) -> list[dict[str, Any]]:
    """Repositories of this zoo that a user or organisation shows to this token, by name.

    Keys: name, private, updated (ISO date or None), downloads (of the last 30 days), tags.
    """
    if not _PART.fullmatch(org):
        raise HubError(f"{org!r} cannot name a user or organisation", expected="letters, digits and - _ .")
    with _translated(None):
        found = list(_api().list_models(author=org, filter=LIBRARY, full=True))
    rows = [
        {
            "name": one.id,
            "private": bool(one.private),
            "updated": one.last_modified.date().isoformat() if one.last_modified else None,
            "downloads": one.downloads,
            "tags": sorted(tag for tag in one.tags or () if tag != LIBRARY),
        }
        for one in found
    ]
    return sorted(rows, key=lambda row: str(row["name"]))


def head(repo: str, revision: str | None = None) -> str | None:
    """The commit that a revision stands for now; None: no such repository or revision for this token."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    with _translated(repo, revision):
        try:
            return _api().model_info(require_repo(repo), revision=revision).sha
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return None


def read_file(repo: str, path: str, revision: str | None = None) -> bytes | None:
    """The bytes of one file; None where the repository has no such file."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    with _translated(repo, revision):
        try:
            return Path(_api().hf_hub_download(require_repo(repo), path, revision=revision)).read_bytes()
        except LocalEntryNotFoundError:  # the Hub did not answer, which says nothing about the file
            raise
        except EntryNotFoundError:
            return None


def create_repo(repo: str, private: bool) -> bool:
    """Make a repository for a model; False where there is one already, which stays as it is."""
    if head(repo) is not None:
        return False
    with _translated(repo):
        _api().create_repo(repo, private=private)
    return True


def commit(
    repo: str,
    files: Mapping[str, Path | bytes],
    message: str,
    *,
    delete: Iterable[str] = (),
    revision: str | None = None,
    create_pr: bool = False,
    parent: str | None = None,
) -> Commit:
    """Write ``files`` (path in the repository -> file or bytes) and ``delete`` others: all or nothing.

    Files that the repository has already are not sent; if that is all, there is no new commit and the
    present one is returned. ``revision``: a branch, made from the main one if there is none, or with
    ``create_pr`` what the pull request is against. ``parent``: the commit that this one was made for; if
    another has come in between, HubError.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.errors import RevisionNotFoundError

    def send() -> Commit:
        additions = [CommitOperationAdd(path, data) for path, data in sorted(files.items())]
        made = _api().create_commit(
            require_repo(repo), [*additions, *(CommitOperationDelete(path) for path in delete)],
            commit_message=message, revision=revision, create_pr=create_pr, parent_commit=parent,
        )  # fmt: skip
        return Commit(str(made.commit_url), made.oid, made.pr_url)

    with _translated(repo, revision):
        try:
            return send()
        except RevisionNotFoundError:
            if create_pr or revision is None:
                raise
            _api().create_branch(repo, branch=revision, exist_ok=True)
            return send()


def whoami() -> str:
    """The user whom the token belongs to; HubError without a valid one."""
    with _translated(None):
        return str(_api().whoami()["name"])


def card_metadata(text: str) -> tuple[dict[str, Any], str]:
    """A card's metadata (the YAML at its head; {} if there is none) and its Markdown body.

    HubError where the metadata are no valid YAML mapping.
    """
    from huggingface_hub import RepoCard

    try:
        with _quiet():
            card = RepoCard(text)
    except Exception as error:  # YAML's own errors, and ValueError for anything but a mapping
        where = str(getattr(error, "problem_mark", "")).strip() or type(error).__name__
        raise HubError("The card's metadata cannot be read as YAML", got=where) from None
    return dict(card.data.to_dict()), str(card.text)


def card_text(metadata: Mapping[str, Any], body: str) -> str:
    """The card that :func:`card_metadata` takes apart: keys keep their order."""
    from huggingface_hub import CardData

    head_of = CardData(**metadata).to_yaml(original_order=list(metadata))
    return f"---\n{head_of}\n---\n{body}"


def _api() -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(library_name=LIBRARY, library_version=version(LIBRARY))


@contextmanager
def _translated(repo: str | None, revision: str | None = None) -> Iterator[None]:
    """Turns the client's exceptions into ours, without their chain, which holds addresses and headers."""
    try:
        with _quiet():
            yield
    except Exception as error:
        if repo and hub_errors.is_a(error, "RevisionNotFoundError"):
            ours: Exception | None = _no_revision(repo, str(revision))
        else:
            ours = hub_errors.translated(error, repo, revision)
        if ours is None:
            raise
        raise ours from None


def _no_revision(repo: str, revision: str) -> HubError:
    """The error for a revision that a repository lacks, with those that it has."""
    try:
        with _quiet():
            refs = _api().list_repo_refs(repo)
    except Exception:  # the list is a service; what is missing is known without it
        return HubError(f"{repo} has no revision {revision!r}")
    names = [ref.name for ref in (*refs.branches, *refs.tags)]
    near = get_close_matches(revision, names, n=3)
    return HubError(
        f"{repo} has no revision {revision!r}",
        expected=f"a branch, a tag ({', '.join(names[:8])}) or the 40 digits of a commit",
        fix=f"Nearest: {', '.join(near)}" if near else None,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the client's remarks, which repeat addresses with signatures, off the terminal, and its bars
    off anything else."""
    from huggingface_hub import utils

    before = utils.logging.get_verbosity()
    hide = not sys.stderr.isatty() and not utils.are_progress_bars_disabled()
    utils.logging.set_verbosity_error()
    if hide:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.logging.set_verbosity(before)
        if hide:
            utils.enable_progress_bars()
