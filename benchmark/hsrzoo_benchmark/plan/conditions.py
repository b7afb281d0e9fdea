"""The conditions of each benchmark: what is done to the scenes, in table order.

``accuracy``: nothing. ``brightness``: first the image gets brighter or darker and the truth stays; all
exponents of ``gamma``, those that do what the paper's labels say (``paper-plus10`` brightens) before the
literal ones, then the default ``gain`` factors. No network can be right there (:mod:`..run.brightness`), so
``gain-both`` follows, which scales the truth alike. ``uncertainty``: the conditions of both of its
perturbations (:mod:`..run.uncertainty`). Any other benchmark: a perturbation at its default
severities.
"""

from __future__ import annotations

from hsrzoo.registry import PERTURBATIONS
from hsrzoo_benchmark.protocol import CLEAN, Condition


def conditions_of(bench: str) -> tuple[Condition, ...]:
    """The conditions of a benchmark; UnknownNameError where there is no perturbation of that name."""
    if bench == "accuracy":
        return (CLEAN,)
    if bench == "brightness":
        gamma = PERTURBATIONS.get("gamma")
        exponents = [*gamma.default, *(s for s in gamma.severities if s not in gamma.default)]
        severities = [(gamma.name, s) for s in exponents]
        for name in ("gain", "gain-both"):
            severities += [(name, s) for s in PERTURBATIONS.get(name).default]
    elif bench == "uncertainty":
        specs = [PERTURBATIONS.get(name) for name in (bench, f"{bench}-rendered")]
        severities = [(spec.name, s) for spec in specs for s in spec.default]
    else:
        spec = PERTURBATIONS.get(bench)
        severities = [(spec.name, s) for s in spec.default]
    return tuple(Condition(name, severity) for name, severity in severities)
