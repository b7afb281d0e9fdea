"""Exceptions of the Hub's client translated into messages for users.

The exceptions of huggingface_hub are recognised by the names of their classes: those of its HTTP library
and of hf_xet are not part of its public interface, and nothing is imported here.
"""

from __future__ import annotations

import errno
import re

from hsrzoo.errors import HsrzooError, HubError, StoreError

_TOKEN = re.compile(r"hf_\w{4,}")
LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
OFFLINE = "what was pulled before is available with HF_HUB_OFFLINE=1"


def at(repo: str, revision: str | None) -> str:
    """``org/name`` or ``org/name@revision``."""
    return f"{repo}@{revision}" if revision else repo


def is_a(error: BaseException | None, *names: str) -> bool:
    """Whether one of the classes of an exception has one of these names."""
    return any(kind.__name__ in names for kind in type(error).__mro__)


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status that an exception stands for."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def is_unreachable(error: BaseException | None) -> bool:
    """True if the Hub did not answer, or answered that it is not available now."""
    status = status_of(error)
    return is_a(error, "RequestError", "ConnectionError") if status is None else status >= 500


def translate(error: Exception, repo: str | None, revision: str | None = None) -> HsrzooError | None:
    """The error for the user; None for an exception that is a bug of this program.

    ``repo`` and ``revision``: what was requested; no repository: the account of the user.
    """
    where = at(repo, revision) if repo else "your account"
    if is_a(error, "LocalEntryNotFoundError"):  # its cause made the client fall back to its cache
        cause = error.__cause__
        if isinstance(cause, Exception) and not is_a(cause, "OfflineModeIsEnabled"):
            return translate(cause, repo, revision) or unreachable(cause, where)
        return not_cached(where)
    if is_a(error, "RuntimeError") and is_unreachable(error.__cause__):  # of an upload
        return HubError(
            f"The upload to {where} was interrupted",
            got=type(error.__cause__).__name__,
            fix="Push again: nothing was committed, and large files that are complete are not sent again",
        )
    if is_a(error, "XetAuthenticationError"):  # an OSError of the client's other way to send large files
        return refused_token()
    if is_a(error, "OfflineModeIsEnabled"):
        problem = f"HF_HUB_OFFLINE=1 forbids contacting the Hub about {where}"
        return HubError(problem, fix="Unset HF_HUB_OFFLINE to use the Hub")
    if is_a(error, "LocalTokenNotFoundError"):
        return HubError("There is no token for the Hub on this machine", fix=f"For this, {LOGIN}")
    if is_a(error, "GatedRepoError"):
        problem = f"{where} is gated: its owners grant access to individual users"
        return HubError(problem, fix=f"Ask for access on the repository's page, and {LOGIN}")
    if is_a(error, "RepositoryNotFoundError"):
        return missing(where)
    if is_a(error, "FileMetadataError", "JSONDecodeError"):
        return HubError(
            "The server that answers is not the Hub",
            expected=f"an answer about {where}",
            fix="Check HF_ENDPOINT, and whether a proxy or a login page of the network interferes",
        )
    if is_a(error, "EntryNotFoundError", "XetObjectNotFoundError"):
        return HubError(f"{where} lacks a file", got=_safe(_said(error)))
    if status_of(error) is not None:
        return _of_status(error, where)
    if is_unreachable(error):
        return unreachable(error, where)
    if is_a(error, "OSError"):
        return _of_disk(error, where)
    if is_a(error, "ValueError") and "README.md" in str(error):
        return HubError("The Hub refuses the card's metadata", got=_safe(str(error)))
    return None


def missing(where: str) -> HubError:
    """The error for a missing or private repository, which cannot be distinguished from outside."""
    return HubError(
        f"{where} does not exist on the Hub, or it is private and this token may not read it",
        fix=f"Check the name; for a private repository {LOGIN}",
    )


def refused_token() -> HubError:
    return HubError(
        "The Hub does not accept this token",
        got="a token that is wrong, expired or missing",
        fix=f"Create one in the settings of the Hub and {LOGIN}",
    )


def not_cached(where: str) -> HubError:
    return HubError(
        f"{where} is not (or not completely) on this machine, and HF_HUB_OFFLINE=1 forbids downloading it",
        fix=f"Download it once with a connection: HF_HUB_OFFLINE=0 hsrzoo pull {where}",
    )


def unreachable(error: BaseException, where: str) -> HubError:
    """The error for a Hub that is down or unreachable, or a lost connection."""
    status = status_of(error)
    return HubError(
        "The Hub does not answer" if status is None else "The Hub fails",
        expected=f"an answer about {where}",
        got=type(error).__name__ if status is None else f"status {status}",
        fix=f"Try again (complete files are kept); {OFFLINE}",
    )


def _of_status(error: Exception, where: str) -> HubError:
    status = status_of(error) or 0
    if status >= 500:
        return unreachable(error, where)
    if status == 401:
        return refused_token()
    if status == 403:
        return HubError(
            f"This token has no permission for this on {where}",
            got=_safe(_said(error)) or "status 403",
            fix="Use a token with write access, and your own name or that of your organisation",
        )
    if status in (409, 412):
        return HubError(f"{where} changed in the meantime", got=f"status {status}", fix="Try again")
    if status == 429:
        wait = error.response.headers.get("Retry-After")  # type: ignore[attr-defined]
        fix = f"Wait {wait} seconds and try again" if wait else f"Wait a few minutes; or {LOGIN}"
        return HubError("The rate limit of the Hub is exceeded", got="status 429", fix=fix)
    return HubError(f"The Hub rejects a request for {where}", got=f"status {status}: {_safe(_said(error))}")


def _of_disk(error: Exception, where: str) -> HsrzooError:
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(
            f"The disk is full, and {where} does not fit",
            got=str(getattr(error, "strerror", None) or "no space left"),
            fix="Make room, or set HF_HOME to a folder on another disk",
        )
    if "Consistency check failed" in str(error):
        fix = "Try again: complete files are kept"
        return HubError(f"The download of {where} was interrupted", fix=fix)
    problem, fix = f"The files of {where} cannot be stored", "Set HF_HOME to a folder that is writable"
    return StoreError(problem, got=_safe(str(error)), fix=fix)


def _said(error: Exception) -> str:
    """The message of the server, without URLs."""
    return str(getattr(error, "server_message", None) or "")


def _safe(text: str) -> str:
    """One line, without anything that looks like a token."""
    return _TOKEN.sub("hf_...", " ".join(text.split())).rstrip(".")
