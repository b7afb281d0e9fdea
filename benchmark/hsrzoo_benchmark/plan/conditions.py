"""The brightness benchmark: the picture gets brighter or darker, the truth stays.

All exponents of ``gamma``: those that do what the paper's labels say (``paper-plus10`` brightens)
and the literal ones beside them; then the default ``gain`` factors. A model that can adapt to the
image at test time runs with and without it.
"""

from __future__ import annotations

from hsrzoo.registry import PERTURBATIONS
from hsrzoo_benchmark.protocol import Condition


def conditions() -> tuple[Condition, ...]:
    """Every severity of ``gamma``, the default ones first, then the default ones of ``gain``."""
    gamma, gain = PERTURBATIONS.get("gamma"), PERTURBATIONS.get("gain")
    exponents = [*gamma.default, *(s for s in gamma.severities if s not in gamma.default)]
    return (
        *(Condition(gamma.name, severity) for severity in exponents),
        *(Condition(gain.name, severity) for severity in gain.default),
    )
