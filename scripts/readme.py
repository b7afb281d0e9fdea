"""Fill the parts of README.md and docs/index.md that hold figures, from stored rows and docs/overview.json.

``python scripts/readme.py`` replaces what stands between ``<!-- made: NAME -->`` and
``<!-- end: NAME -->``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from hsrzoo.models.locate import bundled
from hsrzoo.utils.markdown import markdown_table
from hsrzoo.zoo import PHOTOGRAPHS, read_zoo
from hsrzoo_benchmark.protocol import Condition
from hsrzoo_benchmark.reproduce import claims, tables
from hsrzoo_benchmark.reproduce.claims import FAILS, HOLDS, Judged
from hsrzoo_benchmark.reproduce.evidence import Evidence
from hsrzoo_benchmark.reproduce.ranking import comparable, ranking
from hsrzoo_benchmark.statistics.seeds import summarise
from hsrzoo_benchmark.tables.numbers import ABSENT, significant

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "index.md")
USE = {
    "pixel-mlp.general": "other scenes, sensors and cameras",
    "mcga-plus.general": "default: photographs; other scenes and sensors",
    "mst-plus-plus.cave": "accuracy in colours, indoor scenes",
    "mcga-plus.cave": "accuracy in spectra, intervals",
    "mcga-s2.cave": "MCGA as published; large images",
    "r3st.cave": "images without the layout of scenes",
    "pixel-mlp.cave": "small and fast; indoor scenes",
    "gmsr.cave": "small networks",
    "poly.cave": "exposure that varies; no training",
    "linear.cave": "the floor to beat",
}
"""Models of the table, and what each is for."""
ROWS = 8
_PART = r"(<!-- made: {} -->\n).*?(<!-- end: {} -->)"


def short(value: float) -> str:
    """A figure in three digits."""
    return significant(value, 3)


def overview() -> str:
    """The caption of the figure."""
    facts = json.loads((ROOT / "docs" / "overview.json").read_text(encoding="utf-8"))
    return (
        f"A scene of a sensor that the model, `{facts['model']}`, has not seen (spectral angle "
        f"{short(facts['sam'])}°). Of all true values, {100 * facts['coverage']:.3g} % lie in the "
        f"intervals of {100 * facts['level']:.0f} %. Image: Berlin-Urban-Gradient 2009, HyMap, Okujeni et "
        "al., CC BY-SA 4.0; the figure has the same licence."
    )


def models(evidence: Evidence) -> str:
    """The table of models on the validation scenes of CAVE, and what cross-validation says."""
    zoo = read_zoo()
    names = [name for name in USE if name in bundled()]
    groups = comparable(evidence, names, tables.HOME)
    lines = []
    for one in ranking(groups, "rmse")[:ROWS]:
        cells = []
        for metric in ("rmse", "sam"):
            found = summarise(groups[one.name].runs(metric))
            interval = (
                f" ({short(found.interval.low)} to {short(found.interval.high)})" if found.interval else ""
            )
            cells.append(short(found.mean) + interval)
        own, measured = zoo.networks[one.name.partition(".")[0]], zoo.weights.get(one.name, {})
        seeds = len(groups[one.name].entries)
        ms = f"{measured['ms']:.0f}" if "ms" in measured else ABSENT
        label = f"`{one.name.removesuffix('.cave')}`" + (f", {seeds} trainings" if seeds > 1 else "")
        lines.append([label, *cells, f"{own['parameters']:,}", ms, own["licence"], USE[one.name]])
    heads = ["model", "RMSE ↓", "SAM ° ↓", "parameters", "ms", "licence", "use for"]
    level = sum(one.rank == 1 for one in ranking(groups, "rmse"))
    advice = zoo.recommended[PHOTOGRAPHS]
    scenes = ranking(groups, "rmse")[0].scenes
    return "\n".join([
        markdown_table(heads, lines), "",
        f"Means over {scenes} scenes of {tables.HOME.dataset}/{tables.HOME.split} with 95 % intervals; in "
        f"RMSE, {level} of the {len(groups)} do not differ significantly. ms: {zoo.speed['side']} x "
        f"{zoo.speed['side']} pixels, {zoo.speed['device']}, {zoo.speed['threads']} threads. "
        f"Without a name you get `{advice['model']}` ({advice['why']}).",
    ])  # fmt: skip


def trust(evidence: Evidence) -> str:
    """How wrong the networks are where the camera does not see the difference."""
    names = [tables.headline(arch, "cave") for arch in tables.NETWORKS]
    groups = comparable(evidence, names, tables.HOME, Condition("metamer", "1"))
    seen, unseen = (
        sorted(summarise(group.runs(key)).mean for group in groups.values())
        for key in ("unseen_clean", "unseen")
    )
    return (
        "For example, of the part of a spectrum that the camera does not see, the networks explain "
        f"{seen[0]:.2f} to {seen[-1]:.2f} on scenes like those of their training, and {unseen[0]:.2f} to "
        f"{unseen[-1]:.2f} when objects of the same colours have other spectra: less than nothing."
    )


def mcga(judged: list[Judged]) -> str:
    """How the claims of the paper came out."""
    holds, fails = ([one.claim for one in judged if one.kind == kind] for kind in (HOLDS, FAILS))
    return (
        f"Of {len(judged)} claims that its paper makes or suggests, {len(holds)} hold here "
        f"({'; '.join(_lower(c.text) for c in holds)}), {len(fails)} do not "
        f"({'; '.join(_lower(c.text) for c in fails)}), and the rest is undecided or untested."
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
