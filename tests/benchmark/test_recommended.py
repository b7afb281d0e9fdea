"""Which bundled weights are recommended: rules on rows."""

from __future__ import annotations

from typing import Any

import pytest

from hsrzoo.zoo import PHOTOGRAPHS
from hsrzoo_benchmark.reproduce.evidence import Evidence
from hsrzoo_benchmark.reproduce.recommended import recommended
from result_rows import folds, rows, typed

ENMAP: dict[str, Any] = {"dataset": "enmap", "split": "test"}
HOME = [rows("a.cave", [0.01] * 4), rows("b.cave", [0.02] * 4), rows("c.cave", [0.03] * 4)]
FOLDED = [folds("b.cave-cv", [[0.01] * 4] * 5), folds("c.cave-cv", [[0.02] * 4] * 5)]
SENSOR = [
    rows("linear.cave", [0.02] * 4, **ENMAP),
    rows("linear.general", [0.01] * 4, **ENMAP),
    rows("poly.cave", [0.015] * 4, **ENMAP),
]
LITTLE = [rows("linear.cave", [0.04] * 4), rows("linear.general", [0.041] * 4)]
MUCH = [rows("linear.cave", [0.04] * 4), rows("linear.general", [0.043] * 4)]
BUNDLED = ["a.cave", "b.cave", "c.cave", "linear.cave", "poly.cave"]


@pytest.mark.parametrize(
    ("groups", "bundled", "expected"),
    [
        (HOME, BUNDLED, {PHOTOGRAPHS: "a.cave", "cave": "a.cave"}),
        ([*HOME, *FOLDED], BUNDLED, {PHOTOGRAPHS: "b.cave", "cave": "b.cave"}),
        ([*HOME, *FOLDED[:1]], BUNDLED, {PHOTOGRAPHS: "a.cave", "cave": "a.cave"}),
        ([*HOME, *SENSOR], BUNDLED, {PHOTOGRAPHS: "a.cave", "cave": "a.cave"}),
        ([*HOME, *SENSOR, *LITTLE], [*BUNDLED, "linear.general"],
         {PHOTOGRAPHS: "linear.general", "cave": "a.cave"}),
        ([*HOME, *SENSOR, *MUCH], [*BUNDLED, "linear.general"], {PHOTOGRAPHS: "a.cave", "cave": "a.cave"}),
        (
            # a generalist that does not lead
            [*HOME, *SENSOR, *LITTLE, rows("mcga-s2.cave", [0.001] * 4, **ENMAP)],
            [*BUNDLED, "linear.general", "mcga-s2.cave"],
            {PHOTOGRAPHS: "a.cave", "cave": "a.cave"},
        ),
        ([rows("a.indian-pines", [0.1], dataset="indian-pines", split="test")], ["a.indian-pines"],
         {"indian-pines": "a.indian-pines"}),
        ([], BUNDLED, {}),
    ],
)  # fmt: skip
def test_the_rule_of_the_recommended_model(groups: Any, bundled: list[str], expected: Any) -> None:
    found = recommended(Evidence(typed(*groups)), bundled)
    assert {key: one["model"] for key, one in found.items()} == expected


def test_the_reason_names_the_figure_that_decided() -> None:
    found = recommended(Evidence(typed(*HOME, *SENSOR, *LITTLE)), [*BUNDLED, "linear.general"])
    assert found["cave"]["why"] == "smallest RMSE of 5 models on 4 scenes of cave/valid, 0.01000"
    why = "smallest RMSE of 3 models on 1 sensors that they have not seen, 0.50 of that of linear"
    assert found[PHOTOGRAPHS]["why"].startswith(why)
