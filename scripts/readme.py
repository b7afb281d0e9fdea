"""Fill the parts of README.md and of pages that hold figures, from stored rows and calibrations.

``python scripts/readme.py`` replaces what stands between ``<!-- made: NAME -->`` and
``<!-- end: NAME -->``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import mean

from hsrzoo.models.locate import bundled_files
from hsrzoo.models.tensors import metadata_of
from hsrzoo.utils.files import UNCERTAINTY
from hsrzoo.utils.markdown import markdown_table
from hsrzoo.zoo import PHOTOGRAPHS, Zoo, read_zoo
from hsrzoo_benchmark.protocol import Condition
from hsrzoo_benchmark.reproduce import claims, tables
from hsrzoo_benchmark.reproduce.claims import FAILS, HOLDS, UNTESTED, Judged
from hsrzoo_benchmark.reproduce.evidence import Evidence, SeedGroup
from hsrzoo_benchmark.reproduce.intervals import CLEAN
from hsrzoo_benchmark.reproduce.ranking import comparable, ranking
from hsrzoo_benchmark.statistics.seeds import summarise
from hsrzoo_benchmark.tables.numbers import ABSENT, significant

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "index.md", ROOT / "docs" / "intervals.md")
MODELS = (
    "mst-plus-plus.cave",
    "r3st.cave",
    "mcga-plus.cave",
    "mcga-plus.general",
    "mcga-s2.cave",
    "pixel-mlp.cave",
    "poly.cave",
    "linear.cave",
)
"""Of the table: one for each job, and the floor."""
_PART = r"(<!-- made: {} -->\n).*?(<!-- end: {} -->)"


def short(value: float) -> str:
    """A figure in three digits."""
    return significant(value, 3)


def overview() -> str:
    """The caption of the figure."""
    facts = json.loads((ROOT / "docs" / "overview.json").read_text(encoding="utf-8"))
    return (
        f"`{facts['model']}` on a sensor that it has not seen: spectral angle {short(facts['sam'])}°; "
        f"{100 * facts['coverage']:.3g} % of the true values lie in the intervals of "
        f"{100 * facts['level']:.0f} %. Image: Berlin-Urban-Gradient 2009, HyMap, Okujeni et al., "
        "CC BY-SA 4.0, as is the figure."
    )


def models(evidence: Evidence) -> str:
    """The table of models on the validation scenes of CAVE, and what cross-validation says."""
    zoo, home = read_zoo(), tables.HOME
    groups = comparable(evidence, MODELS, home)
    ranks = ranking(groups, "rmse")
    lines = [_line(groups[one.name], zoo) for one in ranks]
    heads = ["model", "RMSE", "SAM °", "parameters", "ms", "use for"]
    trainings = max(len(group.entries) for group in groups.values())
    level = sum(one.rank == 1 for one in ranks)
    side, device = zoo.speed["side"], zoo.speed["device"]
    return "\n".join([
        markdown_table(heads, lines), "",
        f"Means over {ranks[0].scenes} scenes of {home.dataset}/{home.split} and up to {trainings} "
        f"trainings (bundled ones: `hsrzoo list`), with 95 % intervals: in RMSE {level} of "
        f"{len(groups)} do not differ significantly. ms: {side} x {side} pixels, {device}, "
        f"{zoo.speed['threads']} threads. Licence: {_licences(zoo)}. "
        f"Default: {zoo.recommended[PHOTOGRAPHS]['why']}.",
    ])  # fmt: skip


def _line(group: SeedGroup, zoo: Zoo) -> list[str]:
    """Of the table of models."""
    name, cells = group.name, []
    for metric in ("rmse", "sam"):
        found = summarise(group.runs(metric))
        ends = (found.interval.low, found.interval.high) if found.interval else ()
        interval = "\N{EN DASH}".join(significant(end, 2) for end in ends)
        cells.append(short(found.mean) + (f" ({interval})" if interval else ""))
    facts = zoo.facts(name)
    ms = f"{facts['ms']:.0f}" if "ms" in facts else ABSENT
    first = "photographs (default); " if name == zoo.recommended[PHOTOGRAPHS]["model"] else ""
    return [f"`{name.removesuffix('.cave')}`", *cells, f"{facts['parameters']:,}", ms, first + facts["use"]]


def _licences(zoo: Zoo) -> str:
    """Of the models of the table; where one differs, with their names."""
    found: dict[str, list[str]] = {}
    for name in MODELS:
        found.setdefault(zoo.facts(name)["licence"], []).append(f"`{name.removesuffix('.cave')}`")
    return "; ".join(
        own if len(found) == 1 else f"{own} ({', '.join(names)})" for own, names in found.items()
    )


def trust(evidence: Evidence) -> str:
    """How wrong the networks are where the camera does not see the difference."""
    names = [tables.headline(arch, "cave") for arch in tables.NETWORKS]
    groups = comparable(evidence, names, tables.HOME, Condition("metamer", "1"))
    seen, unseen = (
        sorted(summarise(group.runs(key)).mean for group in groups.values())
        for key in ("unseen_clean", "unseen")
    )
    return (
        "For example, of what the camera does not see of a spectrum the networks explain "
        f"{seen[0]:.2f} to {seen[-1]:.2f} on scenes like those of training, but {unseen[0]:.2f} to "
        f"{unseen[-1]:.2f}, worse than nothing, when objects of the same colours have other spectra."
    )


def intervals(evidence: Evidence) -> str:
    """The table of calibrated weights: how intervals of 90 % hold on cave/valid and on scenes left out; the
    narrowest first."""
    found = []
    for name, file in bundled_files(UNCERTAINTY).items():
        left_out = json.loads(metadata_of(file))["left_out"]["0.9"]
        found.append((f"`{name.removesuffix('.cave')}`", _held(evidence, name), left_out))
    found.sort(key=lambda one: mean((one[1] or one[2])["width"]))
    heads = ["model", "cave/valid: coverage", "worst scene", "mean width", "correlation",
             "left out: coverage", "worst scene", "mean width"]  # fmt: skip
    lines = []
    for name, valid, left_out in found:
        correlation = f"{mean(valid['scale_correlation']):.2f}" if valid else ABSENT
        lines.append([name, *_coverage(valid), correlation, *_coverage(left_out)])
    return markdown_table(heads, lines)


def _held(evidence: Evidence, name: str) -> dict[str, list[float]] | None:
    """Column -> value of each scene of cave/valid; None where the intervals were not scored."""
    group = evidence.group(name, tables.HOME, CLEAN)
    if group is None:
        return None
    columns = ("coverage", "width", "scale_correlation")
    return {one: group.values(one) for one in columns}


def _coverage(scenes: dict[str, list[float]] | None) -> list[str]:
    """Mean and least coverage and the mean width of scenes, for the table."""
    if scenes is None:
        return [ABSENT] * 3
    covered = scenes["coverage"]
    return [f"{100 * mean(covered):.1f} %", f"{100 * min(covered):.1f} %", f"{mean(scenes['width']):.3f}"]


def mcga(judged: list[Judged]) -> str:
    """How the claims of the paper came out."""
    holds, fails = ([one.claim for one in judged if one.kind == kind] for kind in (HOLDS, FAILS))
    others = "undecided or untested" if any(one.kind == UNTESTED for one in judged) else "undecided"
    return (
        f"Of {len(judged)} claims of its paper {len(holds)} hold here "
        f"({'; '.join(_lower(c.text) for c in holds)}), {len(fails)} do not "
        f"({'; '.join(_lower(c.text) for c in fails)}), the others are {others}."
    )


def _lower(text: str) -> str:
    return text if text[:2].isupper() else text[0].lower() + text[1:]


def parts(evidence: Evidence) -> dict[str, str]:
    """Name of a part -> its text."""
    judged = [claims.judge(c, evidence) for c in (*claims.claims(), *claims.elsewhere(evidence))]
    return {
        "overview": overview(),
        "models": models(evidence),
        "trust": trust(evidence),
        "intervals": intervals(evidence),
        "mcga": mcga(judged),
    }


def filled(text: str, made: dict[str, str]) -> str:
    """``text`` with the parts that it has a place for."""
    for name, part in made.items():
        own = f"{part}\n"
        text = re.sub(
            _PART.format(name, name),
            lambda found, own=own: found[1] + own + found[2],
            text,
            flags=re.DOTALL,
        )
    return text


if __name__ == "__main__":
    made = parts(Evidence.read(ROOT / "records"))
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8"), made), encoding="utf-8")
