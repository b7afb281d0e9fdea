"""The paragraphs on what networks know: each sentence from rows, none without."""

from __future__ import annotations

from typing import Any

from hsrzoo_benchmark.reproduce import claims
from hsrzoo_benchmark.reproduce.evidence import Evidence
from hsrzoo_benchmark.reproduce.knowledge import of_codes, of_networks
from result_rows import folds, rows, typed


def _paragraphs(*groups: Any) -> tuple[str, str]:
    evidence = Evidence(typed(*groups))
    judged = [claims.judge(claim, evidence) for claim in claims.claims()]
    return of_networks(evidence), of_codes(judged)


def test_every_sentence_is_made_from_rows() -> None:
    unseen = {"unseen_clean": [0.7] * 4, "unseen": [-0.2] * 4}
    metamers: dict[str, Any] = {"condition": ("metamer", "1"), "metrics": unseen}
    known, codes = _paragraphs(
        folds("pixel-mlp.cave-cv", [[0.01] * 4] * 5),
        folds("mst-plus-plus.cave-cv", [[0.02] * 4] * 5),
        rows("mst-plus-plus.cave", [0.05] * 4),
        rows("mst-plus-plus.cave", [0.04] * 4, condition=("refine", "10")),
        rows("mst-plus-plus.cave", [0.1] * 4, **metamers),
        rows("linear.cave", [0.1] * 4, **metamers),
        rows("table-5.full", [0.01] * 4),
        rows("control.random", [0.02] * 4),
    )
    assert (
        "over 20 scenes of cross-validation `pixel-mlp`, which sees single pixels, has RMSE 0.01000"
        in known
    )
    assert "difference -0.01000" in known and "20/20 scenes" in known
    assert "explain 0.7000 to 0.7000" in known and "they explain -0.2000 to -0.2000" in known
    assert "falls by 20 to 20 %" in known
    assert "Learned codes less random ones, both trained on CAVE: RMSE -0.01000" in codes
    assert codes.endswith("(holds).") and "permuted" not in codes


def test_without_rows_there_is_no_paragraph() -> None:
    assert _paragraphs(rows("linear.cave", [0.1] * 4)) == ("", "")
