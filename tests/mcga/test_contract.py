"""Every MCGA variant meets the contract of all models."""

from dataclasses import replace
from functools import partial

import pytest

from contract import ModelContract
from hsrzoo.contract.checks import CHECKS, Subject
from hsrzoo_mcga.plugin import MCGA_S1, MCGA_S2, MCGA_S3, MCGA_S4
from hsrzoo_mcga.stage2.build import build

SLOW = ("export",)
"""Tracing takes up to a minute a network; the narrow ones below have the same layers."""


class TestMcgaS1(ModelContract):
    spec = MCGA_S1
    long = SLOW


class TestMcgaS2(ModelContract):
    spec = MCGA_S2
    long = SLOW


class TestMcgaS3(ModelContract):
    spec = MCGA_S3
    long = SLOW


class TestMcgaS4(ModelContract):
    spec = MCGA_S4
    long = SLOW


@pytest.mark.long  # tests/export runs the graph of one scale
@pytest.mark.parametrize("scales", [1, 2])
def test_narrow_networks_are_exported(scales: int) -> None:
    blocks = {1: (1,), 2: (0, 0)}[scales]  # tests/export traces a block
    narrow = {"widths": (8,) * scales, "blocks": blocks, "stem": 4, "latent": 8}
    spec = replace(
        MCGA_S2,
        build=partial(build, **narrow, n_codes=24, head=8, k=8),
        input=replace(MCGA_S2.input, multiple=2**scales, min_size=2**scales),
        variants={},
    )
    assert CHECKS["export"](Subject(spec))
