"""``scripts/gpu_check.py`` where there is no GPU: a small run of all parts on the CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from files_as_modules import SCRIPTS, import_file


def test_a_dry_run_does_all_parts_and_one_that_fails_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = import_file(SCRIPTS / "gpu_check.py")
    out = tmp_path / "gpu.json"
    check, loader, _ = script.parse(["--parts", "loader"])
    assert (check.minutes, loader) == (4.0, ["loader"]) and json.dumps(check._asdict())
    check, *_ = script.parse(["--parts", "training", "--batch", "4", "--patch", "64"])
    precision = {"cpu": "fp32", "cuda": "bf16"}[check.device]
    assert (check.batch, check.patch, check.precision) == (4, 64, precision)
    found = script.run(script.DRY, list(script.PARTS), out)
    assert json.loads(out.read_text()) == json.loads(json.dumps(found))
    parts = found["parts"]
    assert [(name, part["ok"], part["left_out"]) for name, part in parts.items()] == [
        (name, True, []) for name in ("parity", "search", "speed", "loader", "training")
    ]
    assert parts["parity"]["networks"].keys() == {"pixel-mlp", "mcga-s2"}
    assert {(r["network"], r["precision"]) for r in parts["speed"]["rows"]} == {
        (name, how) for name in ("pixel-mlp", "mcga-s2") for how in ("fp32", "bf16")
    }
    assert [row["workers"] for row in parts["loader"]["rows"]] == ["plain copy", 0]
    assert parts["training"]["steps"] == 2 and parts["training"]["crops_s"] > 0
    assert parts["training"]["step_cpu_ms"] > 0

    monkeypatch.setitem(script.PARTS, "search", lambda check, left: 1 / 0)
    limits = script.DRY._replace(limits=(("speed", 0.0),))  # no time: nothing begins
    parts = script.run(limits, ["search", "speed"], out)["parts"]
    assert not parts["search"]["ok"] and "ZeroDivisionError" in parts["search"]["error"]
    assert parts["speed"]["left_out"] == ["mcga-s2", "pixel-mlp"] and parts["speed"]["rows"] == []
