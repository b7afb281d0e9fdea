"""Names and revisions on the Hub."""

from __future__ import annotations

import re

_REQUIREMENT = re.compile(
    r"pip install [A-Za-z0-9][\w.-]*(==[\w.!+-]+)?|--plugin [\w-][\w.-]*\.py", re.ASCII
)
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]*", re.ASCII)


def is_revision(text: str) -> bool:
    """Whether ``text`` can stand after the @ of a name on the Hub."""
    return _REVISION.fullmatch(text) is not None


def is_requirement(text: object) -> bool:
    """Whether ``text`` has one of the forms in which config.json names who defines an architecture:
    ``pip install PACKAGE[==VERSION]`` or ``--plugin FILE``."""
    return isinstance(text, str) and _REQUIREMENT.fullmatch(text) is not None


def suggest_repo(text: str) -> str | None:
    """A name ORG/NAME that the Hub allows and that looks like ``text``; None where there is none."""
    parts = [re.sub(r"[^\w.]+|\.\.+", "-", part.strip(), flags=re.ASCII) for part in text.split("/")]
    words = [part.strip("-._").removesuffix(".git") for part in parts]
    return "/".join(words) if len(words) == 2 and all(words) else None
