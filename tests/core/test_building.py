"""Networks without values, for their shapes."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from hsrzoo.bands import BandSet
from hsrzoo.models.building import without_values
from hsrzoo.registry import MODELS
from hsrzoo.spec import build_module

OWN = [name for name in MODELS.names() if not name.startswith(("gmsr", "timm"))]
"""gmsr calculates its first weights, and timm imports torchvision: both import the compiler."""


@pytest.mark.parametrize("name", OWN)
def test_no_network_needs_a_compiler_for_its_shapes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bands, imported = BandSet.regular(400, 700, 10), builtins.__import__
    spec = MODELS.get(name)

    def without_compiler(name: str, *arguments: Any, **more: Any) -> Any:
        assert not name.startswith("torch._dynamo")
        return imported(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without_compiler)
    with without_values():
        module = build_module(spec, bands, {})
    assert {p.device.type for p in module.parameters()} <= {"meta"}
