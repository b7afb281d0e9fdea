"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: bool = False) -> str:
    """Lines of a table; ``numeric``: all columns but the first are aligned to the right."""
    rule = ["---", *["---:" if numeric else "---"] * (len(headings) - 1)]
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in (headings, rule, *escaped))
