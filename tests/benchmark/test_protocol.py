"""Protocols: what the hash covers, the crop, the resolution on a data set."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from hsrzoo.bands import BandSet
from hsrzoo.datasets import open_dataset
from hsrzoo.errors import InputError, UnknownNameError
from hsrzoo.registry import DATASETS
from hsrzoo_benchmark.protocol import (
    Condition,
    Protocol,
    crop_border,
    named_protocol,
    plain,
    resolve_protocol,
)

OTHER_VALUES = {
    "crop": 1,
    "value_range": (0.0, 2.0),
    "clamp": "all",
    "aggregation": "pooled",
    "mrae_epsilon": 0.0,
    "normalisation": "minmax-image",
    "tiling": "128",
    "ensemble": "flips",
    "bands": BandSet.regular(400, 700, 50),
    "resampled_from": BandSet.regular(400, 700, 20),
    "rgb_bits": 12,
    "perturbation": "gamma",
    "severity": "e=0.9",
    "severity_value": 0.9,
    "seed": 7,
    "tta": True,
    "tta_settings": {"steps": 3},
    "metrics": (("rmse", "2", "sqrt(mean((y - p)^2))"),),
    "dataset": {"response": "cie-1931"},
}


@pytest.mark.parametrize("name", [f.name for f in fields(Protocol) if f.name != "name"])
def test_hash_changes_with_every_field(name: str) -> None:
    base = Protocol("x")
    assert replace(base, **{name: OTHER_VALUES[name]}).hash != base.hash


def test_hash_ignores_the_name_and_the_order_of_keys() -> None:
    one = Protocol("x", dataset={"a": 1, "b": [1, 2]})
    two = Protocol("y", dataset={"b": (1, 2), "a": 1})
    assert one.hash == two.hash


def test_hash_is_stable_across_versions() -> None:
    # Stored results are found by it: a change of this value orphans every store.
    assert Protocol("full-frame").hash[:12] == "f9d67ca5f4b6"


def test_group_ignores_seed_and_tta_only() -> None:
    base = Protocol("x", perturbation="gamma", severity="e=0.9", seed=0)
    adapted = replace(base, tta=True, tta_settings={"steps": 3})
    assert replace(base, seed=5).group == adapted.group == base.group
    assert replace(base, severity="e=1.1").group != base.group


def test_resolved_protocol_knows_data_set_metrics_and_severity() -> None:
    toy = open_dataset("toy", Path("unused"))
    condition = Condition("mixed-patch", "16")
    found = resolve_protocol(
        "full-frame", toy, DATASETS.get("toy"), condition=condition, metrics=["rmse"], seed=3
    )
    assert found.bands == toy.bands
    assert found.dataset == toy.info
    assert (found.severity_value, found.seed) == (16, 3)
    assert [name for name, _, _ in found.metrics] == ["rmse"]
    clean = resolve_protocol("full-frame", toy, DATASETS.get("toy"), metrics=["rmse"], seed=3)
    assert clean.seed is None  # nothing is drawn: the seed must not split the results


def test_unknown_protocol_and_severity_name_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="ntire2022"):
        named_protocol("ntire22")
    toy = open_dataset("toy", Path("unused"))
    with pytest.raises(UnknownNameError, match="paper-plus10"):
        resolve_protocol("full-frame", toy, DATASETS.get("toy"), condition=Condition("gamma", "paper-plus"))


def test_ntire_crop_keeps_226_by_256_of_482_by_512() -> None:
    image = np.arange(482 * 512).reshape(1, 482, 512)
    cropped = crop_border(image, named_protocol("ntire2022").crop)
    assert cropped.shape == (1, 226, 256)
    assert cropped[0, 0, 0] == 128 * 512 + 128
    assert crop_border(image, 0) is image


def test_crop_of_a_small_scene_says_so() -> None:
    with pytest.raises(InputError, match="256 x 256 pixels"):
        crop_border(np.zeros((1, 256, 300)), 128)


def test_plain_has_strict_json_types_only() -> None:
    value = {"a": np.float32(0.5), "b": (np.int64(1), float("nan")), "c": float("-inf"), "d": Path("x")}
    assert plain(value) == {"a": 0.5, "b": [1, "NaN"], "c": "-Infinity", "d": "x"}
