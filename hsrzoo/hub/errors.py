"""What went wrong on the Hub, in the user's words.

The client's exceptions are known by the names of their classes, so that nothing of it is imported here and
its HTTP library, which changes between its versions, need not be known.
"""

from __future__ import annotations

import errno
import re

from hsrzoo.errors import HsrzooError, HubError, StoreError

_TOKEN = re.compile(r"hf_\w{4,}")
LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
OFFLINE = "what was pulled before can be used with HF_HUB_OFFLINE=1"


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
    """True where the Hub gave no answer, or said that it cannot give one now."""
    status = status_of(error)
    return is_a(error, "RequestError", "ConnectionError") if status is None else status >= 500


def translated(error: Exception, repo: str | None, revision: str | None = None) -> HsrzooError | None:
    """The error for the user; None for an exception that is a mistake in this program.

    ``repo`` and ``revision``: what was asked for; no repository: the user.
    """
    where = at(repo, revision) if repo else "your account"
    if is_a(error, "LocalEntryNotFoundError"):  # the client looked at its cache because of its cause
        cause = error.__cause__
        if isinstance(cause, Exception) and not is_a(cause, "OfflineModeIsEnabled"):
            return translated(cause, repo, revision) or unreachable(cause, where)
        return not_cached(where)
    if is_a(error, "RuntimeError") and is_unreachable(error.__cause__):  # how the client calls an upload
        return HubError(
            f"The upload to {where} broke off",
            got=type(error.__cause__).__name__,
            fix="Push again: nothing was committed, and large files that arrived are not sent twice",
        )
    if is_a(error, "XetAuthenticationError"):  # an OSError of the client's other way to send large files
        return refused_token()
    if is_a(error, "OfflineModeIsEnabled"):
        return HubError(
            f"HF_HUB_OFFLINE=1 keeps this machine from asking {where}",
            fix="Unset HF_HUB_OFFLINE for what needs the Hub",
        )
    if is_a(error, "LocalTokenNotFoundError"):
        return HubError("There is no token for the Hub on this machine", fix=f"For this, {LOGIN}")
    if is_a(error, "GatedRepoError"):
        return HubError(
            f"{where} is gated: its owners give access one by one",
            fix=f"Ask for access on the repository's page, and {LOGIN}",
        )
    if is_a(error, "RepositoryNotFoundError"):
        return missing(where)
    if is_a(error, "FileMetadataError", "JSONDecodeError"):
        return HubError(
            "What answers is not the Hub",
            expected=f"an answer about {where}",
            fix="Check HF_ENDPOINT, and what a proxy or a log-in page of the network puts in between",
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
    """Missing and private look alike from outside, and the message does not tell them apart."""
    return HubError(
        f"{where} does not exist on the Hub, or it is private and this token may not read it",
        fix=f"Check the name; for a private repository {LOGIN}",
    )


def refused_token() -> HubError:
    return HubError(
        "The Hub does not accept this token",
        got="a token that is wrong, expired or missing",
        fix=f"Make one at the Hub's settings and {LOGIN}",
    )


def not_cached(where: str) -> HubError:
    return HubError(
        f"{where} is not on this machine, or not completely, and HF_HUB_OFFLINE=1 forbids to fetch it",
        fix=f"Fetch it once with a connection: HF_HUB_OFFLINE=0 hsrzoo pull {where}",
    )


def unreachable(error: BaseException, where: str) -> HubError:
    """The error for a Hub that is down or cannot be reached, or a connection that broke off."""
    status = status_of(error)
    return HubError(
        "The Hub does not answer" if status is None else "The Hub fails",
        expected=f"an answer about {where}",
        got=type(error).__name__ if status is None else f"status {status}",
        fix=f"Try again (files that came whole are kept); {OFFLINE}",
    )


def _of_status(error: Exception, where: str) -> HubError:
    status = status_of(error) or 0
    if status >= 500:
        return unreachable(error, where)
    if status == 401:
        return refused_token()
    if status == 403:
        return HubError(
            f"This token may not do that to {where}",
            got=_safe(_said(error)) or "status 403",
            fix="Use a token with write access and a name of your own or of an organisation of yours",
        )
    if status in (409, 412):
        return HubError(f"{where} changed in the meantime", got=f"status {status}", fix="Try again")
    if status == 429:
        wait = error.response.headers.get("Retry-After")  # type: ignore[attr-defined]
        return HubError(
            "The Hub limits how often it can be asked",
            got="status 429",
            fix=f"Wait {wait} seconds and try again" if wait else f"Wait a few minutes; or {LOGIN}",
        )
    return HubError(f"The Hub refuses {where}", got=f"status {status}: {_safe(_said(error))}")


def _of_disk(error: Exception, where: str) -> HsrzooError:
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(
            f"The disk is full, and {where} does not fit",
            got=str(getattr(error, "strerror", None) or "no space left"),
            fix="Make room, or set HF_HOME to a folder on another disk",
        )
    if "Consistency check failed" in str(error):
        return HubError(
            f"The download of {where} broke off", fix="Try again: files that came whole are kept"
        )
    return StoreError(
        f"The files of {where} cannot be stored",
        got=_safe(str(error)),
        fix="Set HF_HOME to a folder that is writable",
    )


def _said(error: Exception) -> str:
    """The server's own sentence, without addresses."""
    return str(getattr(error, "server_message", None) or "")


def _safe(text: str) -> str:
    """One line, with what looks like a token left out."""
    return _TOKEN.sub("hf_...", " ".join(text.split())).rstrip(".")
