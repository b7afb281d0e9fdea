"""Calls that the Hub could not answer now are repeated after the wait that it asks for."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from hsrzoo.hub.errors import is_busy, response_of

T = TypeVar("T")

LONGEST_WAIT = 60.0
"""Seconds. A server that asks for more gets no second request: the cache is used, or the error raised."""
PATIENCE = 120.0
"""Seconds after which a call is not repeated any more."""
_WAITS = (1.0, 2.0, 4.0)
"""Seconds before the second, third and fourth attempt, where the server asks for nothing."""
_SAID = 5.0
"""Waits of this many seconds or more are announced."""


def retried(call: Callable[[], T], again: Callable[[int | None], bool] = lambda status: True) -> T:
    """The result of ``call``, repeated while the Hub answers that it is busy or fails (429 and 5xx).

    Args:
        call: Any calls of the client; what was done before the failure must not matter to the next attempt.
        again: Whether a status allows another attempt, for calls that must not be made twice.

    Raises:
        Exception: The last error of ``call``.
    """
    begin = time.monotonic()
    for wait in _WAITS:
        try:
            return call()
        except Exception as error:
            response = response_of(error)
            if not is_busy(error) or not again(getattr(response, "status_code", None)):
                raise
            asked = asked_wait(response)
            wait = wait if asked is None else asked
            if wait > LONGEST_WAIT or time.monotonic() + wait - begin > PATIENCE:
                raise
            if wait >= _SAID:
                status = getattr(response, "status_code", "")
                warnings.warn(f"The Hub is busy (status {status}): waiting {wait:.0f} s.", stacklevel=2)
            time.sleep(wait)
    return call()


def asked_wait(response: Any) -> float | None:
    """Seconds that a response asks to wait: ``Retry-After`` as a number or a date, or the time until a
    ``RateLimit`` that is used up is reset; None where it asks for nothing."""
    headers = getattr(response, "headers", None) or {}
    after = str(headers.get("retry-after") or "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", after):
        return float(after)
    try:
        date = parsedate_to_datetime(after)
    except ValueError:
        limit = re.search(r"\br=0\b.*\bt=(\d+)", str(headers.get("ratelimit") or ""))
        return float(limit[1]) if limit else None
    date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
    return max(0.0, (date - datetime.now(timezone.utc)).total_seconds())


@contextmanager
def bounded_waits() -> Iterator[None]:
    """The client's own attempts, which sleep as long as any server asks, end at :data:`LONGEST_WAIT`."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import hf_raise_for_status

    def refuse_long_waits(response: Any) -> None:
        if response.status_code in (429, 500, 502, 503, 504) and (asked_wait(response) or 0) > LONGEST_WAIT:
            response.read()
            hf_raise_for_status(response)

    session = get_session()
    before = session.event_hooks
    session.event_hooks = {**before, "response": [*before.get("response", []), refuse_long_waits]}
    try:
        yield
    finally:
        session.event_hooks = before
