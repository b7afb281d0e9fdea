"""What the networks share: arguments that cannot be built, padding, the PReLU of many names."""

from __future__ import annotations

import pytest
import torch

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError, InputError
from hsrzoo.registry import MODELS
from hsrzoo.spec import build_module
from hsrzoo_baselines.layers import one_value, padded, require_counts

FIVE = BandSet.regular(400, 700, 75)


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
        ("awan", "width", 15),
        ("mprnet", "cabs", -1),
        ("mirnet", "groups", 0),
        ("mirnet", "blocks", 0),
        ("mst-plus-plus", "stages", -1),
        ("hscnn-plus", "blocks", -1),
    ],
)
def test_counts_that_cannot_be_built_are_refused_by_name(name: str, argument: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"argument {argument} .*whole number.*Got "):
        build_module(MODELS.get(name), FIVE, {argument: value})


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("hinet", {"depth": 2}),
        ("mst-l", {"blocks": [0, 0, 1]}),
        ("restormer", {"blocks": [1, 0, 0, 0], "refinement": 0}),
        ("edsr", {"blocks": 0}),
        ("awan", {"width": 16, "blocks": 0}),
        ("mprnet", {"cabs": 0}),
        ("mirnet", {"groups": 1, "blocks": 1}),
        ("mst-plus-plus", {"stages": 0}),
        ("hscnn-plus", {"blocks": 0}),
    ],
)
def test_the_least_that_is_allowed_predicts(name: str, arguments: dict) -> None:
    torch.manual_seed(0)
    module = build_module(MODELS.get(name), FIVE, arguments).eval()
    with torch.no_grad():
        assert module(torch.rand(1, 3, 16, 24)).shape == (1, 5, 16, 24)


def test_bounds_belong_to_what_is_allowed() -> None:
    for value in (2, 5):
        require_counts("depth", value, least=2, most=5)
    require_counts("blocks", (1, 0, 3), length=3)
    with pytest.raises(InputError, match=r"at least 2 and at most 5\. Got 6"):
        require_counts("depth", 6, least=2, most=5)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 13), (15, 8)])
def test_padding_is_the_reflection_and_only_at_the_far_ends(height: int, width: int) -> None:
    rgb = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    found = padded(rgb, 8)
    assert found.shape[-2:] == (-(-height // 8) * 8, -(-width // 8) * 8)
    rows = [i if i < height else 2 * (height - 1) - i for i in range(found.shape[2])]
    columns = [i if i < width else 2 * (width - 1) - i for i in range(found.shape[3])]
    assert torch.equal(found, rgb[:, :, rows][:, :, :, columns])


def test_one_value_looks_at_names_and_sizes() -> None:
    one, other = torch.tensor([0.25]), torch.tensor([0.3])
    state = {"a.body.1.weight": one, "b.body.1.weight": one.clone(), "c.weight": other,
             "d.body.1.weight": torch.zeros(2)}  # fmt: skip
    assert one_value(state, ".body.1.weight", "Net") == state
    with pytest.raises(FormatError, match=r"Net's one PReLU.*all its 3 names.*body\.1\.weight"):
        one_value({**state, "e.body.1.weight": other}, ".body.1.weight", "Net")
