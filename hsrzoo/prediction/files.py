"""Names of the files that a prediction writes beside its cube."""

from __future__ import annotations

from pathlib import Path

from hsrzoo.models.reconstruction import METAMER, Level


def half_widths_of(cube: Path, level: float) -> Path:
    """The file of half-widths beside a cube file: ``NAME.interval90.SUFFIX``."""
    return cube.with_name(f"{cube.stem}.interval{100 * level:g}{cube.suffix}")


def unfamiliar_of(cube: Path) -> Path:
    """The map of unfamiliar pixels beside a cube file: ``NAME.unfamiliar.tif``."""
    return cube.with_name(f"{cube.stem}.unfamiliar.tif")


def ends_beside(cube: Path) -> list[Path]:
    """The files of lower and of upper ends beside a cube file: ``NAME.metamer-lower.SUFFIX``."""
    return [cube.with_name(f"{cube.stem}.metamer-{end}{cube.suffix}") for end in ("lower", "upper")]


def outputs(cube: Path, level: Level | None) -> list[Path]:
    """All files of a prediction."""
    if level is None:
        return [cube]
    if level == METAMER:
        return [cube, *ends_beside(cube)]
    return [cube, half_widths_of(cube, level), unfamiliar_of(cube)]


__all__ = ["ends_beside", "half_widths_of", "outputs", "unfamiliar_of"]
