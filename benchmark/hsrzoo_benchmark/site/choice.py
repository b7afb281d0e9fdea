"""What a leaderboard shows at first: one entry a network, the trainings that differ in their seed as one;
ablations, controls and other ways of running are shown when they are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hsrzoo.models.locate import bundled
from hsrzoo_benchmark.plan.models import plain_name
from hsrzoo_benchmark.reproduce.queues import all_jobs
from hsrzoo_benchmark.results.figures import Entry, Group

_SEED = re.compile(r"(?P<stem>.+)\.seed-\d+")
_APART = 10_000
"""Between the seeds of the perturbation of one training and those of the next: no run has so many."""


@dataclass(frozen=True)
class Choice:
    """The entries of a board."""

    first: Group
    """Ranked among each other; its ``apart`` holds all others, without a rank."""
    trainings: Mapping[str, tuple[Entry, ...]]
    """Label of an entry of several trainings -> these, which have no entries of their own."""
    hidden: frozenset[str]
    """Labels of what is shown when it is asked for."""


def choose(group: Group) -> Choice:
    """Sort the entries of ``group``. Where nothing would be shown at first, all is."""
    labels = {entry.label: entry for entry in group.entries}
    seeds = _seeds(labels)
    single = {entry.label for own in seeds.values() for entry in own[1:]}
    merged = [_merged(seeds.get(e.label, (e,))) for e in group.entries if e.label not in single]
    home = any(e.label in bundled() and e.first.trained_on == e.first.dataset for e in group.entries)
    hidden = {
        entry.label
        for entry in group.all_entries
        if (home and _of_a_study(entry)) or _run_otherwise(entry, labels)
    }
    shown = [entry for entry in merged if entry.label not in hidden]
    if not shown:
        shown, hidden = merged, set()
    rest = tuple(entry for entry in merged if entry.label in hidden)
    apart = (*group.apart, *([Group(rest, wanted=group.wanted)] if rest else []))
    return Choice(Group(tuple(shown), apart, group.wanted), seeds, frozenset(hidden))


def _seeds(labels: Mapping[str, Entry]) -> dict[str, tuple[Entry, ...]]:
    """Label of a training -> it and those that differ from it in their seed; of weights ``ARCH.DATASET``
    the others are ``ARCH.seed-N``."""
    found: dict[str, list[Entry]] = {}
    for label, entry in labels.items():
        name, plus, tta = label.partition(" + ")
        match = _SEED.fullmatch(name)
        if match:
            stems = (match["stem"], f"{match['stem']}.{entry.first.trained_on}")
            first = next((stem + plus + tta for stem in stems if stem + plus + tta in labels), None)
            if first is not None:
                found.setdefault(first, [labels[first]]).append(entry)
    return {label: tuple(own) for label, own in found.items()}


def _merged(entries: Sequence[Entry]) -> Entry:
    """Trainings as one entry, the first one's: each scene has the mean over them."""
    if len(entries) == 1:
        return entries[0]
    name = entries[0].first.model
    return Entry(
        tuple(
            replace(row, model=name, seed=(row.seed or 0) + i * _APART)
            for i, entry in enumerate(entries)
            for row in entry.rows
        )
    )


def _of_a_study(entry: Entry) -> bool:
    """Whether a study of this repository made weights that no package carries."""
    return entry.first.model not in bundled() and plain_name(entry.first.model) in all_jobs()


def _run_otherwise(entry: Entry, labels: Mapping[str, Entry]) -> bool:
    """Whether the same weights, run as usual, are on the board too. Adaptation is for disturbed images, and
    belongs to their boards."""
    usual = plain_name(entry.first.model)
    return entry.label != usual and usual in labels and not (entry.first.tta and entry.first.perturbation)
