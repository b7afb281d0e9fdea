"""The pages of docs as tests see them: code blocks, and what comments beside them tell a test.

``<!-- test: not run: REASON -->`` before a block: nobody can run it here. ``<!-- test: A => B -->``: run it
with B in A's place, so that it takes seconds. ``<!-- test: prepare: NAME -->``: make what the page has not
made itself.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
TUTORIALS = ("model", "dataset", "metric", "perturbation")
"""Pages of docs/plugins that tests/examples follows in an environment of their own."""
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NOTE = re.compile(r"^<!-- test: (.*) -->$")
_SHELL, _PYTHON = ("sh", "console"), "python"


@dataclass(frozen=True)
class Command:
    """One line of a shell block, lines that a backslash continues joined."""

    text: str
    """As the page shows it."""
    env: dict[str, str]
    words: list[str]
    """As the test runs it."""


@dataclass
class Block:
    """A code block: ``commands`` of a shell block or the ``source`` of a Python block."""

    where: str
    not_run: str = ""
    prepare: list[str] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    source: str = ""


def hooks() -> ModuleType:
    """scripts/docs_hooks.py, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "scripts" / "docs_hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages() -> list[str]:
    """Names of the pages below docs without suffix, those of the tutorials left out."""
    names = [str(path.relative_to(DOCS).with_suffix("")) for path in sorted(DOCS.rglob("*.md"))]
    return [name for name in names if name not in {f"plugins/{page}" for page in TUTORIALS}]


def blocks_of(page: str) -> list[Block]:
    """All shell and Python blocks of a page, in order, files that it includes among them."""
    text = hooks().included((DOCS / f"{page}.md").read_text(encoding="utf-8"))
    return blocks_in(text, page)


def blocks_in(text: str, page: str) -> list[Block]:
    """:func:`blocks_of` for text; AssertionError where a replacement of a note replaces nothing."""
    found, end, notes = [], 0, []
    for fence in _FENCE.finditer(text):
        between, end = text[end : fence.start()], fence.end()
        notes += [m[1] for line in between.splitlines() if (m := _NOTE.match(line))]
        if fence[1] in (*_SHELL, _PYTHON):
            line = text.count("\n", 0, fence.start()) + 1
            found.append(_block(f"{page}.md:{line}", fence[1], fence[2], notes))
            notes = []
    assert not notes, f"{page}: no block follows {notes}"
    return found


def _block(where: str, language: str, text: str, notes: list[str]) -> Block:
    block, replacements = Block(where), []
    for note in notes:
        kind, _, rest = note.partition(": ")
        if kind == "not run":
            block.not_run = rest
        elif kind == "prepare":
            block.prepare.append(rest)
        else:
            old, arrow, new = note.partition(" => ")
            assert arrow and old in text, f"{where}: {note!r} replaces nothing"
            replacements.append((old, new))
    if language == _PYTHON:
        for old, new in replacements:
            text = text.replace(old, new)
        block.source = text
        return block
    lines = text.replace("\\\n", " ").splitlines()
    block.commands = [_command(line, replacements) for line in lines if shlex.split(line, comments=True)]
    return block


def _command(line: str, replacements: list[tuple[str, str]]) -> Command:
    shown = " ".join(shlex.split(line, comments=True))
    for old, new in replacements:
        line = line.replace(old, new)
    words, env = shlex.split(line, comments=True), {}
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        name, _, value = words.pop(0).partition("=")
        env[name] = value
    return Command(shown, env, words)
