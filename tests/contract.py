"""The class that every model's test inherits: one test per check of the contract.

class TestMyNet(ModelContract):
    spec = SPEC
"""

from __future__ import annotations

import pytest

from hsrzoo.contract import CHECKS, Subject
from hsrzoo.spec import ModelSpec


class ModelContract:
    """Runs every check of :mod:`hsrzoo.contract` on ``spec``; a breach raises with what is wrong."""

    spec: ModelSpec
    subject: Subject

    def __init_subclass__(cls) -> None:
        cls.subject = Subject(cls.spec)  # builds its network once, when the first check asks for it

    @pytest.mark.parametrize("check", CHECKS)
    def test_contract(self, check: str) -> None:
        seen = CHECKS[check](self.subject)
        assert seen, f"{check} tells nothing about what it saw"
