"""Progress on stderr: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

QUIET_SECONDS = 30.0
"""Between two lines where stderr is not a terminal."""


class Progress:
    """``with Progress(steps, done, shown) as p: p.update(done, figures)``."""

    def __init__(self, steps: int, done: int, shown: bool) -> None:
        from rich.console import Console

        self.steps, self.shown = steps, shown
        self.console = Console(stderr=True)
        self._bar: Any = None
        self._last = time.monotonic()
        self._start, self._start_done = self._last, done

    def __enter__(self) -> Progress:
        if self.shown and self.console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[text]}"),
                console=self.console,
                refresh_per_second=1,  # its thread must not take time from the training
            )
            self._bar.start()
            self._task = self._bar.add_task(
                "training", total=self.steps, completed=self._start_done, text=""
            )
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """One line for the reader."""
        if self.shown:
            soft = not self.console.is_terminal  # only a terminal has a width to wrap at
            self.console.print(text, markup=False, highlight=False, soft_wrap=soft)

    def update(self, done: int, figures: Mapping[str, float]) -> None:
        """Tell that ``done`` steps are done."""
        if self._bar is not None:
            text = f"loss {figures['loss']:.4g}"
            self._bar.update(self._task, completed=done, text=text)
            return
        now = time.monotonic()
        if not self.shown or (now - self._last < QUIET_SECONDS and done != self.steps):
            return
        self._last = now
        left = (now - self._start) / max(done - self._start_done, 1) * (self.steps - done)
        shown = f"loss {figures['loss']:.4g}  lr {figures['lr']:.2e}"
        self.say(f"step {done}/{self.steps}  {shown}  {left:.0f} s left")

    def validated(self, done: int, figures: Mapping[str, float]) -> None:
        """Show the figures of a validation."""
        if figures:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            self.say(f"step {done}/{self.steps}  held out: {shown}")
