"""Cards of repositories on the Hub: we manage some metadata keys and one marked block, the owner the rest.

A card is merged, never overwritten: only the managed keys and the text between the two markers change. The
same values give the same bytes, so that nothing is pushed if nothing has changed.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError
from hsrzoo.hub import front_matter
from hsrzoo.hub.client import LIBRARY
from hsrzoo.hub.evaluation import TASK, evaluations, title
from hsrzoo.hub.ids import is_requirement
from hsrzoo.hub.rows import Figure
from hsrzoo.results import HASH_LENGTH
from hsrzoo.utils.markdown import markdown_table
from hsrzoo.zoo import COST_SIDE

BEGIN = "<!-- hsrzoo: begin. Written by hsrzoo push; what stands outside of these two lines is kept. -->"
END = "<!-- hsrzoo: end -->"
TAGS = ("hsrzoo", "hyperspectral", "spectral-reconstruction")
FACTS = "hsrzoo"
"""Key of the metadata that only hsrzoo reads: architecture, source, numbers of parameters."""
_LICENCES = (
    "mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0",
    "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0",
)  # fmt: skip
"""Common licences for which the Hub has an identifier, their SPDX names in lower case."""


@dataclass(frozen=True)
class CodebookLink:
    """The repository of a model's codebooks."""

    repo: str
    revision: str
    """A commit."""
    sha256: Mapping[str, str]
    """File in that repository -> its digest."""

    def to_json(self) -> dict[str, Any]:
        return {"repo": self.repo, "revision": self.revision, "sha256": dict(self.sha256)}


def merge(existing: str | None, managed: Mapping[str, Any], block: str) -> str:
    """``existing`` (None: a new card) with ``managed`` metadata and ``block`` between the markers.

    The owner's ``tags``, a list of theirs under ``base_model``, and ``model-index`` entries of other names
    are kept. A value of None removes the key, an entry without results removes that of its name. A card
    without a block gets it above its text.

    Raises:
        FormatError: The markers do not pair, or the metadata are not YAML.
    """
    text = existing or ""
    head, body = front_matter.split(text.replace("\r\n", "\n"))
    metadata = front_matter.parse(head)
    values = {key: _merge_value(key, metadata.get(key), value) for key, value in managed.items()}
    card = front_matter.join(front_matter.change(head, values), _with_block(body, block))
    return card.replace("\n", "\r\n") if "\r\n" in text else card


def _merge_value(key: str, theirs: Any, ours: Any) -> Any:
    """The value of a managed key; None removes it."""
    if key == "tags" or (key == "base_model" and ours and isinstance(theirs, list)):
        found: list[Any] = []
        for one in [*_as_list(theirs), *_as_list(ours)]:
            found += [one] if one not in found else []
        return found
    if key == "model-index":
        names = [entry["name"] for entry in ours]
        kept = [entry for entry in _as_list(theirs) if _name(entry) not in names]
        return [*kept, *(entry for entry in ours if entry["results"])] or None
    return ours


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _name(entry: Any) -> Any:
    return entry.get("name") if isinstance(entry, dict) else None


def _with_block(body: str, block: str) -> str:
    marked = f"{BEGIN}\n{block.strip()}\n{END}"
    if (body.count(BEGIN), body.count(END)) == (0, 0):
        own = body.strip("\n")
        return f"\n{marked}\n" + (f"\n{own}\n" if own else "")
    before, _, rest = body.partition(BEGIN)
    _, end, after = rest.partition(END)
    if (body.count(BEGIN), body.count(END)) != (1, 1) or not end:
        raise FormatError(
            "The card's marked block is damaged",
            expected=f"{BEGIN} once, and after it {END} once",
            got=f"{body.count(BEGIN)} and {body.count(END)} of them, or in the wrong order",
            fix="Fix or remove these lines in the repository's README.md",
        )
    return before + marked + after


def model_metadata(
    name: str,
    config: Mapping[str, Any],
    figures: Sequence[Figure],
    link: CodebookLink | None,
    cost: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The managed keys of a model's card. ``name``: in ``model-index``. ``cost``: ``parameters``,
    ``frozen``, ``buffers``, ``macs`` and ``memory``, the first three for ``hsrzoo list --hub``."""
    found = {
        "library_name": LIBRARY,
        "pipeline_tag": TASK,
        "tags": [*TAGS, config["architecture"]],
        **licence(config["licence"]),
        "model-index": evaluations(name, figures).model_index,
        FACTS: {"architecture": config["architecture"], "source": config["source"], **(cost or {})},
    }
    return found if link is None else {**found, "base_model": link.repo}


def licence(text: str) -> dict[str, str | None]:
    """``license`` as the Hub writes it, with ``license_name`` if it has no identifier for it."""
    name = text.partition(" ")[0].lower()
    known = name in _LICENCES
    return {"license": name if known else "other", "license_name": None if known else text}


def model_block(
    name: str,
    address: str,
    config: Mapping[str, Any],
    figures: Sequence[Figure],
    link: CodebookLink | None,
    picture: str | None = None,
    cost: Mapping[str, int] | None = None,
) -> str:
    """The marked text of a model's card. ``address``: ``org/name@revision``, for loading. ``picture``: path
    of the figure of :mod:`hsrzoo.hub.figure` in the repository. ``cost``: as in :func:`model_metadata`."""
    bands = BandSet.from_json(config["bands"])
    parts = [
        f"# {name}",
        f"{config['architecture']}: a photograph in RGB becomes a hyperspectral cube of {bands}. "
        "Weights for the Python package hsrzoo.",
        *_usage(address, config, len(bands)),
        "## Caveats",
        _caveats(config),
        *(() if cost is None else ("## Cost", _cost(cost))),
        "## Origin",
        table(("", ""), model_facts(config, link)),
    ]
    if figures:
        parts += ["## Figures", figure_notes(figures), figure_table(figures)]
    if picture is not None:
        parts += [f"![Error of every band]({picture})"]
    parts += ["## Citation", f"{plain(config['source'])}. Licence: {plain(config['licence'])}."]
    return "\n\n".join(parts)


def _usage(address: str, config: Mapping[str, Any], bands: int) -> list[str]:
    """How to run the model in Python; before that, what defines an architecture that is not hsrzoo's."""
    requires = str(config.get("requires"))
    kind, _, what = requires.rpartition(" ") if is_requirement(requires) else ("", "", "")
    is_file = kind == "--plugin"
    origin = {
        "": [],
        "--plugin": [
            f"The architecture is not part of hsrzoo: the plugin file `{what}` of its authors defines it. "
            f"On the command line, write `hsrzoo --plugin {what} ...`."
        ],
        "pip install": [
            "The architecture is not part of hsrzoo: a package of its authors defines it.",
            fence(f"pip install {what}", language="sh"),
        ],
    }
    snippet = fence(
        "import hsrzoo" + ".registry" * is_file,
        *[f'hsrzoo.registry.load_plugin_file("{what}")'] * is_file,
        f'model = hsrzoo.load("hf-hub:{address}")  # a commit after @ pins the weights',
        f"cube = model(rgb).cube  # rgb (H, W, 3) in [0, 1] becomes (H, W, {bands})",
    )
    return [*origin[kind], snippet]


def plain(text: object) -> str:
    """``text`` in one line, without what Markdown would read as HTML."""
    return html.escape(" ".join(str(text).split()), quote=False)


def _caveats(config: Mapping[str, Any]) -> str:
    training = config["training"]
    data, camera = training.get("dataset"), (training.get("dataset_info") or {}).get("response")
    seen = f"scenes of {plain(data)}" if data else "unknown scenes"
    taken = f"RGB rendered for the camera {plain(camera)}" if camera else "the RGB of those scenes"
    expected = "in [0, 1]" + (", linear" if camera else "")
    return (
        f"Three numbers do not determine a spectrum: this network returns a likely one for {seen} and "
        f"{taken}. It expects RGB {expected}. Spectra of other scenes, illuminants and cameras may look "
        "plausible and be wrong."
    )


def _cost(cost: Mapping[str, int]) -> str:
    frozen = f", {cost['frozen']:,} of them never trained" if cost["frozen"] else ""
    gmac, mib = cost["macs"] / 1e9, cost["memory"] / 2**20
    return (
        f"{cost['parameters']:,} parameters{frozen}. For {COST_SIDE} x {COST_SIDE} pixels: {gmac:,.4g} "
        f"GMAC, and {mib:,.0f} MiB for the tensors of one pass."
    )


def model_facts(config: Mapping[str, Any], link: CodebookLink | None) -> list[tuple[str, object]]:
    """Origin of the weights, as far as their record says."""
    training = config["training"]
    scenes, provenance = training.get("scenes"), training.get("provenance") or {}
    split = f"{training['dataset']}/{training.get('split')}" if training.get("dataset") else None
    count = f", {len(scenes)} scene{'s' * (len(scenes) > 1)}" if isinstance(scenes, list) and scenes else ""
    bands = BandSet.from_json(config["bands"])
    low, high = min(bands.centres_nm), max(bands.centres_nm)
    codebook = config.get("codebook") or {}
    facts = {
        "bands": f"{len(bands)}, centres {low:g} to {high:g} nm; all of them are in config.json",
        "training data": f"{split}{count}" if split else None,
        "fingerprint of the data": training.get("fingerprint"),
        "fine-tuned from": init_fact(training),
        "steps": training.get("steps"),
        "seed": training.get("seed"),
        "requires": config.get("requires"),
        "seconds of training": training.get("wall_seconds"),
        "codebooks from": ", ".join(codebook.get("sources", [])) or None,
        "codebook repository": f"{link.repo} at {link.revision}" if link else None,
        "command": training.get("command"),
        "commit of the code": provenance.get("commit"),
        "sha256 of model.safetensors": config["weights_sha256"],
    }
    return [(key, value) for key, value in facts.items() if value is not None]


def init_fact(training: Mapping[str, Any]) -> str | None:
    """The weights that training started from, and the revision and sha256 that identify them."""
    init = training.get("init")
    if not init:
        return None
    revision = f" at {init['revision']}" if init.get("revision") else ""
    return f"{init['name']}{revision}, sha256 {init['sha256']}"


def figure_notes(figures: Sequence[Figure]) -> str:
    """Explanation of the table."""
    text = "Means over scenes, from the rows in `results/`. Compare figures of one protocol hash only."
    seen = sorted({f"{f.seen} of {f.scenes} in {f.source}" for f in figures if f.seen})
    return text + (f" Scenes seen in training: {'; '.join(seen)}." if seen else "")


def figure_table(figures: Sequence[Figure]) -> str:
    """One line for each data set, split and protocol."""
    metrics = list(dict.fromkeys(name for figure in figures for name in figure.means))
    rows = [
        (
            f.source,
            f.protocol_hash[:HASH_LENGTH],
            f.scenes,
            *(_format(f.means.get(name)) for name in metrics),
        )
        for f in figures
    ]
    return table(("data and protocol", "hash", "scenes", *map(title, metrics)), rows)


def _format(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; cells are escaped."""
    return markdown_table(headings, ([_cell(value) for value in row] for row in rows))


def _cell(value: object) -> str:
    return plain(f"{value:.0f}" if isinstance(value, float) else value)


def fence(*lines: str, language: str = "python") -> str:
    """A block of code."""
    return "\n".join([f"```{language}", *lines, "```"])
