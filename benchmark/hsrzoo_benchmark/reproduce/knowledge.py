"""What the networks know, what they do not, and what the codebook contributes: sentences made from rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hsrzoo.results import POOLED
from hsrzoo_benchmark.protocol import CLEAN, Condition
from hsrzoo_benchmark.reproduce import tables
from hsrzoo_benchmark.reproduce.claims import UNTESTED, Judged
from hsrzoo_benchmark.reproduce.evidence import SENSORS, Evidence, Place, SeedGroup
from hsrzoo_benchmark.reproduce.ranking import comparable
from hsrzoo_benchmark.results.figures import better
from hsrzoo_benchmark.statistics.seeds import paired, summarise
from hsrzoo_benchmark.tables.numbers import metric_name, significant, with_wins

_NETWORKS = [tables.headline(arch, "cave") for arch in tables.NETWORKS]
_LINEAR = tables.headline("linear", "cave")
_ALL_SENSORS = Place(SENSORS, "whole", "full-frame")
_METAMERS, _REFINED = Condition("metamer", "1"), Condition("refine", "10")
_CODES = (
    ("random", "Learned codes less random ones, both trained on CAVE"),
    ("permuted", "The network less itself with its codes permuted"),
    ("random on sensors", "Learned less random codes on sensors that neither saw"),
    ("mixture on sensors", "A mixture of codebooks less that of CAVE alone, there too"),
)
"""Keys of claims, and how a sentence about each begins."""


def of_networks(evidence: Evidence) -> str:
    """A paragraph on what a network knows, as far as there are rows for it."""
    return _paragraph("What a network knows", [make(evidence) for make in _SENTENCES])


def of_codes(judged: Sequence[Judged]) -> str:
    """A paragraph on what the codebook contributes, as far as there are rows for it."""
    return _paragraph(
        "What the codebook contributes", [_about_codes(key, start, judged) for key, start in _CODES]
    )


def _paragraph(title: str, sentences: Sequence[str]) -> str:
    text = " ".join(sentence for sentence in sentences if sentence)
    return f"**{title}.** {text}" if text else ""


def _single_pixels(evidence: Evidence) -> str:
    names = [f"{arch}.cave-{POOLED}" for arch in ("pixel-mlp", tables.COMPARED[1])]
    groups = comparable(evidence, names, tables.FOLDS)
    if len(groups) < 2:
        return ""
    ours, theirs = (groups[name].runs("rmse") for name in names)
    gap = paired(ours, theirs, better("rmse"))
    pixel, network = (significant(values[0]) for values in (gap.a_per_seed, gap.b_per_seed))
    change, wins = with_wins(gap)
    return (
        f"Mostly what spectrum goes with a colour: over {gap.scenes} scenes of cross-validation "
        f"`pixel-mlp`, which sees single pixels, has RMSE {pixel}, MST++ {network} (difference {change}, "
        f"{wins} scenes for `pixel-mlp`)."
    )


def _metamers(evidence: Evidence) -> str:
    groups = comparable(evidence, [*_NETWORKS, _LINEAR], tables.HOME, _METAMERS)
    networks = {name: group for name, group in groups.items() if name != _LINEAR}
    if not networks or _LINEAR not in groups:
        return ""
    return (
        "Of the part of a spectrum that the camera does not see, the networks explain "
        f"{_range(networks, 'unseen_clean')} on validation scenes, whose pigments are those of training, "
        f"and {_LINEAR} {_mean(groups[_LINEAR], 'unseen_clean')}; when the same image has other spectra, "
        f"they explain {_range(networks, 'unseen')}, below 0 being worse than nothing."
    )


def _other_sensors(evidence: Evidence) -> str:
    groups = comparable(evidence, [*_NETWORKS, _LINEAR], _ALL_SENSORS)
    if _LINEAR not in groups or len(groups) < 2:
        return ""
    linear = _mean_of(groups[_LINEAR])
    networks = {name: group for name, group in groups.items() if name != _LINEAR}
    ahead = sum(_mean_of(group) < linear for group in networks.values())
    scenes = len(groups[_LINEAR].runs("rmse")[0])
    return (
        f"On {scenes} scenes of other sensors {ahead} of {len(networks)} networks of CAVE have a smaller "
        f"RMSE than {_LINEAR} ({_range(networks)}, {significant(linear)})."
    )


def _measured_pixels(evidence: Evidence) -> str:
    clean, refined = (comparable(evidence, _NETWORKS, tables.HOME, c) for c in (CLEAN, _REFINED))
    both = [name for name in refined if name in clean]
    falls = sorted(100 * (1 - _mean_of(refined[name]) / _first_mean(clean[name])) for name in both)
    if not falls:
        return ""
    return (
        "What they lack is which pigment it is: with the measured spectra of 10 pixels of the scene their "
        f"RMSE falls by {falls[0]:.0f} to {falls[-1]:.0f} %."
    )


_SENTENCES: tuple[Callable[[Evidence], str], ...] = (
    _single_pixels,
    _metamers,
    _measured_pixels,
    _other_sensors,
)


def _about_codes(key: str, start: str, judged: Sequence[Judged]) -> str:
    """The differences behind the claim with this key; "" where it was not tested."""
    claim = next((one for one in judged if one.claim.key == key), None)
    if claim is None or claim.kind == UNTESTED:
        return ""
    gaps = [
        f"{metric_name(finding.sum.metric)} {', '.join(with_wins(finding.gap))}"
        for finding in claim.findings
        if finding.gap is not None
    ]
    return f"{start}: {'; '.join(gaps)} ({claim.kind})."


def _mean_of(group: SeedGroup, metric: str = "rmse") -> float:
    return summarise(group.runs(metric)).mean


def _first_mean(group: SeedGroup) -> float:
    """Of the first seed alone, which was scored under all conditions."""
    return summarise(group.runs("rmse")[:1]).mean


def _mean(group: SeedGroup, metric: str = "rmse") -> str:
    return significant(_mean_of(group, metric))


def _range(groups: Mapping[str, SeedGroup], metric: str = "rmse") -> str:
    means = sorted(_mean_of(group, metric) for group in groups.values())
    return f"{significant(means[0])} to {significant(means[-1])}"
