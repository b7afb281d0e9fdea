"""Fitting a prior to the training scenes of a source, and storing it in the codebook's folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hsrzoo.datasets import open_dataset
from hsrzoo.errors import InputError, WeightsError
from hsrzoo.models.metadata import read_object
from hsrzoo.models.tensors import load_tensors, save_tensors
from hsrzoo.models.weights import load_strictly
from hsrzoo.utils.files import make_folder, sha256_of_file, write_json
from hsrzoo.utils.locks import hold
from hsrzoo_mcga.codebook.folder import CodebookFolder, Source, verify
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder
from hsrzoo_mcga.stage1.decoding import Maps, codes_only_rmse, encode
from hsrzoo_mcga.stage1.evaluation import load_cubes
from hsrzoo_mcga.synthetic.prior import NO_CODE, CodePrior

if TYPE_CHECKING:
    from hsrzoo.datasets.base import Dataset

SCHEMA = 1
_RECORD = {"schema": int, "sha256": str}
STEPS = 600
_LR, _BATCH, _CROP = 4e-3, 8, 64
"""Peak learning rate, crops a step, side of a crop in pixels of the image."""
_SEED = 0
"""Of weights and crops: a codebook has one prior, only sampling has a seed to choose."""
_CHECKS, _PATIENCE = 12, 4
"""Validations in a fit, and the number of them without improvement after which it ends."""
_HELD_OUT = 5
"""One scene in so many, the last by name, or that share of an only scene's rows, validates the prior."""


@dataclass(frozen=True)
class FittedPrior:
    """A prior with the record of how it was made."""

    prior: CodePrior
    record: Mapping[str, Any]


def fit(
    folder: CodebookFolder,
    source: Source,
    module: SpectralAutoencoder,
    data: Dataset,
    split: str,
    steps: int = STEPS,
    advance: Callable[[], object] = lambda: None,
) -> FittedPrior:
    """Fit a prior to the index maps of scenes, in all eight orientations.

    The scenes that stage 1 held out validate it, else one in five, or a fifth of an only scene. Each scale
    keeps the weights that do best there, so that priors of small sources do not overfit.

    Args:
        folder: Folder of the codebooks.
        source: The source whose codes the prior is of.
        module: Its autoencoder.
        data: Data set of the scenes.
        split: Its split.
        steps: Optimisation steps, at most.
        advance: Called after every step.

    Raises:
        BandsError: If ``data`` has other bands than the source.
    """
    fix = "Choose the bands by --data-option"
    source.bands.require_same(data.bands, f"the source {source.name}", data.name, fix=fix)
    began = perf_counter()
    train, held_out = _split_scenes(source, module, data, split)
    with torch.inference_mode():
        views = [encode_known(module, v) for cube in train.values() for v in orientations(cube)]
        train_maps = [encode_known(module, cube) for cube in train.values()]
        held_out_maps = [encode_known(module, cube) for cube in held_out.values()]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        prior = CodePrior([c.detach() for c in module.codes])
    counts = code_counts(train_maps, source.n_codes)
    for scale, count in zip(prior.scales, counts, strict=True):  # start from the unigram
        scale.head.bias.data = (count / count.sum()).log().float()  # type: ignore[union-attr]
    best_steps = optimise(prior, views, held_out_maps, steps, advance)
    by_scale: dict[str, Sequence[float]] = {
        "best_step": best_steps,
        "nats_train": cross_entropies(prior, train_maps),
        "nats_held_out": cross_entropies(prior, held_out_maps),
        "nats_unigram": unigram_entropies(counts, held_out_maps),
    }
    figures: dict[str, float] = {
        f"{name}_{i}": value for name, values in by_scale.items() for i, value in enumerate(values, 1)
    }
    figures["codes_only_rmse_train"] = codes_only_rmse(module, list(train.values()))
    figures["codes_only_rmse_held_out"] = codes_only_rmse(module, list(held_out.values()))
    record = {
        "schema": SCHEMA,
        "source": source.name,
        "codebook": folder.files_of(source),
        "dataset": data.name,
        "dataset_info": dict(data.info),
        "split": split,
        "fingerprint": data.fingerprint(),
        "scenes": list(train),
        "held_out": list(held_out),
        "steps": steps,
        "parameters": sum(p.numel() for p in prior.parameters()),
        "figures": figures,
        "seconds": round(perf_counter() - began, 1),
    }
    return FittedPrior(prior.eval(), record)


def _split_scenes(
    source: Source, module: SpectralAutoencoder, data: Dataset, split: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Names and cubes (C, H, W) of scenes to fit to, and of scenes that validate the fit."""
    names = data.scenes(split)
    cubes = dict(zip(names, load_cubes(data, split, names, module.scales), strict=True))
    if len(cubes) == 1:
        ((name, cube),) = cubes.items()
        cut = cube.shape[1] * (_HELD_OUT - 1) // _HELD_OUT >> module.scales << module.scales
        if not 0 < cut < cube.shape[1]:
            raise InputError("The only scene is too small to be divided", got=tuple(cube.shape))
        return {f"{name}, rows to {cut - 1}": cube[:, :cut]}, {f"{name}, rows from {cut}": cube[:, cut:]}
    held_out = set(source.record.get("held_out", ())) & set(names)
    if not 0 < len(held_out) < len(names):
        held_out = set(names[-max(1, len(names) // _HELD_OUT) :])
    kept = {name: cube for name, cube in cubes.items() if name not in held_out}
    return kept, {name: cube for name, cube in cubes.items() if name in held_out}


def encode_known(module: SpectralAutoencoder, cube: Tensor) -> Maps:
    """Code indices of one cube (C, H, W), (1, H/2^i, W/2^i) at each scale; :data:`NO_CODE` in cells with a
    pixel without data."""
    maps = encode(module, cube[None])
    missing = cube.isnan().any(0)[None].float()
    if missing.any():
        for i, indices in enumerate(maps, 1):
            indices[F.max_pool2d(missing, 1 << i) > 0] = NO_CODE
    return maps


def orientations(cube: Tensor) -> list[Tensor]:
    """The eight symmetries of a square, applied to (C, H, W)."""
    turned = [cube, cube.transpose(1, 2)]
    return [view.flip(axes) for view in turned for axes in ((), (1,), (2,), (1, 2))]


def cross_entropies(prior: CodePrior, scenes: Sequence[Maps]) -> list[float]:
    """Mean cross-entropy of the prior at scales 1 .. S, nats an index, over all indices of ``scenes``."""
    totals, counts = torch.zeros(len(prior.scales)), torch.zeros(len(prior.scales))
    with torch.inference_mode():
        for maps in scenes:
            known = torch.tensor([float((m != NO_CODE).sum()) for m in maps])
            losses = torch.stack(prior.losses(maps)).nan_to_num(0.0)  # NaN: no known index
            totals, counts = totals + losses * known, counts + known
    return (totals / counts).tolist()


def code_counts(scenes: Sequence[Maps], n_codes: int) -> list[Tensor]:
    """How often each code occurs in ``scenes``, plus one: (N,) float64 per scale."""
    seen = [torch.cat([m[place].flatten() for m in scenes]) for place in range(len(scenes[0]))]
    return [torch.bincount(x[x != NO_CODE], minlength=n_codes).double() + 1 for x in seen]


def unigram_entropies(counts: Sequence[Tensor], scenes: Sequence[Maps]) -> list[float]:
    """Mean cross-entropy at scales 1 .. S, nats an index, of the frequencies ``counts`` alone."""
    found = []
    for place, count in enumerate(counts):
        indices = torch.cat([m[place].flatten() for m in scenes])
        found.append(-float((count / count.sum()).log()[indices[indices != NO_CODE]].mean()))
    return found


def optimise(
    prior: CodePrior,
    views: Sequence[Maps],
    held_out: Sequence[Maps],
    steps: int,
    advance: Callable[[], object] = lambda: None,
) -> list[int]:
    """AdamW on random crops of ``views`` with a one-cycle learning rate. Every scale ends with the weights
    of the lowest cross-entropy on ``held_out``; their steps are returned."""
    generator = torch.Generator().manual_seed(_SEED)
    optimiser = torch.optim.AdamW(prior.parameters(), lr=_LR, weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LR, total_steps=steps)
    cells = min(_CROP >> len(prior.scales), *(min(v[-1].shape[1:]) for v in views))
    least, states = cross_entropies(prior, held_out), [deepcopy(s.state_dict()) for s in prior.scales]
    best, without_gain, every = [0] * len(least), 0, max(1, steps // _CHECKS)
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
        without_gain += 1
        for place, loss in enumerate(cross_entropies(prior, held_out)):
            if loss < least[place]:
                least[place], best[place], without_gain = loss, step, 0
                states[place] = deepcopy(prior.scales[place].state_dict())
        if without_gain == _PATIENCE:
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
    """The prior's weights and its record."""
    base = folder.path / "priors"
    return base / f"{source.name}.safetensors", base / f"{source.name}.json"


def save_prior(folder: CodebookFolder, source: Source, fitted: FittedPrior) -> None:
    """Store a prior in FOLDER/priors; the record comes last and holds the digest of the weights."""
    tensors, record_file = _files(folder, source)
    make_folder(tensors.parent)
    with hold(record_file):
        save_tensors(tensors, fitted.prior.state_dict(), {"source": source.name})
        write_json(record_file, {**fitted.record, "sha256": sha256_of_file(tensors)})


def load_prior(
    folder: CodebookFolder,
    source: Source,
    module: SpectralAutoencoder,
    steps: int,
    split: str,
    fingerprint: str | None = None,
) -> FittedPrior | None:
    """The stored prior, if it was fitted to these codes with these steps, split and, where given, data.
    Raises WeightsError if its weights are not those that were saved."""
    tensors, record_file = _files(folder, source)
    if not record_file.is_file():
        return None
    record = read_object(record_file, _RECORD, SCHEMA, str(record_file), WeightsError)
    wanted = {"schema": SCHEMA, "codebook": folder.files_of(source), "steps": steps, "split": split}
    if fingerprint is not None:
        wanted["fingerprint"] = fingerprint
    if any(record.get(key) != value for key, value in wanted.items()):
        return None
    verify(tensors, record.get("sha256"), fix=f"Remove {record_file}: the prior is then fitted again")
    prior = CodePrior([c.detach() for c in module.codes])
    load_strictly(prior, load_tensors(tensors), str(tensors))
    return FittedPrior(prior.eval(), record)


def load_or_fit(
    folder: CodebookFolder,
    source: Source,
    module: SpectralAutoencoder,
    steps: int = STEPS,
    *,
    dataset: str | None = None,
    options: Mapping[str, str] | None = None,
    split: str | None = None,
    data_root: Path | None = None,
    advance: Callable[[], object] = lambda: None,
) -> FittedPrior:
    """The stored prior, or a new one, which is then stored. ``dataset``, ``options`` and ``split`` are by
    default those of the source's record; a stored prior needs no data."""
    record = source.record
    chosen_split = split or record.get("split", "train")
    data = open_dataset(dataset, data_root, **(options or {})) if dataset else None
    fingerprint = None if data is None else data.fingerprint()
    found = load_prior(folder, source, module, steps, chosen_split, fingerprint)
    if found is not None:
        return found
    if data is None:
        if "dataset" not in record:
            raise InputError(f"The record of {source.name} names no data set", fix="Give one by --dataset")
        data = open_dataset(record["dataset"], data_root, **record.get("options", {}))
    fitted = fit(folder, source, module, data, chosen_split, steps, advance)
    save_prior(folder, source, fitted)
    return fitted
