"""What is pushed to the Hub: checked, put together, and sent as one commit.

Nothing is sent before everything was checked: the very bytes to be pushed are loaded strictly from a clean
folder and must give the cube that the model gives by its name, bit for bit. Repositories are private unless
asked otherwise, and the visibility of one that exists is never changed.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import InputError, WeightsError
from hsrzoo.hub import card, client, evaluation, figure
from hsrzoo.hub.card import CodebookLink
from hsrzoo.hub.rows import PUBLISHED, Collected, Identity, collect
from hsrzoo.models.complexity import stated_cost
from hsrzoo.models.loading import load, spec_of
from hsrzoo.models.locate import folder_of, no_weights
from hsrzoo.models.names import ModelName, parse_name
from hsrzoo.models.parts import file_of, stored
from hsrzoo.models.weights import read_config, requirement
from hsrzoo.results import ScoreRow
from hsrzoo.uncertainty.conformal import LEVELS
from hsrzoo.utils.files import CONFIG, TENSORS, UNCERTAINTY, sha256_of_file

if TYPE_CHECKING:
    from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.hub.push import Content, Push, Target, publish

PROBE = (45, 38)
"""H x W of the made-up image that the cubes are compared on: odd, and no multiple of a power of two."""
_OURS = re.compile(
    "|".join([PUBLISHED.pattern, *map(re.escape, (UNCERTAINTY, figure.FILE, evaluation.FILE))]),
    PUBLISHED.flags,
)
"""Files that are deleted where a model has them no longer: rows and what is made of them, and the
calibration of other weights."""


# ------------------------------------------------------------------ a model


@dataclass(frozen=True)
class Weights:
    """A model's folder that was checked."""

    folder: Path
    config: Mapping[str, Any]
    identity: Identity
    tensors: Content
    """The file of all tensors, those of other bundled weights included."""
    completed: bool = False
    """Whether ``config`` differs from the folder's file: says more, or names no parts."""
    cost: Mapping[str, int] = field(default_factory=dict)
    """Of the network, as :func:`.stated_cost` gives it."""
    intervals: Path | None = None
    """The calibration of prediction intervals, where there is one."""


def checked_weights(text: str) -> Weights:
    """The weights called ``text``, after they were loaded strictly by that name and again from copies of
    their two files, with equal cubes. Raises WeightsError, InputError, UnknownNameError."""
    name = _with_tag(parse_name(text))
    folder = folder_of(name)
    config = read_config(folder)
    _require_trained(config, text)
    by_name = load(str(name), device="cpu")
    with tempfile.TemporaryDirectory(prefix="hsrzoo-push-") as clean:
        tensors: Content = folder / TENSORS
        if "parts" in config:
            tensors = file_of(stored(folder, config).state, config)
        for part, content in ((CONFIG, _json_bytes(_whole(config))), (TENSORS, tensors)):
            data = content if isinstance(content, bytes) else content.read_bytes()
            Path(clean, part).write_bytes(data)
        copy = load(f"local-dir:{clean}", device="cpu")
        _require_equal_cubes(by_name, copy, text)
        sha = sha256_of_file(Path(clean, TENSORS))
    identity = by_name.identity
    if sha != config["weights_sha256"] or identity is None or identity != copy.identity:
        raise WeightsError(f"The folder of {text} changed while it was checked", fix="Push again")
    # Folders of earlier versions do not say who defines their architecture.
    added = {} if "requires" in config else requirement(config["architecture"])
    completed = bool(added) or "parts" in config
    calibration = folder / UNCERTAINTY
    if calibration.is_file():
        by_name.require_intervals(LEVELS[0])
    return Weights(
        folder, {**_whole(config), **added}, Identity(sha, identity), tensors, completed,
        stated_cost(by_name.module, by_name.spec.input), calibration if calibration.is_file() else None,
    )  # fmt: skip


def _whole(config: Mapping[str, Any]) -> dict[str, Any]:
    """Of a folder that holds all of its tensors."""
    return {key: value for key, value in config.items() if key != "parts"}


def _with_tag(name: ModelName) -> ModelName:
    """``name`` with the default tag where it has none; variants and exported files are no weights."""
    if name.kind == "onnx" or name.variant is not None:
        raise InputError(
            f"{name} is not pushed",
            expected="weights as they were trained: ARCH.TAG or local-dir:PATH",
            got="an exported file" if name.kind == "onnx" else f"their variant {name.variant}",
            fix="Push the weights: whoever loads them can run the variant",
        )
    if name.kind != "zoo" or name.tag is not None:
        return name
    tag = spec_of(name).default_tag
    if tag is None:
        raise no_weights(name)
    return replace(name, tag=tag)


def _require_trained(config: Mapping[str, Any], name: str) -> None:
    training = config["training"]
    if training.get("weights") == "random" or training.get("complete") is False:
        raise WeightsError(
            f"{name} was not trained to its end",
            got="random weights" if "weights" in training else f"{training.get('steps_done')} steps",
            fix="Go on with `hsrzoo train --resume`, and push then",
        )
    empty = [key for key in ("source", "licence") if not config[key].strip()]
    if not training:
        empty.append("training")
    if empty:
        raise WeightsError(
            f"The {CONFIG} of {name} does not say enough to be published",
            expected="where the weights come from, under which licence, and how they were trained",
            got=f"nothing under {', '.join(empty)}",
        )


def _require_equal_cubes(by_name: Reconstructor, copy: Reconstructor, name: str) -> None:
    rgb = np.random.default_rng(0).random((3, *PROBE), dtype=np.float32)
    ours, theirs = by_name.predict(rgb), copy.predict(rgb)
    if not np.isfinite(ours).all():
        raise WeightsError(f"{name} gives values that are not finite", fix="Train it again")
    if not np.array_equal(ours, theirs):
        raise WeightsError(
            f"{name} gives another cube when its files are loaded from a clean folder",
            expected="equal cubes, bit for bit",
            got=f"a difference of {np.abs(ours - theirs).max():.3g}",
        )


def push_model(
    weights: Weights, stores: Sequence[Path], codebook: str | None, target: Target
) -> tuple[Push, Collected]:
    """Push a model with its card and the rows of ``stores`` that belong to it.

    ``codebook``: ``org/name[@revision]`` of its codebooks; None: as its config or an earlier push says.
    """
    before = client.state(target.repo, target.revision)
    earlier = _earlier_link(before)
    link = _link(weights.config, codebook)
    if link is None and earlier and earlier.sha256 == (weights.config["codebook"] or {}).get("sha256"):
        link = earlier
    rows = collect(stores, weights.identity, _published_rows(before))
    figures = rows.figures
    address = f"{target.repo}@{target.branch}"
    metadata = card.model_metadata(target.title, weights.config, figures, link, weights.cost)
    if earlier and link is None:
        metadata["base_model"] = None
    bands = BandSet.from_json(weights.config["bands"]).centres_nm
    drawn = figure.error_figure((row for row in rows.rows.values() if isinstance(row, ScoreRow)), bands)
    picture = None if drawn is None else figure.FILE
    block = card.model_block(target.title, address, weights.config, figures, link, picture, weights.cost)
    files: dict[str, Content] = {
        CONFIG: _config_bytes(weights, link),
        TENSORS: weights.tensors,
        **rows.files,
        **evaluation.evaluations(target.title, figures).files,
        **({} if drawn is None else {figure.FILE: drawn}),
    }
    if weights.intervals is not None:
        files[UNCERTAINTY] = weights.intervals
    message = f"{weights.config['architecture']}, weights {weights.identity.weights_sha256[:12]}"
    target = replace(target, message=target.message or message)
    return publish(target, files, metadata, block, before, _OURS), rows


def _config_bytes(weights: Weights, link: CodebookLink | None) -> bytes:
    """config.json as it lies in the folder; with what others need and a link to its codebooks added."""
    if link is None and not weights.completed:
        return (weights.folder / CONFIG).read_bytes()
    config = dict(weights.config)
    if link is not None:
        config["codebook_repository"] = link.to_json()
    return _json_bytes(config)


def _json_bytes(config: Mapping[str, Any]) -> bytes:
    return (json.dumps(config, indent=1, sort_keys=True) + "\n").encode()


def _link(config: Mapping[str, Any], text: str | None) -> CodebookLink | None:
    """The repository of the model's codebooks, as asked or as its config records it; InputError where it
    holds other ones."""
    recorded = config.get("codebook_repository") or (config["codebook"] or {}).get("repository")
    if text is None and recorded is None:
        return None
    if config["codebook"] is None:
        raise InputError(f"{config['architecture']} has no codebooks", fix="Leave --codebook out")
    if text is None and recorded is not None:
        return CodebookLink(recorded["repo"], recorded["revision"], config["codebook"]["sha256"])
    repo, at, revision = str(text).partition("@")
    commit = client.head(client.require_repo(repo), client.require_revision(revision) if at else None)
    if commit is None:
        raise InputError(
            f"There is no {'repository' if not at else 'revision'} {text} on the Hub that you can see",
            fix=f"Push the codebooks first: hsrzoo codebook push FOLDER {repo}",
        )
    theirs = _codebook_digests(client.read_file(repo, CONFIG, commit))
    ours = config["codebook"].get("sha256", {})
    different = sorted(path for path in ours if theirs.get(path) != ours[path])
    if different or not ours:
        raise InputError(
            f"{repo} does not hold the codebooks that these weights were trained with",
            expected=f"files with the digests that {CONFIG} lists under codebook",
            got=f"others for {', '.join(different) or 'all of them'}",
            fix="Name their own repository, or push it with `hsrzoo codebook push`",
        )
    return CodebookLink(repo, commit, ours)


def _codebook_digests(data: bytes | None) -> dict[str, str]:
    try:
        found = json.loads(data or b"{}").get("sha256", {})
    except (ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}


def _earlier_link(before: client.State | None) -> CodebookLink | None:
    """The link that an earlier push made; it goes on as long as the codebooks are those."""
    data = client.read_file(before.repo, CONFIG, before.oid) if before and CONFIG in before.files else None
    try:
        return CodebookLink(**json.loads(data or b"{}")["codebook_repository"])
    except (ValueError, KeyError, TypeError):
        return None


def _published_rows(before: client.State | None) -> dict[str, bytes]:
    """Rows that lie in the repository: a store that is not at hand must not take them away."""
    if before is None:
        return {}
    paths = [path for path in before.files if PUBLISHED.fullmatch(path)]
    return {path: client.read_file(before.repo, path, before.oid) or b"" for path in paths}


# ------------------------------------------------------------------ any repository
