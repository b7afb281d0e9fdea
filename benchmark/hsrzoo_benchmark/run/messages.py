"""Messages of a run: at the end what was computed, left out and failed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from hsrzoo.cli import output
from hsrzoo_benchmark.grouping import group_by
from hsrzoo_benchmark.run.scores import Failure, Outcome


def stdout_width() -> int:
    """Columns of the terminal; plenty where stdout is a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 1000


def finish(outcome: Outcome, store: Path | None) -> int:
    """Say on stderr what was computed and what failed; 1 if anything failed. None: nothing was kept."""
    where = f"results in {store}" if store else "none kept"
    output.say(f"{outcome.computed} rows computed, {where}", style="dim")
    for sentence in _sentences(outcome.skipped, "Left out"):
        output.say(sentence, style="dim")
    for sentence in _sentences(outcome.failures, "Failed"):
        output.say(sentence, style="red")
    return 1 if outcome.failures else 0


def _sentences(failures: Sequence[Failure], word: str) -> list[str]:
    """One paragraph for each cause, with the scenes it struck."""
    causes = group_by(failures, lambda one: (one.what, one.error)).items()
    return [f"{word}: {', '.join(f.scene for f in own)}: {what}. {error}" for (what, error), own in causes]
