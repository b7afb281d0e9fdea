"""The mixed-patch benchmark: does a model look at colours or remember places?

RGB and cube are cut into the same patches and shuffled alike, so each pixel keeps its truth and
loses its surroundings.
"""

from __future__ import annotations

from hsrzoo_benchmark.protocol import Condition

from hsrzoo.registries import PERTURBATIONS


def conditions() -> tuple[Condition, ...]:
    """The perturbation's default patch sizes."""
    spec = PERTURBATIONS.get("mixed-patch")
    return tuple(Condition(spec.name, severity) for severity in spec.default)
