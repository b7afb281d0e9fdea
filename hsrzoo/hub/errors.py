"""Exceptions of the Hub's client translated into messages for users.

The exceptions of huggingface_hub are recognised by the names of their classes: those of its HTTP library
and of hf_xet are not part of its public interface, and nothing is imported here.
"""

from __future__ import annotations

import errno
import re
from typing import Any

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


def response_of(error: BaseException | None) -> Any:
    """The HTTP response that an exception, or the cause of one about the client's cache, stands for."""
    if is_a(error, "LocalEntryNotFoundError") and error is not None and error.__cause__ is not None:
        return response_of(error.__cause__)
    return getattr(error, "response", None)


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status that an exception stands for."""
    status = getattr(response_of(error), "status_code", None)
    return status if isinstance(status, int) else None


def is_busy(error: BaseException | None) -> bool:
    """True if the Hub answered that it is not available now, or not to this user."""
    status = status_of(error) or 0
    return status == 429 or status >= 500


def is_unreachable(error: BaseException | None) -> bool:
    """True if the Hub did not answer, or answered that it is not available now."""
    if status_of(error) is not None:
        return is_busy(error)
    cause = error.__cause__ if is_a(error, "LocalEntryNotFoundError") and error is not None else None
    return is_a(cause or error, "RequestError", "ConnectionError")


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
    if is_a(error, "RuntimeError") and isinstance(error.__cause__, Exception):  # of an upload
        return _of_upload(error.__cause__, where)
    if is_a(error, "LocalProtocolError", "UnicodeEncodeError"):  # of the header, whose value is not shown
        return HubError(
            "The token for the Hub holds characters that no token has", fix=f"For this, {LOGIN}"
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
    if is_a(error, "ValueError") and str(error).startswith("LFS batch API returned errors"):
        said = str(error).partition("\n")[2].replace("`", "")
        return HubError(f"The Hub takes no large files for {where}", got=_safe(said))
    return _unexpected(error, where) if _raised_by_client(error) else None


def _of_upload(error: Exception, where: str) -> HubError:
    """The error of sending a large file, ``error`` being its cause."""
    if not is_unreachable(error):
        status = status_of(error)
        said = _safe(_said(error)) or type(error).__name__
        return HubError(
            f"The storage of the Hub does not take a file for {where}",
            got=said if status is None else f"status {status}: {said}",
            fix="Nothing was committed. Check that the token has write access and that there is room left "
            "for your account",
        )
    return HubError(
        f"The upload to {where} was interrupted",
        got=type(error).__name__,
        fix="Push again: nothing was committed, and large files that are complete are not sent again",
    )


def _raised_by_client(error: BaseException) -> bool:
    """Whether an exception was raised inside the client or its HTTP library."""
    trace, module = error.__traceback__, ""
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__"))
        trace = trace.tb_next
    return module.partition(".")[0] in ("huggingface_hub", "hf_xet", "httpx", "httpx2")


def _unexpected(error: Exception, where: str) -> HubError:
    """The error for an answer that makes the client fail."""
    return HubError(
        f"The Hub's answer about {where} cannot be used",
        expected="an answer of the Hub's interface",
        got=_safe(f"{type(error).__name__}: {error}"),
        fix="Check HF_ENDPOINT, and update the client: pip install --upgrade huggingface-hub",
    )


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
        wait = response_of(error).headers.get("Retry-After")
        fix = f"Wait {wait} seconds and try again" if wait else f"Wait a few minutes; or {LOGIN}"
        return HubError("The rate limit of the Hub is exceeded", got="status 429", fix=f"{fix}; {OFFLINE}")
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
