"""What ``hsrzoo predict`` shows on stderr: a bar over tiles and images, and what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hsrzoo.prediction.predict import PredictReport, Progress, Step


class Bar:
    """A bar on stderr, over all tiles of all passes or over several images, and a way to say something
    beside it."""

    def __enter__(self) -> Bar:
        from hsrzoo.cli.output import progress

        self.bar = progress().__enter__()
        self.task = self.bar.add_task("", total=None)
        self.images = 0
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.__exit__(*error)

    def show(self, step: Step) -> None:
        """Move on."""
        self.bar.update(
            self.task,
            description=f"pass {step.current} of {step.passes}",
            total=step.passes * step.total,
            completed=(step.current - 1) * step.total + step.done,
        )

    def count(self, total: int) -> None:
        """There will be so many images."""
        self.bar.update(self.task, description="images", total=total)

    def part(self, image: int) -> Progress:
        """Show the tiles of an image as a part of one step."""

        def show(step: Step) -> None:
            done = (step.current - 1) * step.total + step.done
            self.bar.update(self.task, completed=image + done / (step.passes * step.total))

        return show

    def next(self) -> None:
        """One more image is done."""
        self.images += 1
        self.bar.update(self.task, completed=self.images)

    def say(self, text: str) -> None:
        """One line for the reader."""
        self.bar.console.print(text, markup=False, soft_wrap=not self.bar.console.is_terminal)


def summary(report: PredictReport) -> str:
    """What was done, in one line or two."""
    height, width = report.size
    how = "whole" if report.tiles == 1 else (
        f"{report.tiles} tiles of {report.tile[0]} x {report.tile[1]} pixels, {report.halo} around them"
    )  # fmt: skip
    passes = f"{report.passes} pass{'es' * (report.passes != 1)}"
    text = (
        f"{report.out}: {height} x {width} pixels, {report.bands} bands, {report.bytes / 1e6:,.1f} MB; "
        f"{how}, {passes}{' (some by an earlier run)' if report.resumed else ''}, {report.seconds:.1f} s"
    )
    text += f"; quick look {report.picture}" if report.picture else ""
    return text + (f"\nApproximate tiles: {report.difference}" if report.difference else "")
