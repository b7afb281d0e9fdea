"""What MkDocs does to a page besides Markdown: files of the repository on it, notes for tests.

``<!-- include: PATH -->`` stands for a Markdown file of the repository, or any other file as a code block;
``<!-- test: ... -->`` tells tests/docs how to run the next block and is not for readers.
"""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from textwrap import indent
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
INCLUDE = re.compile(r"^<!-- include: (\S+) -->$", re.MULTILINE)
FOR_TESTS = re.compile(r"^<!-- test: .* -->\n", re.MULTILINE)
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```\n(?=hsrzoo |make |python |torchrun |pip )", re.MULTILINE)
AS_IS = re.compile(r"^\x08\n((?:.+\n?)+)", re.MULTILINE)
TITLE = re.compile(r"\A# .*\n")
SHORT = re.compile(r"<code>(?=[^<\n]{1,30}</code>)")
ROLE = re.compile(r":\w+:<code>[~.]?([^<]+)</code>")


def on_config(config: Any) -> Any:
    """The version of the installed package, below each page."""
    config.copyright = f"hsrzoo {import_module('hsrzoo').__version__}"
    return config


def on_pre_build(**_: Any) -> None:
    """Lines that click is told to leave as they are become code in the command-line reference."""
    main = import_module("hsrzoo.cli.main")
    for name, entries in main.entry_points_of(main.GROUP).items():
        command = main.load_command(name, entries)
        for each in (command, *getattr(command, "commands", {}).values()):
            text = inspect.cleandoc(each.help or "")
            each.help = AS_IS.sub(lambda found: indent(found[1], " " * 4), text)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page's Markdown as it is rendered."""
    return FOR_TESTS.sub("", included(markdown))


def on_page_content(html: str, **_: Any) -> str:
    """Docstrings name classes and functions as Sphinx does (``:class:``): the name alone is shown. Short
    code gets a class of its own, by which docs/hsrzoo.css keeps names and options on one line."""
    return SHORT.sub('<code class="short">', ROLE.sub(r"<code>\1</code>", html))


def included(markdown: str) -> str:
    """``markdown`` with the files that it includes; commands in them are fenced as ``sh``. A page has one
    title: that of a file is left out where the page has its own."""
    titled = TITLE.search(markdown) is not None
    return FENCE.sub("```sh\n", INCLUDE.sub(lambda found: _file(found[1], titled), markdown))


def _file(name: str, titled: bool) -> str:
    text = (ROOT / name).read_text(encoding="utf-8").strip()
    if not name.endswith(".md"):
        return f"```text\n{text}\n```"
    text = TITLE.sub("", text, count=1) if titled else text
    return LINK.sub(lambda found: _link(found[1], found[2]), text)


def _link(text: str, target: str) -> str:
    """A link of a file of the repository, seen from a page in docs; what is no page loses its link."""
    if "://" in target or target.startswith("#"):
        return f"[{text}]({target})"
    inside = target.removeprefix("docs/")
    return f"[{text}]({inside})" if inside != target else text
