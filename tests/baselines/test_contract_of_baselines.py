"""Every baseline and the example plugin keep the contract of the zoo."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from contract import ModelContract
from hsrzoo_baselines import agdnet, floors, hscnn_plus, mst_plus_plus, r3st

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plugin_one_file.py"


def _example_spec():
    found = importlib.util.spec_from_file_location("plugin_one_file", EXAMPLE)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.SPEC


class TestMSTPlusPlus(ModelContract):
    spec = mst_plus_plus.SPEC


class TestHSCNNPlus(ModelContract):
    spec = hscnn_plus.SPEC


class TestAGDNet(ModelContract):
    spec = agdnet.SPEC


class TestR3ST(ModelContract):
    spec = r3st.SPEC


class TestMeanSpectrum(ModelContract):
    spec = floors.MEAN_SPECTRUM


class TestLinear(ModelContract):
    spec = floors.LINEAR


class TestPoly(ModelContract):
    spec = floors.POLY


class TestExamplePlugin(ModelContract):
    spec = _example_spec()


def test_example_is_short():
    assert len(EXAMPLE.read_text().splitlines()) < 60
