"""Fitting a prior to the scenes that taught a source, and keeping it beside the codebook."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hsrzoo.errors import InputError, WeightsError
from hsrzoo.models.tensors import load_tensors, save_tensors
from hsrzoo.utils.files import make_folder, sha256_of_file, write_atomically
from hsrzoo_mcga.codebook.folder import CodebookFolder, Source
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder
from hsrzoo_mcga.stage1.decoding import Maps, codes_only_rmse, crop_to_codes, files_of, to_maps
from hsrzoo_mcga.synthetic.prior import NOTHING, CodePrior

if TYPE_CHECKING:
    from hsrzoo.datasets.base import Dataset

SCHEMA = 1
STEPS = 600
_LR, _BATCH, _CROP = 4e-3, 8, 64
"""Peak learning rate, crops a step, side of a crop in pixels of the image."""
_SEED = 0
"""Of weights and crops: a prior is one of a kind, what is drawn from it has seeds."""
_CHECKS, _PATIENCE = 12, 4
"""How often in a fit the held-out scenes are asked, and after how many vain checks it ends."""
_HELD_OUT = 5
"""One scene in so many, the last by name, or so much of an only scene's rows, measures the prior."""


@dataclass(frozen=True)
class FittedPrior:
    """A prior with the record of how it was made."""

    prior: CodePrior
    record: Mapping[str, Any]


@dataclass(frozen=True)
class _Cubes:
    """What a prior is fitted to and measured on, (C, H, W) each."""

    train: list[Tensor]
    held_out: list[Tensor]
    names: tuple[list[str], list[str]]


def fit(
    folder: CodebookFolder,
    source: Source,
    module: SpectralAutoencoder,
    data: Dataset,
    split: str,
    steps: int = STEPS,
    advance: Callable[[], None] = lambda: None,
) -> FittedPrior:
    """Fit a prior to the index maps of ``data``'s scenes, all eight orientations of them.

    The scenes that stage 1 held out measure it; where there are none, one in five, or a fifth of the only
    scene; each scale keeps the weights that do best there, which spares small sources a prior that recites
    them. ``advance`` is called after every step. Raises BandsError for other bands than the source's.
    """
    fix = "Choose the bands by --data-option"
    source.bands.require_same(data.bands, f"the source {source.name}", data.name, fix=fix)
    began = perf_counter()
    cubes = _cubes(source, module, data, split)
    with torch.inference_mode():
        views = [masked_maps(module, v) for cube in cubes.train for v in orientations(cube)]
        train = [masked_maps(module, cube) for cube in cubes.train]
        held_out = [masked_maps(module, cube) for cube in cubes.held_out]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        prior = CodePrior([c.detach() for c in module.codes])
    counts = frequencies(train, source.n_codes)
    for scale, count in zip(prior.scales, counts, strict=True):  # what is known before any step
        scale.head.bias.data = (count / count.sum()).log().float()  # type: ignore[union-attr]
    best = optimise(prior, views, held_out, steps, advance)
    figures = {
        **_numbered("best_step", best),
        **_numbered("nats_train", nats(prior, train)),
        **_numbered("nats_held_out", nats(prior, held_out)),
        **_numbered("nats_unigram", unigram(counts, held_out)),
        "codes_only_rmse_train": codes_only_rmse(module, cubes.train),
        "codes_only_rmse_held_out": codes_only_rmse(module, cubes.held_out),
    }
    record = {
        "schema": SCHEMA,
        "source": source.name,
        "codebook": files_of(folder, source),
        "dataset": data.name,
        "dataset_info": dict(data.info),
        "split": split,
        "fingerprint": data.fingerprint(),
        "scenes": cubes.names[0],
        "held_out": cubes.names[1],
        "steps": steps,
        "parameters": sum(p.numel() for p in prior.parameters()),
        "figures": figures,
        "seconds": round(perf_counter() - began, 1),
    }
    return FittedPrior(prior.eval(), record)


def _numbered(name: str, values: Sequence[float]) -> dict[str, float]:
    """One entry a scale: NAME_1 .. NAME_S."""
    return {f"{name}_{i}": value for i, value in enumerate(values, 1)}


def masked_maps(module: SpectralAutoencoder, cube: Tensor) -> Maps:
    """Code indices of one cube (C, H, W), (1, H/2^i, W/2^i) at each scale; :data:`NOTHING` where a pixel
    under the cell lacks data."""
    maps = to_maps(module, cube[None])
    missing = cube.isnan().any(0)[None].float()
    if missing.any():
        for i, indices in enumerate(maps, 1):
            indices[F.max_pool2d(missing, 1 << i) > 0] = NOTHING
    return maps


def orientations(cube: Tensor) -> list[Tensor]:
    """The eight symmetries of a square, applied to (C, H, W)."""
    turned = [cube, cube.transpose(1, 2)]
    return [view.flip(axes) for view in turned for axes in ((), (1,), (2,), (1, 2))]


def nats(prior: CodePrior, scenes: Sequence[Maps]) -> list[float]:
    """Mean cross-entropy of the prior, nats an index at scales 1 .. S, over all indices of ``scenes``."""
    totals, counts = torch.zeros(len(prior.scales)), torch.zeros(len(prior.scales))
    with torch.inference_mode():
        for maps in scenes:
            known = torch.tensor([float((m != NOTHING).sum()) for m in maps])
            losses = torch.stack(prior.losses(maps)).nan_to_num(0.0)  # NaN: nothing known
            totals, counts = totals + losses * known, counts + known
    return (totals / counts).tolist()


def frequencies(scenes: Sequence[Maps], n_codes: int) -> list[Tensor]:
    """How often each code stands in ``scenes``, and once more: (N,) float64 per scale."""
    seen = [torch.cat([m[place].flatten() for m in scenes]) for place in range(len(scenes[0]))]
    return [torch.bincount(x[x != NOTHING], minlength=n_codes).double() + 1 for x in seen]


def unigram(counts: Sequence[Tensor], scenes: Sequence[Maps]) -> list[float]:
    """What an index of ``scenes`` costs, in nats, where ``counts`` are all that is known."""
    found = []
    for place, count in enumerate(counts):
        asked = torch.cat([m[place].flatten() for m in scenes])
        found.append(-float((count / count.sum()).log()[asked[asked != NOTHING]].mean()))
    return found


def _cubes(source: Source, module: SpectralAutoencoder, data: Dataset, split: str) -> _Cubes:
    names = data.scenes(split)
    cubes = [crop_to_codes(torch.from_numpy(data.load(split, s).cube), module) for s in names]
    if len(cubes) == 1:
        m = 1 << module.scales
        cut = cubes[0].shape[1] * (_HELD_OUT - 1) // _HELD_OUT // m * m
        if not 0 < cut < cubes[0].shape[1]:
            raise InputError("The only scene is too small to be divided", got=tuple(cubes[0].shape))
        rows = [f"{names[0]}, rows to {cut - 1}"], [f"{names[0]}, rows from {cut}"]
        return _Cubes([cubes[0][:, :cut]], [cubes[0][:, cut:]], rows)
    held = set(source.record.get("held_out", ())) & set(names)
    if not 0 < len(held) < len(names):
        held = set(names[-max(1, len(names) // _HELD_OUT) :])
    parts = [
        [(n, c) for n, c in zip(names, cubes, strict=True) if (n in held) is out] for out in (False, True)
    ]
    return _Cubes(
        [c for _, c in parts[0]],
        [c for _, c in parts[1]],
        ([n for n, _ in parts[0]], [n for n, _ in parts[1]]),
    )


def optimise(
    prior: CodePrior,
    views: Sequence[Maps],
    held_out: Sequence[Maps],
    steps: int,
    advance: Callable[[], None] = lambda: None,
) -> list[int]:
    """AdamW on random crops of ``views``; one-cycle learning rate. Every scale ends with the weights that
    cost least on ``held_out``; their steps are returned."""
    generator = torch.Generator().manual_seed(_SEED)
    optimiser = torch.optim.AdamW(prior.parameters(), lr=_LR, weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LR, total_steps=steps)
    cells = min(_CROP >> len(prior.scales), *(min(v[-1].shape[1:]) for v in views))
    costs, states = nats(prior, held_out), [deepcopy(s.state_dict()) for s in prior.scales]
    best, vain, every = [0] * len(costs), 0, max(1, steps // _CHECKS)
    for step in range(1, steps + 1):
        crops = [_crop(views, cells, generator) for _ in range(_BATCH)]
        batch = [torch.cat(parts) for parts in zip(*crops, strict=True)]
        optimiser.zero_grad()
        torch.stack(prior.losses(batch)).nansum().backward()  # NaN: a batch without any data
        torch.nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimiser.step()
        rate.step()
        advance()
        if step % every and step != steps:
            continue
        vain += 1
        for place, cost in enumerate(nats(prior, held_out)):
            if cost < costs[place]:
                costs[place], best[place], vain = cost, step, 0
                states[place] = deepcopy(prior.scales[place].state_dict())
        if vain == _PATIENCE:
            break
    for scale, state in zip(prior.scales, states, strict=True):
        scale.load_state_dict(state)
    return best


def _crop(views: Sequence[Maps], cells: int, generator: torch.Generator) -> Maps:
    """The same crop of all scales, ``cells`` a side at the coarsest."""
    maps = views[int(torch.randint(len(views), (), generator=generator))]
    y, x = (int(torch.randint(n - cells + 1, (), generator=generator)) for n in maps[-1].shape[1:])
    crops = []
    for place, indices in enumerate(maps):
        k = 1 << (len(maps) - 1 - place)
        crops.append(indices[:, y * k : (y + cells) * k, x * k : (x + cells) * k])
    return crops


def _files(folder: CodebookFolder, source: Source) -> tuple[Path, Path]:
    return tuple(folder.path / "priors" / f"{source.name}.{end}" for end in ("safetensors", "json"))  # type: ignore[return-value]


def save(folder: CodebookFolder, source: Source, fitted: FittedPrior) -> None:
    """Keep a prior in FOLDER/priors; the record comes last and holds the digest of the weights."""
    tensors, about = _files(folder, source)
    make_folder(tensors.parent)
    save_tensors(tensors, fitted.prior.state_dict(), {"source": source.name})
    record = {**fitted.record, "sha256": sha256_of_file(tensors)}
    write_atomically(about, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())


def kept(
    folder: CodebookFolder,
    source: Source,
    module: SpectralAutoencoder,
    steps: int,
    split: str,
    fingerprint: str | None = None,
) -> FittedPrior | None:
    """The prior of an earlier run, if it is one of these codes, steps, split and, where given, data. Raises
    WeightsError where its weights are not those that were saved."""
    tensors, about = _files(folder, source)
    if not about.is_file():
        return None
    record = json.loads(about.read_text(encoding="utf-8"))
    wanted = {"schema": SCHEMA, "codebook": files_of(folder, source), "steps": steps, "split": split}
    if fingerprint is not None:
        wanted["fingerprint"] = fingerprint
    if any(record.get(key) != value for key, value in wanted.items()):
        return None
    digest = sha256_of_file(tensors) if tensors.is_file() else "no such file"
    if digest != record.get("sha256"):
        raise WeightsError(
            f"{tensors} is not the file that was saved",
            expected=record.get("sha256"),
            got=digest,
            fix=f"Remove {about}: the prior is then fitted anew",
        )
    prior = CodePrior([c.detach() for c in module.codes])
    prior.load_state_dict(load_tensors(tensors))
    return FittedPrior(prior.eval(), record)


def prior_of(
    folder: CodebookFolder,
    source: Source,
    module: SpectralAutoencoder,
    steps: int = STEPS,
    *,
    dataset: str | None = None,
    options: Mapping[str, str] | None = None,
    split: str | None = None,
    data_root: Path | None = None,
    advance: Callable[[], None] = lambda: None,
) -> FittedPrior:
    """The prior kept in the folder, or a new one, which is then kept. ``dataset``, ``options`` and
    ``split`` are those of the source's record unless given; a kept prior needs no data at hand."""
    from hsrzoo.datasets import open_dataset

    record = source.record
    chosen_split = split or record.get("split", "train")
    data = open_dataset(dataset, data_root, **(options or {})) if dataset else None
    found = kept(folder, source, module, steps, chosen_split, None if data is None else data.fingerprint())
    if found is not None:
        return found
    if data is None:
        if "dataset" not in record:
            raise InputError(f"The record of {source.name} names no data set", fix="Give one by --dataset")
        data = open_dataset(record["dataset"], data_root, **record.get("options", {}))
    fitted = fit(folder, source, module, data, chosen_split, steps, advance)
    save(folder, source, fitted)
    return fitted
