"""Every baseline and the example plugin keep the contract of the zoo."""

from __future__ import annotations

import importlib.util
from importlib.util import find_spec
from pathlib import Path

import pytest
from networks import NETWORKS, spec_of

from contract import ModelContract
from hsrzoo.contract.checks import CHECKS, Subject

SLOW_EXPORT = {"mprnet", "r3st", "restormer", "mst-l", "mirnet"}
"""Tracing these takes most of the time; mst-plus-plus has the attention, hinet the U-shape of them."""
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plugin_one_file.py"


def _cases() -> list:
    cases = []
    for network in NETWORKS:
        for contract in network.contract:
            # builds its network once, when the first check asks for it
            subject = Subject(spec_of(network.name, **contract.arguments))
            name = "-".join(
                (network.name, *(f"{key}={value}" for key, value in contract.arguments.items()))
            )
            for check in contract.checks:
                is_slow = check == "export" and network.name in SLOW_EXPORT
                is_tested = check == "tiles" and bool(network.tiles)  # by test_tiles.py
                marks = [pytest.mark.long] if is_slow or is_tested or contract.long else []
                if network.needs and find_spec(network.needs) is None:
                    marks.append(pytest.mark.skip(reason=f"needs {network.needs}"))
                cases.append(pytest.param(subject, check, id=f"{name}-{check}", marks=marks))
    return cases


@pytest.mark.parametrize(("subject", "check"), _cases())
def test_baseline(subject, check):
    assert CHECKS[check](subject), f"{check} says nothing about what it saw"


def _example_spec():
    found = importlib.util.spec_from_file_location("plugin_one_file", EXAMPLE)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.SPEC


class TestExamplePlugin(ModelContract):
    spec = _example_spec()


def test_example_is_short():
    assert len(EXAMPLE.read_text().splitlines()) < 60
