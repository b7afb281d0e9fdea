"""The table of sensors that weights have not seen."""

from __future__ import annotations

from typing import Any

from hsrzoo_benchmark.reproduce.evidence import SENSORS, Evidence, Place
from hsrzoo_benchmark.reproduce.sensors import unseen_sensors
from result_rows import rows, typed

ENMAP: dict[str, Any] = {"dataset": "enmap", "split": "test"}
BERLIN: dict[str, Any] = {"dataset": "berlin", "split": "whole"}


def _table(*groups: Any) -> list[list[str]]:
    note, table = unseen_sensors(Evidence(typed(*groups)))
    assert "Ahead:" in note
    lines = [line.strip("| ").split(" | ") for line in table.splitlines()]
    return [lines[0], *lines[2:]]


def test_weights_without_a_sensor_stand_in_the_row_of_those_with_it() -> None:
    head, *lines = _table(
        rows("linear.cave", [0.02] * 4, **ENMAP),
        rows("linear.cave", [0.02] * 4, **BERLIN),
        rows("mcga-s2.without-enmap", [0.01] * 4, **ENMAP),
        rows("mcga-s2.general", [0.001] * 4, **ENMAP, seen_in_training=True),
        rows("mcga-s2.general", [0.04] * 4, **BERLIN),
    )
    assert head == ["model", "berlin", "enmap", "ahead", "RMSE ratio", "commit"]
    assert [line[:5] for line in lines] == [
        ["linear.cave", "0.02000 / 6.000", "0.02000 / 6.000", "-", "1.000"],
        ["mcga-s2.general", "0.04000 / 12.00", "0.01000 / 3.000", "1 of 2 / 1 of 2", "1.000"],
    ]


def test_who_saw_a_sensor_has_no_figure_there() -> None:
    _, *lines = _table(
        rows("linear.cave", [0.02] * 4, **ENMAP),
        rows("linear.cave", [0.02] * 4, **BERLIN),
        rows("mcga-s2.general", [0.001] * 4, **ENMAP, seen_in_training=True),
        rows("poly.general", [0.01] * 4, **ENMAP),
        rows("mcga-s2.general", [0.01] * 4, **BERLIN),
    )
    assert ["mcga-s2.general", "0.01000 / 3.000", "-", "1 of 1 / 1 of 1", "-"] in [
        line[:5] for line in lines
    ]


def test_scenes_of_all_sensors_are_one_place_of_those_who_saw_none() -> None:
    whole: dict[str, Any] = {"split": "whole", "condition": None}
    evidence = Evidence(
        typed(
            rows("linear.cave", [0.02] * 3, dataset="gatorsense", **whole),
            rows("linear.cave", [0.04], dataset="samson", **whole),
            rows("linear.cave", [0.9], dataset="jasper-ridge", seen_in_training=True, **whole),
            rows("linear.cave", [0.9] * 4),
        )
    )
    group = evidence.group("linear.cave", Place(SENSORS, "whole", "full-frame"))
    assert group is not None
    assert group.runs("rmse") == [
        {"gatorsense a": 0.02, "gatorsense b": 0.02, "gatorsense c": 0.02, "samson a": 0.04}
    ]


def test_without_generalists_there_is_no_table() -> None:
    assert unseen_sensors(Evidence(typed(rows("linear.cave", [0.02] * 4, **ENMAP)))) == []
