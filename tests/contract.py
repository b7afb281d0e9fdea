"""The class that every model's test inherits: one test per check of the contract.

class TestMyNet(ModelContract):
    spec = SPEC
"""

from __future__ import annotations

import pytest

from hsrzoo.contract.checks import CHECKS, Subject
from hsrzoo.spec import ModelSpec

SLOW = ("onnx",)
"""Converting takes up to minutes a network: tests/export has it for some, ``hsrzoo check`` for each."""


class ModelContract:
    """Runs the checks of :mod:`hsrzoo.contract`, but the slow ones, on ``spec``; a breach raises with what
    is wrong."""

    spec: ModelSpec
    subject: Subject
    long: tuple[str, ...] = ()
    """Checks of this model that only ``make test-all`` runs."""

    def __init_subclass__(cls) -> None:
        cls.subject = Subject(cls.spec)  # builds its network once, when the first check asks for it

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        checks = [name for name in CHECKS if name not in SLOW]
        marks = {name: [pytest.mark.long] for name in self.long}
        metafunc.parametrize("check", [pytest.param(name, marks=marks.get(name, ())) for name in checks])

    def test_contract(self, check: str) -> None:
        seen = CHECKS[check](self.subject)
        assert seen, f"{check} tells nothing about what it saw"
