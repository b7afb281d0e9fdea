"""Weights whose prediction intervals were calibrated, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

import hsrzoo
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.models.weights import save_folder
from hsrzoo.registry import MODELS
from hsrzoo.spec import build_module, resolve
from random_scenes import NAMES, Random, calibrate


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A regression that was fitted to the training scenes."""
    data, spec = Random(), MODELS.get("linear")
    module = build_module(spec, data.bands, {})
    assert spec.fit is not None
    resolve(spec.fit)(module, data, "train")
    folder = tmp_path_factory.mktemp("fitted") / "linear"
    record = {"dataset": data.name, "split": "train", "scenes": NAMES, "method": "closed form"}
    record["dataset_info"] = data.info
    save_folder(folder, module, spec, data.bands, arguments={}, training=record)
    return folder


@pytest.fixture(scope="session")
def calibrated(weights: Path) -> Path:
    calibrate(weights, "--second", "poly")
    return weights


@pytest.fixture
def model(calibrated: Path) -> Reconstructor:
    return hsrzoo.load(f"local-dir:{calibrated}", device="cpu")
