"""The Hugging Face Hub: fetch repositories, list them, and write to them in one atomic commit.

The only module that imports huggingface_hub, and only inside functions: it reads the environment (HF_HOME,
HF_ENDPOINT, HF_HUB_OFFLINE) on import, and most commands do not need it.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hsrzoo.errors import HubError
from hsrzoo.hub import errors, verify
from hsrzoo.hub.errors import at
from hsrzoo.hub.ids import is_revision, suggest_repo
from hsrzoo.hub.retry import bounded_waits, retried

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo

Kind = Literal["model", "dataset"]
"""Of a repository."""
LIBRARY = "hsrzoo"
"""``library_name`` of cards, by which the Hub finds repositories of this zoo."""
PATTERNS = ("config.json", "README.md", "*.safetensors", "results/*.jsonl")
"""Files to download of a repository; ``*`` also matches folders, such as that of codebooks."""
_PART = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9_])?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SNAPSHOT = re.compile(r"/models--(.+?)--(.+)/snapshots/([0-9a-f]{40})$")
_LONGEST = 96


@dataclass(frozen=True)
class State:
    """A repository as :func:`state` found it."""

    repo: str
    oid: str
    """The commit, 40 hex digits."""
    private: bool
    files: Mapping[str, str]
    """Path -> digest: sha256 of large files, git's blob sha1 of others."""


def require_repo(text: str) -> str:
    """``text`` if it is a valid name of a repository, else HubError with a similar valid name."""
    parts = text.split("/")
    fits = len(parts) == 2 and all(_PART.fullmatch(part) for part in parts) and len(text) <= _LONGEST
    if fits and not re.search(r"--|\.\.", text) and not text.endswith(".git"):
        return text
    better = suggest_repo(text)
    raise HubError(
        f"{text!r} is not the name of a repository on the Hub",
        expected="ORG/NAME of letters, digits and - _ . (first a letter or digit, last neither - nor ., "
        f"no -- or ..), {_LONGEST} characters at most",
        fix=f"For example {better}" if better and len(better) <= _LONGEST else None,
    )


def require_revision(text: str) -> str:
    """``text`` if it is a valid branch, tag, pull request or commit, else HubError."""
    if is_revision(text):
        return text
    raise HubError(
        f"{text!r} is not a valid revision",
        expected="a branch, a tag, refs/pr/NUMBER or a commit, of letters, digits and - _ . /",
    )


def pull(repo: str, revision: str | None = None, *, force: bool = False) -> Path:
    """Download a repository into the Hub's cache and verify every file.

    With HF_HUB_OFFLINE=1, or if the Hub does not answer, the cached version is used.

    Args:
        repo: ``org/name``.
        revision: a branch, tag, pull request (refs/pr/1) or commit; None: the main branch.
        force: download cached files again.

    Returns:
        The folder in the cache; its name is the commit.

    Raises:
        HubError, WeightsError, StoreError: the repository is missing, foreign or damaged, or the disk full.
    """
    with _translate(require_repo(repo), revision):
        folder = _fetch(repo, revision, force)
    verify.check_digests(folder, at(repo, revision))
    verify.check_config(folder, at(repo, revision))
    return folder


def origin_of(folder: Path) -> dict[str, str] | None:
    """The ``repo`` and ``revision`` (a commit) that a folder returned by :func:`pull` holds; None for any
    other folder. Nothing is imported or requested."""
    found = _SNAPSHOT.search(folder.absolute().as_posix())
    return {"repo": f"{found[1]}/{found[2]}", "revision": found[3]} if found else None


def _fetch(repo: str, revision: str | None, force: bool) -> Path:
    from huggingface_hub import constants, is_offline_mode, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    def snapshot(local_files_only: bool = False) -> Path:
        found = snapshot_download(
            repo, revision=revision, allow_patterns=list(PATTERNS), local_files_only=local_files_only,
            force_download=force, library_name=LIBRARY, library_version=version(LIBRARY),
        )  # fmt: skip
        return Path(found)

    if is_offline_mode() and not force:
        return snapshot(local_files_only=True)
    last = None
    if not force:
        # Looked up first: a download that fails in the middle has moved the branch in the cache already.
        with suppress(LocalEntryNotFoundError):
            last = snapshot(local_files_only=True)
    if last and revision and _COMMIT.fullmatch(revision):  # a commit never changes
        return last
    try:
        info = retried(
            lambda: _api().model_info(repo, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        )
        verify.require_safetensors([file.rfilename for file in info.siblings or ()], at(repo, revision))
        found = retried(snapshot)
        if found != last or found.name == info.sha:
            return found
        problem = "fails"  # and the client has taken the cache without a word
    except Exception as error:
        if last is None or not errors.is_unreachable(error):
            raise
        status = errors.status_of(error)
        problem = "does not answer" if status is None else f"fails (status {status})"
    with suppress(OSError):  # the branch may stand for a newer commit already, of which files are missing
        Path(last.parents[1], "refs", revision or "main").write_text(last.name)
    used = f"using the last pulled version of {at(repo, revision)}, commit {last.name[:8]}"
    warnings.warn(f"The Hub {problem}: {used}.", stacklevel=4)
    return last


def list_repos(org: str) -> list[dict[str, Any]]:
    """Repositories of this zoo by a user or organisation that this token may read, by name.

    Keys: name, private, updated (ISO date or None), downloads (of the last 30 days), tags, and card, the
    metadata of the card as they are.
    """
    if not _PART.fullmatch(org):
        problem = f"{org!r} is not the name of a user or organisation"
        raise HubError(problem, expected="letters, digits and - _ .")
    with _translate(f"the repositories of {org}"):
        found = retried(
            lambda: list(_api().list_models(author=org, filter=LIBRARY, full=True, cardData=True))
        )
    rows = [
        {
            "name": one.id,
            "private": bool(one.private),
            "updated": one.last_modified.date().isoformat() if one.last_modified else None,
            "downloads": one.downloads,
            "tags": sorted(tag for tag in one.tags or () if tag != LIBRARY),
            "card": _card_of(one),
        }
        for one in found
    ]
    return sorted(rows, key=lambda row: str(row["name"]))


def _card_of(info: ModelInfo) -> dict[str, Any]:
    """The metadata of a card; the Hub keeps its ``model-index`` apart."""
    own = info.card_data.to_dict() if info.card_data else {}
    return own if info.model_index is None else {**own, "model-index": info.model_index}


def head(repo: str, revision: str | None = None, kind: Kind = "model") -> str | None:
    """The current commit of a revision; None: this token sees no such repository or revision."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    with _translate(repo, revision):
        try:
            return retried(
                lambda: _api().repo_info(require_repo(repo), revision=revision, repo_type=kind)
            ).sha
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return None


def state(repo: str, branch: str | None = None, kind: Kind = "model") -> State | None:
    """Current state of a branch; None: this token sees no such repository. A missing branch has the state
    of the main branch, from which :func:`commit` creates it."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    with _translate(repo, branch):
        try:
            info = retried(
                lambda: _api().repo_info(
                    require_repo(repo), revision=branch, repo_type=kind, files_metadata=True
                )
            )
        except RevisionNotFoundError:
            info = retried(lambda: _api().repo_info(repo, repo_type=kind, files_metadata=True))
        except RepositoryNotFoundError:
            return None
    found = getattr(info, "siblings", None) or ()
    files = {f.rfilename: f.lfs.sha256 if f.lfs else str(f.blob_id) for f in found}
    return State(repo, str(info.sha), bool(info.private), files)


def read_file(repo: str, path: str, revision: str | None = None, kind: Kind = "model") -> bytes | None:
    """The bytes of one file; None if the repository has no such file."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    with _translate(repo, revision):
        try:
            file = retried(
                lambda: _api().hf_hub_download(require_repo(repo), path, revision=revision, repo_type=kind)
            )
            return Path(file).read_bytes()
        except LocalEntryNotFoundError:  # the Hub did not answer: the file may exist
            raise
        except EntryNotFoundError:
            return None


def create_repo(repo: str, private: bool, kind: Kind = "model") -> None:
    """Create a repository; HubError if it exists."""
    attempts = count()

    def create() -> None:  # an attempt that failed for the client may have created it
        exists = next(attempts) > 0
        _api().create_repo(require_repo(repo), private=private, exist_ok=exists, repo_type=kind)

    with _translate(repo):
        retried(create)


def commit(
    repo: str,
    files: Mapping[str, Path | bytes],
    message: str,
    *,
    delete: Iterable[str] = (),
    revision: str | None = None,
    create_pr: bool = False,
    parent: str | None = None,
    kind: Kind = "model",
) -> str:
    """Write ``files`` (path in the repository -> file or bytes) and ``delete`` others: all or nothing.

    Returns the address of the commit, or of the pull request. Unchanged files are not sent; if all are
    unchanged, there is no new commit and the address is that of the current one. ``revision``: a branch,
    created from the main one if it is missing; with ``create_pr`` the base of the pull request.
    ``parent``: the expected current commit; HubError if there is a newer one.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.errors import RevisionNotFoundError

    def send() -> str:
        additions = [CommitOperationAdd(path, data) for path, data in sorted(files.items())]
        made = _api().create_commit(
            require_repo(repo), [*additions, *(CommitOperationDelete(path) for path in delete)],
            commit_message=message, revision=revision, create_pr=create_pr, parent_commit=parent,
            repo_type=kind,
        )  # fmt: skip
        return made.pr_url or str(made.commit_url)

    def again(status: int | None) -> bool:
        # After a failure the pull request may exist. A second commit has the wrong parent and is refused.
        return status == 429 or not create_pr

    with _translate(repo, revision):
        try:
            return retried(send, again)
        except RevisionNotFoundError:
            if create_pr or revision is None:
                raise
            retried(lambda: _api().create_branch(repo, branch=revision, exist_ok=True, repo_type=kind))
            return retried(send, again)


def evaluation_entries(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Fields of EvalResultEntry as the Hub's ``.eval_results`` files have them."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    return eval_result_entries_to_yaml([EvalResultEntry(**entry) for entry in entries])


def whoami() -> str:
    """The user of the token; HubError without a valid token."""
    with _translate(None):
        return str(retried(lambda: _api().whoami())["name"])


def _api() -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(library_name=LIBRARY, library_version=version(LIBRARY))


@contextmanager
def _translate(repo: str | None, revision: str | None = None) -> Iterator[None]:
    """Translate the client's exceptions, without their chain, which contains URLs and headers."""
    try:
        with _quiet(), bounded_waits():
            yield
    except Exception as error:
        if repo and errors.is_a(error, "RevisionNotFoundError"):
            ours: Exception | None = _no_revision(repo, str(revision))
        else:
            ours = errors.translate(error, repo, revision)
        if ours is None:
            raise
        raise ours from None


def _no_revision(repo: str, revision: str) -> HubError:
    """The error for a missing revision, with those that exist."""
    try:
        with _quiet():
            refs = _api().list_repo_refs(repo)
    except Exception:  # the list is optional
        return HubError(f"{repo} has no revision {revision!r}")
    names = [ref.name for ref in (*refs.branches, *refs.tags)]
    near = get_close_matches(revision, names, n=3)
    return HubError(
        f"{repo} has no revision {revision!r}",
        expected=f"a branch or tag ({', '.join(names[:8])}) or the 40 digits of a commit",
        fix=f"Nearest: {', '.join(near)}" if near else None,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the client's messages, which contain signed URLs, and its bars if stderr is no terminal."""
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
