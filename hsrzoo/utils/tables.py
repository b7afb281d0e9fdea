"""Small tables of numbers that users write: any encoding, separator and decimal mark."""

from __future__ import annotations

import codecs
import csv

import numpy as np


def decode(content: bytes) -> str:
    """The text of a file: UTF-16 or UTF-8, with or without a mark, else Latin-1."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    if content[1:2] == b"\0":
        return content.decode("utf-16-le", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def rows_of(text: str) -> list[list[str]]:
    """Cells of the lines that are neither empty nor comments."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    separator = next((mark for mark in (";", "\t") if any(mark in line for line in lines)), ",")
    if lines and "," not in lines[0] and not is_number(lines[0]):
        separator = "\t" if separator == "," else separator  # one column: commas below are decimal
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)]
    return [row for row in rows if any(row)]


def number(cell: str) -> float:
    """A number with a decimal point or comma."""
    return float(cell.replace(",", ".") if "." not in cell else cell)


def is_number(cell: str) -> bool:
    """Whether a cell is a finite number, with a decimal point or comma."""
    try:
        return bool(np.isfinite(number(cell)))
    except ValueError:
        return False
