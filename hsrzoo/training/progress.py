"""Progress on stderr: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping

QUIET_SECONDS = 30.0
"""Between two lines where stderr is not a terminal."""


class Progress:
    """``with Progress(steps, done, shown) as p: p.update(done, figures)``."""

    def __init__(self, steps: int, done: int, shown: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self.steps, self.shown = steps, shown
        self.console = Console(stderr=True)
        self._last = time.monotonic()
        self._start, self._start_done = self._last, done
        self._bar = Bar(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=self.console,
            refresh_per_second=1,  # its thread must not take time from the training
            disable=not (shown and self.console.is_terminal),
        )
        self._task = self._bar.add_task("training", total=steps, completed=done, text="")

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """One line for the reader."""
        if self.shown:
            soft = not self.console.is_terminal  # only a terminal has a width to wrap at
            self.console.print(text, markup=False, highlight=False, soft_wrap=soft)

    def update(self, done: int, figures: Mapping[str, float]) -> None:
        """Tell that ``done`` steps are done."""
        loss = f"loss {figures['loss']:.4g}"
        if not self._bar.disable:
            self._bar.update(self._task, completed=done, text=loss)
            return
        now = time.monotonic()
        if now - self._last < QUIET_SECONDS and done != self.steps:
            return
        self._last = now
        left = (now - self._start) / max(done - self._start_done, 1) * (self.steps - done)
        self.say(f"step {done}/{self.steps}  {loss}  lr {figures['lr']:.2e}  {left:.0f} s left")

    def validated(self, done: int, figures: Mapping[str, float]) -> None:
        """Show the figures of a validation."""
        if figures:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            self.say(f"step {done}/{self.steps}  held out: {shown}")
