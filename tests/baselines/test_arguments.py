"""Arguments of the networks: what cannot be built is refused, the least that can be built predicts."""

from __future__ import annotations

import pytest
import torch
from networks import build

from hsrzoo.errors import BandsError, InputError


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        *[("hinet", "depth", value) for value in (0, 1, 6, 2.5, "4", True)],
        *[
            ("mst-l", "blocks", value)
            for value in ([1, 2], [1, 2, 3, 4], [1, 1, -1], 3, "123", [1, 1, 1.5])
        ],
        *[("restormer", "blocks", value) for value in ([1], [1, 1, 1, -1], 4, None)],
        ("restormer", "refinement", -1),
        ("edsr", "blocks", -1),
        ("edsr", "blocks", [2]),
        ("awan", "blocks", -1),
        *[("awan", "width", value) for value in (8, 15)],
        ("hdnet", "blocks", 0),
        ("mprnet", "cabs", -1),
        ("mirnet", "groups", 0),
        ("mirnet", "blocks", 0),
        *[(name, "stages", -1) for name in ("mst-plus-plus", "hysat", "msfn", "ssthyper")],
        ("hscnn-plus", "blocks", -1),
    ],
)
def test_counts_that_cannot_be_built_are_refused_by_name(name: str, argument: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"argument {argument} .*whole number.*Got "):
        build(name, 5, **{argument: value})


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("agdnet", {"stages": 0}, "1 or more"),
        ("hdnet", {"blocks": 0}, "at least 1"),
        ("mirnet", {"groups": 0}, "at least 1"),
        ("mirnet", {"blocks": 0}, "at least 1"),
        ("hrnet", {"width": 2}, "multiple of 4"),
        ("hrnet", {"width": 6}, "multiple of 4"),
        ("poly", {"degree": 5}, "0 to 4"),
        ("gmsr", {"batch": "all"}, "coupled"),
        ("mst-l", {"batch": "shared"}, "coupled"),
        ("mst-plus-plus", {"structure": "original"}, "published"),
        ("hscnn-plus", {"structure": "original"}, "published"),
    ],
)
def test_what_cannot_be_built_is_refused_with_what_can(name: str, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(name, **arguments)


def test_single_band_is_refused_by_gmsr() -> None:
    with pytest.raises(BandsError, match="two"):
        build("gmsr", 1)


@pytest.mark.parametrize(
    ("name", "bands", "arguments"),
    [
        ("hinet", 5, {"depth": 2}),
        ("mst-l", 5, {"blocks": [0, 0, 1]}),
        ("restormer", 5, {"blocks": [1, 0, 0, 0], "refinement": 0}),
        ("edsr", 5, {"blocks": 0}),
        ("awan", 5, {"width": 16, "blocks": 0}),
        ("mprnet", 5, {"cabs": 0}),
        ("mirnet", 5, {"groups": 1, "blocks": 1}),
        ("mst-plus-plus", 5, {"stages": 0}),
        ("hscnn-plus", 5, {"blocks": 0}),
        ("r3st", 1, {}),  # fewer bands than masks
    ],
)
def test_the_least_that_is_allowed_predicts(name: str, bands: int, arguments: dict) -> None:
    with torch.no_grad():
        assert build(name, bands, **arguments)(torch.rand(1, 3, 16, 24)).shape == (1, bands, 16, 24)
